"""CAR files, version 1 (https://ipld.io/specs/transport/car/carv1/): blocks with their names, one after the other.

varint(length) ‖ DAG-CBOR { roots: [CID], version: 1 }
varint(length) ‖ CID ‖ block                             for each block
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from caremesh import codec
from caremesh.codec import CID
from caremesh.errors import BadInput


def header(root: CID) -> bytes:
    """The beginning of a file with one root."""
    return _framed(codec.encode({"roots": [root], "version": 1}))


def section(cid: CID, data: bytes) -> bytes:
    """One block."""
    return _framed(bytes(cid) + data)


def links(cid: CID, data: bytes) -> list[CID]:
    """What a block links to, in the order in which its links stand there. A raw block links to nothing."""
    if not cid.is_cidv1_dag_cbor_sha256_32():
        return []
    try:
        return list(_links_in(codec.decode(data)))
    except BadInput:  # DAG-CBOR that is no format of ours: its name still names its bytes
        return []


def _links_in(value: Any) -> Iterator[CID]:
    """Depth first; the codec lets nothing nest too deep."""
    if isinstance(value, CID):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _links_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from _links_in(item)


def _framed(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Unsigned LEB128 (https://github.com/multiformats/unsigned-varint)."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
