"""The light client: believe a block header because enough validators that you know have signed it, then believe
values because they are proven under that header's app hash. Nobody who hands these over has to be trusted.

Rules (those of a light client with skipping verification):
- the header is of this chain, newer than the trusted one, and not from the future (``MAX_DRIFT_S``);
- the trusted header is within the trust period: older ones may be signed by keys that have since changed hands;
- more than 2/3 of the power of the header's own validator set has signed it;
- the set is known: the next header's set is named by the trusted header; for a later one, more than 1/3 of the
  *trusted* set's power has signed too, else a header in between is asked for (bisection);
- a value stands only with a proof to the header's app hash.

A wrong answer raises. Nothing here returns a truth value that could be ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from caremesh.crypto import signatures
from caremesh.errors import ErrorCode, Refused, Tampered, WrongLedger
from caremesh.ledger.blocks import HEADER_DOMAIN, Header, SignedHeader, Validator, header_hash, validators_hash
from caremesh.ledger.proofs import Proof, check_proof
from caremesh.types import Digest, Height, Seconds

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


class LightBlock(Struct, frozen=True, forbid_unknown_fields=True):
    """A signed header with the set that signed it."""

    signed: SignedHeader
    validators: list[Validator]


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """A key's value at a height, provable to anyone who trusts the header. ``proof`` holds the value."""

    key: bytes
    height: Height
    proof: Proof


class LightClient:
    """Follows one chain from a header or a validator set that its user trusts."""

    def __init__(
        self,
        chain: str,
        validators: Sequence[Validator],
        *,
        trusted_at: Seconds,
        trust_period_s: Seconds = TRUST_PERIOD_S,
    ) -> None:
        """``validators``: the set trusted at ``trusted_at`` (genesis, or learned out of band)."""
        self._chain = chain
        self._trust_period_s = trust_period_s
        self._trusted = list(validators)
        self._next = validators_hash(validators)
        self._time = trusted_at
        self._height: Height = 0
        self._hash: Digest | None = None

    @property
    def height(self) -> Height:
        """Height of the newest verified header."""
        return self._height

    def check(self, block: LightBlock, now: Seconds) -> Header:
        """The header, if it is to be believed; what is trusted stays as it was.

        Raises Tampered, Refused or WrongLedger light.NN.
        """
        header = block.signed.content()
        if header.chain != self._chain:
            raise WrongLedger(OTHER_CHAIN)
        if now - self._time > self._trust_period_s:
            raise Refused(TRUST_ENDED)
        if header.height == self._height and self._hash is not None:
            if header_hash(block.signed.header) != self._hash:
                self._check_signed(block, header)
                raise Tampered(FORKED, f"height {header.height}")
            return header
        if header.height <= self._height or header.time < self._time:
            raise Refused(NOT_NEWER, f"height {header.height}")
        if header.time > now + MAX_DRIFT_S:
            raise Refused(FROM_FUTURE, f"height {header.height}")
        self._check_signed(block, header)
        if header.validators != self._next:
            adjacent = header.height == self._height + 1
            if adjacent or not _more_than(1, self._trusted, block.signed):
                raise Tampered(UNKNOWN_SET, f"height {header.height}")
        return header

    def verify(self, block: LightBlock, now: Seconds) -> Header:
        """Believe a header, and from now on trust what it names. Raises Tampered, Refused or WrongLedger light.NN."""
        header = self.check(block, now)
        self._trusted, self._next = block.validators, header.next_validators
        self._time, self._height, self._hash = header.time, header.height, header_hash(block.signed.header)
        return header

    def advance(self, target: LightBlock, fetch: Callable[[Height], LightBlock], now: Seconds) -> Header:
        """Believe ``target``, by way of headers in between where the set has changed too much (bisection)."""
        pending = [target]
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
            pending.pop()
            if not pending:
                return header

    def _check_signed(self, block: LightBlock, header: Header) -> None:
        if validators_hash(block.validators) != header.validators:
            raise Tampered(OTHER_SET, f"height {header.height}")
        if not _more_than(2, block.validators, block.signed):
            raise Tampered(NOT_SIGNED, f"height {header.height}")


def check_answer(header: Header, answer: Answer) -> bytes | None:
    """The value (None: proven absent) under a verified header. Raises Tampered ledger.20, light.08."""
    if answer.height != header.height:
        raise Tampered(OTHER_HEIGHT, f"height {answer.height}")
    return check_proof(header.app_hash, answer.key, answer.proof)


def _more_than(thirds: int, validators: Sequence[Validator], signed: SignedHeader) -> bool:
    """Whether validators with more than so many thirds of the set's power have signed. Bad signatures count nothing."""
    message = HEADER_DOMAIN + signed.header
    given = {entry.key: entry.signature for entry in signed.signatures}
    total = sum(validator.power for validator in validators)
    power = 0
    for validator in {validator.key: validator for validator in validators}.values():
        if validator.key not in given:
            continue
        try:
            signatures.verify(validator.key, message, given[validator.key])
        except Tampered:
            continue
        power += validator.power
    return 3 * power > thirds * total
