"""Light blocks out of what a CometBFT node answers at ``/commit`` and ``/validators``.

Nothing is believed here: what comes out is what ``ledger/light.py`` verifies. What cannot be put into its form is
refused, each field by name, with two exceptions that would let one validator stop all clients: a vote whose time we
cannot hold (a validator may write any), and one for no block. Such votes count nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct

from caremesh import codec
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered
from caremesh.ledger.blocks import HeaderSignature, SignedHeader, Validator
from caremesh.ledger.comet import BlockId, CometHeader, Instant, PartSet, address_of
from caremesh.ledger.light import OTHER_HEIGHT, OTHER_SET, LightBlock

MAX_ANSWER_BYTES: Final = 16 * 2**20
"""Of one answer. 10,000 validators take less than 4 MiB."""

NOT_AN_ANSWER = ErrorCode(
    "light.10", "This is not what a CometBFT node answers at /commit and /validators.", "Ask another node."
)
OTHER_COMMIT = ErrorCode("light.11", "These votes are for another block than the header.", "Ask another node.")
OTHER_KEY_TYPE = ErrorCode(
    "light.12", "A validator's key is not an Ed25519 key.", "Follow a chain whose validators have Ed25519 keys."
)

T = TypeVar("T")
Number: TypeAlias = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,15})\Z")]
Hash: TypeAlias = Annotated[str, Meta(pattern=r"^([0-9A-F]{64})?\Z")]
AddressText: TypeAlias = Annotated[str, Meta(pattern=r"^([0-9A-F]{40})?\Z")]
Time: TypeAlias = Annotated[str, Meta(max_length=40)]

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_FOR_THE_BLOCK: Final = 2
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Version(Struct, frozen=True):
    """Of block and application; nothing is written for 0."""

    block: Number = "0"
    app: Number = "0"


class Parts(Struct, frozen=True):
    total: Annotated[int, Meta(ge=0, lt=2**32)]
    hash: Hash


class Name(Struct, frozen=True):
    """Of a block."""

    hash: Hash
    parts: Parts


class WireHeader(Struct, frozen=True):
    version: Version
    chain_id: Annotated[str, Meta(min_length=1, max_length=50)]
    height: Number
    time: Time
    last_block_id: Name
    last_commit_hash: Hash
    data_hash: Hash
    validators_hash: Hash
    next_validators_hash: Hash
    consensus_hash: Hash
    app_hash: Annotated[str, Meta(pattern=r"^([0-9A-F]{2}){0,64}\Z")]
    last_results_hash: Hash
    evidence_hash: Hash
    proposer_address: AddressText


class WireVote(Struct, frozen=True):
    """``block_id_flag``: 1 absent, 2 for the block, 3 for none."""

    block_id_flag: Literal[1, 2, 3]
    validator_address: AddressText
    timestamp: Time
    signature: str | None


class WireCommit(Struct, frozen=True):
    height: Number
    round: Annotated[int, Meta(ge=0, lt=2**31)]
    block_id: Name
    signatures: list[WireVote]


class SignedByMany(Struct, frozen=True):
    header: WireHeader
    commit: WireCommit


class CommitResult(Struct, frozen=True):
    signed_header: SignedByMany


class CommitAnswer(Struct, frozen=True):
    """``/commit?height=H``, as far as it is read."""

    result: CommitResult


class WireKey(Struct, frozen=True):
    type: str
    value: str


class WireValidator(Struct, frozen=True):
    address: AddressText
    pub_key: WireKey
    voting_power: Number


class ValidatorsResult(Struct, frozen=True):
    block_height: Number
    validators: list[WireValidator]
    total: Number


class ValidatorsAnswer(Struct, frozen=True):
    """``/validators?height=H``: one page."""

    result: ValidatorsResult


def light_block(commit: bytes, validators: Sequence[bytes]) -> LightBlock:
    """From the answer at ``/commit`` and all pages of ``/validators`` of one height; unverified.

    Raises BadInput light.10 with the field; Refused light.12; Tampered light.08, light.09, light.11.
    """
    said = read_answer(commit, CommitAnswer).result.signed_header
    header = header_of(said)
    if said.commit.height != said.header.height or _digest(said.commit.block_id.hash) != header.hash():
        raise Tampered(OTHER_COMMIT, f"height {header.height}")
    signers = validator_set([read_answer(page, ValidatorsAnswer).result for page in validators], header.height)
    if len(signers) != len(said.commit.signatures):
        raise Tampered(OTHER_SET, f"height {header.height}")
    votes = []
    for place, (signer, vote) in enumerate(zip(signers, said.commit.signatures, strict=True)):
        found = _vote(signer, vote, f"signatures[{place}]")
        if found is not None:
            votes.append(found)
    return LightBlock(SignedHeader(codec.encode(header), votes), signers)


def validator_set(pages: Sequence[ValidatorsResult], height: int) -> list[Validator]:
    """The set of a height, in CometBFT's order. Raises BadInput light.10; Refused light.12; Tampered light.08, .09."""
    found = []
    for page in pages:
        if int(page.block_height) != height:
            raise Tampered(OTHER_HEIGHT, f"height {page.block_height}")
        for place, entry in enumerate(page.validators):
            at = f"validators[{place}]"
            if entry.pub_key.type != "tendermint/PubKeyEd25519":
                raise Refused(OTHER_KEY_TYPE, at)
            raw = _base64(entry.pub_key.value, f"{at}.pub_key.value")
            if len(raw) != _KEY_BYTES:
                raise BadInput(NOT_AN_ANSWER, f"{at}.pub_key.value")
            key = ED25519_PREFIX + raw
            if bytes.fromhex(entry.address) != address_of(key):
                raise Tampered(OTHER_SET, at)
            found.append(Validator(key, _number(entry.voting_power, f"{at}.voting_power")))
    if len({validator.key for validator in found}) != len(found) or any(
        int(page.total) != len(found) for page in pages
    ):
        raise Tampered(OTHER_SET, f"height {height}")
    return found


def header_of(said: SignedByMany) -> CometHeader:
    """The header, and what its votes say besides. Raises BadInput light.10 with the field."""
    header = said.header
    time = _instant(header.time)
    if time is None:
        raise BadInput(NOT_AN_ANSWER, "header.time")
    plain = {
        "block_version": _number(header.version.block, "header.version.block"),
        "app_version": _number(header.version.app, "header.version.app"),
        "chain": header.chain_id,
        "height": _number(header.height, "header.height"),
        "time": time.seconds,
        "nanos": time.nanos,
        "previous": _block_id(header.last_block_id),
        "last_commit": _digest(header.last_commit_hash),
        "txs": _digest(header.data_hash),
        "validators": _digest(header.validators_hash),
        "next_validators": _digest(header.next_validators_hash),
        "params": _digest(header.consensus_hash),
        "app_hash": bytes.fromhex(header.app_hash),
        "results": _digest(header.last_results_hash),
        "evidence": _digest(header.evidence_hash),
        "proposer": bytes.fromhex(header.proposer_address),
        "round": said.commit.round,
        "parts": _parts(said.commit.block_id.parts),
    }
    try:
        return msgspec.convert(plain, CometHeader, builtin_types=(bytes,), from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadInput(NOT_AN_ANSWER, f"header{_place(error)}") from error


def _vote(signer: Validator, vote: WireVote, place: str) -> HeaderSignature | None:
    """A vote for the block, by the validator at its place in the set."""
    if vote.block_id_flag != _FOR_THE_BLOCK:
        return None
    if bytes.fromhex(vote.validator_address) != address_of(signer.key):
        raise Tampered(OTHER_SET, place)
    if vote.signature is None:
        raise BadInput(NOT_AN_ANSWER, f"{place}.signature")
    signature, at = _base64(vote.signature, f"{place}.signature"), _instant(vote.timestamp)
    if len(signature) != _SIGNATURE_BYTES or at is None:
        return None
    return HeaderSignature(signer.key, signature, at)


def read_answer(data: bytes, kind: type[T]) -> T:
    """An answer of CometBFT, as far as it is read. Raises BadInput light.10 with the field."""
    if len(data) > MAX_ANSWER_BYTES:
        raise BadInput(NOT_AN_ANSWER, "length")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise BadInput(NOT_AN_ANSWER, _place(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(NOT_AN_ANSWER) from error


def _place(error: msgspec.ValidationError) -> str:
    """The JSON path of a msgspec error, without the offending value."""
    return str(error).partition(" - at `")[2].rstrip("`").removeprefix("$")


def _number(text: str, place: str) -> int:
    found = int(text)
    if found >= 2**53:
        raise BadInput(NOT_AN_ANSWER, place)
    return found


def _digest(text: str) -> bytes:
    return bytes.fromhex(text)


def _parts(parts: Parts) -> PartSet:
    return PartSet(parts.total, _digest(parts.hash))


def _block_id(name: Name) -> BlockId:
    return BlockId(_digest(name.hash), _parts(name.parts))


def _base64(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(NOT_AN_ANSWER, place) from error


def _instant(text: str) -> Instant | None:
    """A time of RFC 3339 in UTC since 1970, None for any other."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    try:
        whole = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    except ValueError:
        return None
    seconds = (whole - _EPOCH) // timedelta(seconds=1)
    return Instant(seconds, int((found[2] or "").ljust(9, "0"))) if seconds >= 0 else None
