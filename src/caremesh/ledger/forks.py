"""Forks: two headers of one height that validators have signed, found by asking a second node, shown by a file.

A light client cannot tell alone that it is shown a fork: whoever has enough of the validators' keys makes headers that
verify. It asks witnesses for their header of the same height. Another one that follows from the same trust shows that
validators have signed twice; one that does not follow shows that the witness lies.

``Fork`` holds both headers with those in between, each from the founders on: anybody who trusts the founders comes to
both, offline. What it says:
- ``twice``: keys that signed both headers. Nobody who follows the rules does in one round (CometBFT), or ever
  (embedded); in different rounds CometBFT calls it amnesia when more than a third does.
- ``differs``: what a header takes over from the state before it, and so cannot differ between two honest headers
  (CometBFT calls a header that makes it up lunatic).

The facts are those of CometBFT's ``LightClientAttackEvidence`` (its specification, ``spec/light-client/attacks``); the
form is our own, the same for both engines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal, NamedTuple, Protocol

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Tampered
from caremesh.ledger.blocks import BlockHeader
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import (
    FORKED,
    OTHER_HEIGHT,
    TRUST_ENDED,
    LightBlock,
    LightClient,
    power_of,
    signers_of,
)
from caremesh.types import Count, Digest, Height, Multikey, Seconds

MAX_STEPS: Final = 256
SUFFIX: Final = ".fork"
"""Of a file's name."""

NO_FORK = ErrorCode("light.13", "This does not show a fork.", "Do not hold it against the validators.")
NOT_A_FORK_FILE = ErrorCode("light.14", "This is not a file of a fork, or it was changed.", "Ask for it again.")

Steps = Annotated[list[LightBlock], Meta(min_length=1, max_length=MAX_STEPS)]
_STATE: Final = ("validators", "next_validators", "params", "app_hash", "results")


class Fork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: DAG-CBOR of this. ``one``, ``other``: headers by which each end is come to from the founders."""

    v: Literal[1]
    kind: Literal["fork"]
    chain: str
    one: Steps
    other: Steps


class Shown(NamedTuple):
    """What a fork shows: two headers of a height, by their hashes, and who signed both."""

    height: Height
    one: Digest
    other: Digest
    time: Seconds
    """Of the earlier of the two."""
    twice: list[Multikey]
    """Keys that signed both, sorted."""
    same_round: bool
    power: Count
    """Of those keys, of ``total``, in the set of the first header."""
    total: Count
    differs: list[str]
    """What the headers take over from the state, and have differently."""


class Forked(Tampered):
    """light.07, with what shows it."""

    def __init__(self, fork: Fork, place: str) -> None:
        super().__init__(FORKED, place)
        self.fork = fork

    def __reduce__(self) -> tuple[type[Forked], tuple[Fork, str]]:  # type: ignore[override]  # of other arguments
        return type(self), (self.fork, self.place)


class Witness(Protocol):
    """One node, as far as it shows headers. Raises CareMeshError."""

    did: str

    def light_block(self, height: Height | None = None) -> LightBlock:
        """A signed header: the newest, or of a height."""


class Compared(NamedTuple):
    """What the witnesses said: who has the same header; who did not answer, or lied, and the code of what was wrong."""

    agreed: list[str]
    silent: list[tuple[str, str]]
    lied: list[tuple[str, str]]


def compare(
    root: LightClient, primary: Witness, block: LightBlock, witnesses: Sequence[Witness], now: Seconds
) -> Compared:
    """Ask witnesses for their header of the block's height. ``root``: the trust from which both have to follow;
    it stays as it is. ``block`` has been verified, and came from ``primary``.

    Raises Forked light.07, or Tampered light.07 where no file can be made of it; Refused light.03 when the trust in
    ``root`` has ended and a witness has another header.
    """
    name, height = block.signed.content().hash(), block.signed.content().height
    agreed: list[str] = []
    silent: list[tuple[str, str]] = []
    lied: list[tuple[str, str]] = []
    for witness in witnesses:
        try:
            theirs = witness.light_block(height)
        except CareMeshError as error:
            silent.append((witness.did, error.code))
            continue
        try:
            header = theirs.signed.content()
            if header.height != height:
                raise Tampered(OTHER_HEIGHT, f"height {height}")
            if header.hash() == name:
                agreed.append(witness.did)
                continue
            other = follow(root, theirs, witness.light_block, now)
        except CareMeshError as error:
            if error.error in (TRUST_ENDED, FORKED):
                raise
            lied.append((witness.did, error.code))
            continue
        one = _again(root, primary, block, now)
        raise Forked(Fork(v=1, kind="fork", chain=header.chain, one=one, other=other), f"height {height}")
    return Compared(agreed, silent, lied)


def _again(root: LightClient, primary: Witness, block: LightBlock, now: Seconds) -> list[LightBlock]:
    """Whoever gave a header that forks may not give those in between again: then there is a fork, but no file."""
    try:
        return follow(root, block, primary.light_block, now)
    except CareMeshError as error:
        raise Tampered(FORKED, f"height {block.signed.content().height}") from error


def follow(
    root: LightClient, target: LightBlock, fetch: Callable[[Height], LightBlock], now: Seconds
) -> list[LightBlock]:
    """The headers by which a client comes from ``root`` to a target, the target the last. Raises light.NN."""
    steps: list[LightBlock] = []
    root.copy().advance(target, fetch, now, steps)
    return steps


def read(data: bytes) -> Fork:
    """A fork from a file. Raises Tampered light.14."""
    try:
        return codec.decode_as(data, Fork)
    except BadInput as error:
        raise Tampered(NOT_A_FORK_FILE, error.place) from error


def verify(fork: Fork, root: LightClient, now: Seconds) -> Shown:
    """What a file shows to whoever trusts ``root``, which stays as it is. Raises Tampered light.13, and light.NN."""
    one, other = (_end(root, steps, now) for steps in (fork.one, fork.other))
    if one.chain != fork.chain:
        raise Tampered(NO_FORK, "chain")
    if one.height != other.height or one.hash() == other.hash():
        raise Tampered(NO_FORK, f"heights {one.height}, {other.height}")
    validators = fork.one[-1].validators
    twice = _signers(fork.one[-1], one) & _signers(fork.other[-1], other)
    return Shown(
        height=one.height,
        one=one.hash(),
        other=other.hash(),
        time=min(one.time, other.time),
        twice=sorted(twice),
        same_round=_round(one) == _round(other),
        power=power_of(validators, twice),
        total=sum(validator.power for validator in validators),
        differs=[field for field in _STATE if getattr(one, field, None) != getattr(other, field, None)],
    )


def _end(root: LightClient, steps: Sequence[LightBlock], now: Seconds) -> BlockHeader:
    client = root.copy()
    return [client.verify(step, now) for step in steps][-1]


def _signers(block: LightBlock, header: BlockHeader) -> frozenset[Multikey]:
    return signers_of(block.signed, header, {validator.key for validator in block.validators})


def _round(header: BlockHeader) -> int:
    return header.round if isinstance(header, CometHeader) else 0
