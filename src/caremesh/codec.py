"""Canonical DAG-CBOR and CIDs: one value has one spelling, one spelling has one value.

Rules (IPLD DAG-CBOR specification, and ours on top):
- decoding refuses unsorted or duplicate keys, non-minimal integers, trailing bytes (``cbrrr``);
- nesting deeper than ``MAX_DEPTH`` is refused, whatever else is wrong (``cbrrr`` does not recurse: ADR 0019);
- floats have no place in our formats: no type has a float field;
- ``decode_as`` re-encodes the typed value and compares, so that *absent*, ``null`` and unknown
  fields cannot be two spellings of one value.

Typed values are ``msgspec.Struct``; arrays are ``list`` fields, since DAG-CBOR knows no tuples.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from cbrrr import CID, CbrrrDecodeError, decode_dag_cbor, encode_dag_cbor

from caremesh.errors import BadInput, ErrorCode

__all__ = ["CID", "MAX_DEPTH", "cid_of_cbor", "cid_of_raw", "decode", "decode_as", "encode", "parse_cid"]

T = TypeVar("T")

MAX_DEPTH: Final = 16

NOT_CBOR = ErrorCode("codec.01", "These bytes are not canonical DAG-CBOR.", "Encode them again, strictly.")
TOO_DEEP = ErrorCode("codec.02", f"These bytes nest deeper than {MAX_DEPTH} levels.", "Flatten the value.")
WRONG_SHAPE = ErrorCode("codec.03", "This value does not have the shape that its format demands.")
TWO_SPELLINGS = ErrorCode(
    "codec.04", "This value is not spelled in its one canonical way.", "Leave out empty optional fields."
)
BAD_CID = ErrorCode("codec.05", "This is not a CIDv1 with SHA-256.", "Give a CID in base32, as printed here.")

_BUILTIN: Final = (bytes, CID)
_NESTING: Final = frozenset({dict, list})


def encode(value: Any) -> bytes:
    """Canonical DAG-CBOR of a ``msgspec.Struct`` or of plain values (int, str, bytes, bool, None, list, dict, CID)."""
    return encode_dag_cbor(msgspec.to_builtins(value, builtin_types=_BUILTIN))


def decode(data: bytes) -> Any:
    """Plain values from canonical DAG-CBOR. Raises BadInput codec.01, codec.02."""
    try:
        value = decode_dag_cbor(data, cid_ctor=_known_cid)
    except (CbrrrDecodeError, ValueError, UnicodeDecodeError) as error:
        _check_depth(data)
        raise BadInput(NOT_CBOR) from error
    if not _is_flat(value):
        _check_depth(data)
    return value


def decode_as(data: bytes, kind: type[T]) -> T:
    """A typed value from its one canonical spelling. Raises BadInput codec.01 to codec.04."""
    plain = decode(data)
    try:
        value = msgspec.convert(plain, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise BadInput(WRONG_SHAPE, _path(error)) from error
    if encode(value) != data:
        raise BadInput(TWO_SPELLINGS)
    return value


def cid_of_cbor(data: bytes) -> CID:
    """CIDv1(dag-cbor, sha2-256) of bytes that are DAG-CBOR."""
    return CID.cidv1_dag_cbor_sha256_32_from(data)


def cid_of_raw(data: bytes) -> CID:
    """CIDv1(raw, sha2-256) of any bytes: the name of a block."""
    return CID.cidv1_raw_sha256_32_from(data)


def parse_cid(text: str) -> CID:
    """A CID from its base32 text. Raises BadInput codec.05."""
    try:
        cid = _known_cid(bytes(CID.decode(text)))
    except ValueError as error:
        raise BadInput(BAD_CID) from error
    if cid.encode() != text:
        raise BadInput(BAD_CID)
    return cid


def _known_cid(data: bytes) -> CID:
    """Only the two kinds of CID that our formats use are links: CIDv1, SHA-256, raw or dag-cbor."""
    cid = CID(data)
    if not (cid.is_cidv1_raw_sha256_32() or cid.is_cidv1_dag_cbor_sha256_32()):
        raise ValueError
    return cid


def _path(error: msgspec.ValidationError) -> str:
    """The JSON path of a msgspec error, without the offending value."""
    _, _, path = str(error).partition(" - at `")
    return path.rstrip("`")


def _is_flat(value: Any) -> bool:
    """Whether a decoded value is surely not too deep: some levels less than allowed, since a link counts as one."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH - 2):
        level = [
            item
            for node in level
            for item in (node.values() if type(node) is dict else node if type(node) is list else ())
            if type(item) in _NESTING
        ]
        if not level:
            return True
    return False


def _check_depth(data: bytes) -> None:
    """Walk the heads of a CBOR item (RFC 8949 section 3) and refuse deep nesting.

    Malformed heads are left to the decoder; this walk only has to end and never to recurse.
    """
    left = [1]  # items still to come, per open level
    at, end = 0, len(data)
    while at < end:
        head = data[at]
        major, info = head >> 5, head & 31
        at += 1
        if info < 24:
            argument = info
        elif info < 28:
            width = 1 << (info - 24)
            argument = int.from_bytes(data[at : at + width])
            at += width
        else:
            return
        left[-1] -= 1
        if major in (2, 3):
            at += argument
        elif 4 <= major <= 6 and argument | (major == 6):
            left.append(argument if major == 4 else 2 * argument if major == 5 else 1)
            if len(left) > MAX_DEPTH + 1:
                raise BadInput(TOO_DEEP)
        while not left[-1]:
            left.pop()
            if not left:
                return
