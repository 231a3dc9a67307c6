"""Light blocks of the embedded engine for vectors/comet: the same client follows them. Always the same bytes."""

from __future__ import annotations

from typing import Any, Final

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    Header,
    HeaderSignature,
    SignedHeader,
    Validator,
    header_hash,
    validators_hash,
)
from caremesh.ledger.comet import Instant
from caremesh.ledger.light import LightBlock

CHAIN: Final = "own"
START_S: Final = 1_800_000_000
_KEYS: Final = [SigningKey.from_seed(bytes([number]) * 32) for number in range(1, 8)]


def members(*numbers: int, power: int = 1) -> list[Validator]:
    """A set of the example's keys."""
    return [Validator(_KEYS[number].public, power) for number in numbers]


def signed(height: int, validators: list[Validator], by: tuple[int, ...], after: list[Validator]) -> LightBlock:
    """A header of a height, ``after`` being the set of the next, signed by some of the keys."""
    header = codec.encode(
        Header(
            chain=CHAIN,
            height=height,
            time=START_S + height,
            previous=bytes(32),
            txs=bytes(32),
            app_hash=bytes([height]) * 32,
            validators=validators_hash(validators),
            next_validators=validators_hash(after),
        )
    )
    votes = [HeaderSignature(_KEYS[number].public, _KEYS[number].sign(HEADER_DOMAIN + header)) for number in by]
    return LightBlock(SignedHeader(header, votes), validators)


def content() -> dict[str, Any]:
    """Of ``own.json``: the founders, and light blocks that are shown to a client that trusts them, one each."""
    four, later = members(0, 1, 2, 3), members(3, 4, 5, 6)
    good = signed(1, four, (0, 1, 2), four)
    dated = [HeaderSignature(vote.key, vote.signature, Instant(START_S, 0)) for vote in good.signed.signatures]
    shown = {
        ("signed by three of four", ""): good,
        ("signed by two of four", "light.01"): signed(1, four, (0, 1), four),
        ("votes dated as CometBFT's are", "light.01"): LightBlock(SignedHeader(good.signed.header, dated), four),
        ("another set than the header's", "light.09"): LightBlock(good.signed, later),
        ("a later header of the same set", ""): signed(9, four, (1, 2, 3), later),
        ("a later header of strangers", "light.02"): signed(9, later, (3, 4, 5, 6), later),
    }
    return {
        "chain": CHAIN,
        "trusted_at": START_S,
        "now": START_S + 60,
        "validators": [{"key": each.key.hex(), "power": each.power} for each in four],
        "blocks": [
            {
                "name": name,
                "expect": expect,
                "hash": header_hash(block.signed.header).hex(),
                "light_block": codec.encode(block).hex(),
            }
            for (name, expect), block in shown.items()
        ],
    }
