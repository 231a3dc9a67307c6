"""Headers as CometBFT's validators would sign them, by keys of the tests."""

from __future__ import annotations

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import HeaderSignature, SignedHeader, Validator
from caremesh.ledger.comet import BlockId, CometHeader, Instant, PartSet, set_hash
from caremesh.ledger.light import LightBlock

NOW = 1_800_000_000
CHAIN = "comet"
KEYS = [SigningKey.from_seed(bytes([number]) * 32) for number in range(1, 10)]
PARTS = PartSet(1, bytes(32))


def members(*numbers: int, power: int = 10) -> list[Validator]:
    return [Validator(KEYS[number].public, power) for number in numbers]


def name_of(validators: list[Validator]) -> bytes:
    return set_hash((each.key, each.power) for each in validators)


def header(height: int, validators: list[Validator], app_hash: bytes = bytes(32), chain: str = CHAIN) -> CometHeader:
    return CometHeader(
        block_version=11,
        app_version=0,
        chain=chain,
        height=height,
        time=NOW + height,
        nanos=1,
        previous=BlockId(b"", PartSet(0, b"")),
        last_commit=b"",
        txs=b"",
        validators=name_of(validators),
        next_validators=name_of(validators),
        params=b"",
        app_hash=app_hash,
        results=b"",
        evidence=b"",
        proposer=bytes(20),
        round=0,
        parts=PARTS,
    )


def signed(made: CometHeader, validators: list[Validator], *by: int, at: Instant | None = None) -> LightBlock:
    at = Instant(made.time + 1, 0) if at is None else at
    message = made.signing_input(at, made.hash())
    votes = [HeaderSignature(KEYS[number].public, KEYS[number].sign(message), at) for number in by]
    return LightBlock(SignedHeader(codec.encode(made), votes), validators)


FOUR = members(0, 1, 2, 3)
