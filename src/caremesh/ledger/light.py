"""The light client: believe a block header because enough validators that you know have signed it, then believe
values because they are proven under that header's app hash. Nobody who hands these over has to be trusted.

Rules (those of a light client with skipping verification):
- the header is of this chain, newer than the trusted one, and not from the future (``MAX_DRIFT_S``);
- the trusted header is within the trust period: older ones may be signed by keys that have since changed hands;
- more than 2/3 of the power of the header's own validator set has signed it;
- the set is known: the next header's set is named by the trusted header; for a later one, more than 1/3 of the
  *trusted* set's power has signed too, else a header in between is asked for (bisection);
- where one key orders no more and others take over (``succession``), the last header of the old chain proves the id of
  the new one, and names who signs its first header (``cross``); from there on only headers of the new chain count;
- a value stands only with a proof to the header's app hash, which is the root of the state that the header
  ``proves``: with the embedded engine the one after its block, with CometBFT the one before it.

Headers of both engines are followed alike; what differs is how a header and a set are named and what is signed
(``ledger/blocks.py``, ``ledger/comet.py``). Time is compared in whole seconds. Signatures count by libsodium's rules,
which accept no more than the rules of CometBFT (ADR 0111).

A wrong answer raises. Nothing here returns a truth value that could be ignored.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence, Set
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.crypto import signatures
from caremesh.errors import BadInput, ErrorCode, Refused, Tampered, WrongLedger
from caremesh.ledger import comet
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    BlockHeader,
    Header,
    SignedHeader,
    Validator,
    validators_hash,
)
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.proofs import Proof, check_proof
from caremesh.ledger.succession import KEY, Succession
from caremesh.types import Count, Digest, Height, Multikey, Seconds

TRUST_PERIOD_S: Final[Seconds] = 14 * 86_400
FOREVER_S: Final[Seconds] = 2**40
MAX_DRIFT_S: Final[Seconds] = 10

NOT_SIGNED = ErrorCode(
    "light.01", "The header is not signed by enough of the validators that it names.", "Ask another node."
)
UNKNOWN_SET = ErrorCode("light.02", "The header's validators are not those that are trusted.", "Ask another node.")
TRUST_ENDED = ErrorCode(
    "light.03", "The trusted header is older than the trust period.", "Get a recent header from someone you trust."
)
FROM_FUTURE = ErrorCode("light.04", "The header is dated in the future.", "Set the clock right, or ask another node.")
NOT_NEWER = ErrorCode("light.05", "The header is not newer than the trusted one.", "Ask for a newer one.")
OTHER_CHAIN = ErrorCode("light.06", "The header is of another chain.", "Name the right chain.")
FORKED = ErrorCode("light.07", "Two signed headers of one height differ: someone has signed a fork.", "Keep both.")
OTHER_HEIGHT = ErrorCode("light.08", "The answer is for another block than the header.", "Ask again.")
OTHER_SET = ErrorCode("light.09", "These are not the validators that the header names.", "Ask another node.")
NO_CROSSING = ErrorCode("light.15", "This does not show that another chain follows.", "Ask another node for it.")
ENDED = ErrorCode(
    "light.18", "The header comes after the last block of its chain.", "Ask for a header of the chain that followed."
)


class LightBlock(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed header with the set that signed it."""

    signed: SignedHeader
    validators: list[Validator]


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """A key's value at a height, provable to anyone who trusts the header. ``proof`` holds the value."""

    key: bytes
    height: Height
    proof: Proof


class Crossing(Struct, frozen=True, forbid_unknown_fields=True):
    """What leads from one chain of a ledger to the next."""

    block: LightBlock
    """The last of the old chain."""
    answer: Answer
    """The proof under it of who follows: see ``succession``."""
    validators: list[Validator]
    """Who signs the first block of the new chain, in CometBFT's order."""


class LightClient:
    """Follows one chain from a header or a validator set that its user trusts."""

    def __init__(
        self,
        chain: str,
        validators: Sequence[Validator],
        *,
        trusted_at: Seconds,
        trust_period_s: Seconds = TRUST_PERIOD_S,
        height: Height = 0,
    ) -> None:
        """``validators``: the set trusted at ``trusted_at`` (genesis, or learned out of band) to sign the block after
        ``height``; of CometBFT in its own order.
        """
        self._chain = chain
        self._trust_period_s = trust_period_s
        self._trusted = list(validators)
        self._next: Digest | None = None
        self._time = trusted_at
        self._height: Height = height
        self._name: Digest | None = None
        self.ends: Height | None = None
        """The last height of the chain, where it is known to have one."""

    @classmethod
    def from_header(
        cls, chain: str, block: LightBlock, name: Digest, *, trust_period_s: Seconds = TRUST_PERIOD_S
    ) -> LightClient:
        """A client that trusts one header because somebody trusted has told its hash, ``name``.

        Raises Tampered light.01, .08, .09; WrongLedger light.06.
        """
        header = block.signed.content()
        if header.chain != chain:
            raise WrongLedger(OTHER_CHAIN)
        if header.hash() != name:
            raise Tampered(OTHER_HEIGHT, f"height {header.height}")
        _check_signed(block, header)
        client = cls(chain, block.validators, trusted_at=header.time, trust_period_s=trust_period_s)
        client._trust(block, header)
        return client

    def copy(self) -> LightClient:
        """Another client that trusts what this one does now."""
        return copy.copy(self)

    def until(self, last: Height) -> LightClient:
        """Another client, which knows that the chain has ended with this height."""
        made = self.copy()
        made.ends = last
        return made

    @property
    def chain(self) -> str:
        """The chain whose headers it believes."""
        return self._chain

    @property
    def height(self) -> Height:
        """Height of the newest verified header."""
        return self._height

    def check(self, block: LightBlock, now: Seconds) -> BlockHeader:
        """The header, if it is to be believed; what is trusted stays as it was.

        Raises Tampered, Refused or WrongLedger light.NN.
        """
        header = block.signed.content()
        if header.chain != self._chain:
            raise WrongLedger(OTHER_CHAIN)
        if self.ends is not None and header.height > self.ends:
            raise Tampered(ENDED, f"height {header.height}")
        if now - self._time > self._trust_period_s:
            raise Refused(TRUST_ENDED)
        if header.height == self._height and self._name is not None:
            if header.hash() != self._name:
                self._check_fork(block, header)
            return header
        if header.height <= self._height or header.time < self._time:
            raise Refused(NOT_NEWER, f"height {header.height}")
        if header.time > now + MAX_DRIFT_S:
            raise Refused(FROM_FUTURE, f"height {header.height}")
        signers = _check_signed(block, header)
        if header.validators != (self._next or set_name(header, self._trusted)):
            adjacent = header.height == self._height + 1
            if adjacent or not _more_than(1, self._trusted, signers):
                raise Tampered(UNKNOWN_SET, f"height {header.height}")
        return header

    def verify(self, block: LightBlock, now: Seconds) -> BlockHeader:
        """Believe a header, and from now on trust what it names. Raises Tampered, Refused or WrongLedger light.NN."""
        header = self.check(block, now)
        if header.height > self._height:
            self._trust(block, header)
        return header

    def cross(self, crossing: Crossing, now: Seconds) -> Header:
        """Go over to the chain that follows; the last header of this one. Nothing has changed when it raises.

        Raises Tampered light.09, light.15, proof.01; and what ``check`` does.
        """
        header = self.check(crossing.block, now)
        place = f"height {header.height}"
        value = check_answer(header, crossing.answer)
        if value is None or crossing.answer.key != KEY or not isinstance(header, Header):
            raise Tampered(NO_CROSSING, place)
        try:
            said = codec.decode_as(value, Succession)
        except BadInput as error:
            raise Tampered(NO_CROSSING, place) from error
        if said.height != header.height:
            raise Tampered(NO_CROSSING, place)
        if comet.set_hash((each.key, each.power) for each in crossing.validators) != header.next_validators:
            raise Tampered(OTHER_SET, place)
        self._trust(LightBlock(crossing.block.signed, crossing.validators), header)
        self._chain, self._name, self.ends = said.chain, None, None
        return header

    def advance(
        self,
        target: LightBlock,
        fetch: Callable[[Height], LightBlock],
        now: Seconds,
        steps: list[LightBlock] | None = None,
        crossing: Callable[[], Crossing | None] = lambda: None,
    ) -> BlockHeader:
        """Believe ``target``, by way of headers in between where the set has changed too much (bisection).

        ``crossing``: asked for where the target is of another chain; it is crossed to first.
        ``steps``: to which each header that was believed on the way is added.
        """
        pending = [target]
        if target.signed.content().chain != self._chain and (found_crossing := crossing()) is not None:
            self.cross(found_crossing, now)
        while True:
            block = pending[-1]
            try:
                header = self.verify(block, now)
            except Tampered as error:
                height = block.signed.content().height
                if error.error is not UNKNOWN_SET or height <= self._height + 1:
                    raise
                middle = (self._height + height) // 2
                found = fetch(middle)
                if found.signed.content().height != middle:
                    raise Tampered(OTHER_HEIGHT, f"height {middle}") from error
                pending.append(found)
                continue
            if steps is not None:
                steps.append(block)
            pending.pop()
            if not pending:
                return header

    def _check_fork(self, block: LightBlock, header: BlockHeader) -> None:
        """Another header of the trusted height: a fork where those who could sign there have signed it, else a lie."""
        signers = _check_signed(block, header)
        if not _more_than(1, self._trusted, signers):
            raise Tampered(UNKNOWN_SET, f"height {header.height}")
        raise Tampered(FORKED, f"height {header.height}")

    def _trust(self, block: LightBlock, header: BlockHeader) -> None:
        self._trusted, self._next = block.validators, header.next_validators
        self._time, self._height, self._name = header.time, header.height, header.hash()


def check_answer(header: BlockHeader, answer: Answer) -> bytes | None:
    """The value (None: proven absent) under a verified header. Raises Tampered ledger.20, light.08."""
    if answer.height != header.proves:
        raise Tampered(OTHER_HEIGHT, f"height {answer.height}")
    return check_proof(header.app_hash, answer.key, answer.proof)


def set_name(header: BlockHeader, validators: Sequence[Validator]) -> Digest:
    """What a header of this engine calls these validators."""
    if isinstance(header, CometHeader):
        return comet.set_hash((validator.key, validator.power) for validator in validators)
    return validators_hash(validators)


def signers_of(signed: SignedHeader, header: BlockHeader, keys: Set[Multikey]) -> frozenset[Multikey]:
    """Those of the keys that have signed the header. Bad signatures count nothing."""
    name = header.hash()
    found: set[Multikey] = set()
    for entry in signed.signatures:
        if entry.key not in keys or entry.key in found:
            continue
        if isinstance(header, CometHeader) and entry.at is not None:
            message = header.signing_input(entry.at, name)
        elif isinstance(header, Header) and entry.at is None:
            message = HEADER_DOMAIN + signed.header
        else:
            continue  # a vote of the other engine
        try:
            signatures.verify(entry.key, message, entry.signature)
        except Tampered:
            continue
        found.add(entry.key)
    return frozenset(found)


def _check_signed(block: LightBlock, header: BlockHeader) -> frozenset[Multikey]:
    """Who has signed, when the header's own set has. Raises Tampered light.01, light.09."""
    if set_name(header, block.validators) != header.validators:
        raise Tampered(OTHER_SET, f"height {header.height}")
    signers = signers_of(block.signed, header, {validator.key for validator in block.validators})
    if not _more_than(2, block.validators, signers):
        raise Tampered(NOT_SIGNED, f"height {header.height}")
    return signers


def _more_than(thirds: int, validators: Sequence[Validator], signers: Set[Multikey]) -> bool:
    """Whether signers have more than so many thirds of the set's power. A validator listed twice counts once."""
    total = sum(validator.power for validator in validators)
    return 3 * power_of(validators, signers) > thirds * total


def power_of(validators: Sequence[Validator], signers: Set[Multikey]) -> Count:
    """The power in the set of those who have signed."""
    by_key = {validator.key: validator.power for validator in validators}
    return sum(power for key, power in by_key.items() if key in signers)
