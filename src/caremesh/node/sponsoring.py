"""A member sponsors what subjects send: it signs last, and the ledger counts it against its quota.

Its signature is its own word on the ledger, so it signs nothing but what a subject alone may say:
- one message, of the kinds below; an erasure only as the subject's wish, never under a duty, which is the source's;
- before the sponsor only keys without a DID: a stream's key, and where a key is added or replaced, that one too;
- at most ``max_per_key`` in an hour for one key, and all wallets together at most ``share`` of the member's own quota.
What takes back or erases costs no quota on the ledger and is not counted here either: it is always sponsored.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from caremesh import codec
from caremesh.contracts import FREE, MESSAGES
from caremesh.contracts.access.messages import Dispute
from caremesh.contracts.consent.messages import Accept, Decline, Extend, Grant, Narrow, Redelegate, Revoke
from caremesh.contracts.network import queries as network
from caremesh.contracts.records.messages import Erase, Reseal
from caremesh.contracts.streams.messages import (
    AddController,
    Close,
    NewEpoch,
    RemoveController,
    RenewPermit,
    RevokePermit,
    RotateKey,
    SetCustodians,
)
from caremesh.errors import BadInput, ErrorCode, Refused
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import MAX_SIGNED_BYTES, SIGNING_DOMAIN, Message, Signs, Tx
from caremesh.types import Count, Did, Multikey, Seconds

SUBJECTS: Final = frozenset(
    {
        Accept,
        AddController,
        Close,
        Decline,
        Dispute,
        Erase,
        Extend,
        Grant,
        Narrow,
        NewEpoch,
        Redelegate,
        RemoveController,
        RenewPermit,
        Reseal,
        Revoke,
        RevokePermit,
        RotateKey,
        SetCustodians,
    }
)
_HOUR_S: Final[Seconds] = 3_600
_TWO_KEYS: Final = (AddController, RotateKey)

NOT_A_SUBJECTS = ErrorCode(
    "relay.30", "A member sponsors only what a subject may say, one message at a time.", "Send it as a member."
)
OTHER_SIGNERS = ErrorCode(
    "relay.31", "The signers must be the caller's key, and then this member with its current key.", "Make it anew."
)
QUOTA_OF_KEY = ErrorCode("relay.32", "This key has had as much sponsored as it may in an hour.", "Try again later.")
QUOTA_OF_ALL = ErrorCode(
    "relay.33", "This member has sponsored as much for wallets as it may in an hour.", "Ask another member, or later."
)


class HasPublic(Protocol):
    """A key, as far as others see it."""

    @property
    def public(self) -> bytes:
        """The Multikey."""


class Proven(NamedTuple):
    """A key that a caller has proven to hold."""

    public: Multikey


class SponsorLimits(Struct, frozen=True, kw_only=True):
    """``max_per_key``: messages an hour; ``percent``: of the member's quota on the ledger, for all wallets together."""

    max_per_key: Count = 120
    percent: Count = 50


class Sponsoring:
    """One member as a sponsor; any thread may call."""

    def __init__(
        self,
        did: Did,
        key: Signs,
        reader: Callable[[], Reader],
        clock: Callable[[], Seconds],
        limits: SponsorLimits | None = None,
    ) -> None:
        self.did: Final = did
        self._key: Final = key
        self._reader: Final = reader
        self._clock: Final = clock
        self._limits: Final = limits or SponsorLimits()
        self._lock: Final = threading.Lock()
        self._hour: Seconds = 0
        self._used: Final[Counter[bytes]] = Counter()

    def sponsor(self, tx_bytes: bytes, key: HasPublic) -> bytes:
        """The member's signature (64 bytes) over a subject's transaction.

        ``key``: which the asker has proven to hold; it must be the subject's. Raises BadInput codec.NN; Refused
        relay.30 to relay.33.
        """
        if len(tx_bytes) > MAX_SIGNED_BYTES:
            raise Refused(NOT_A_SUBJECTS)
        tx: Tx[Message] = _read(tx_bytes)
        message = tx.msgs[0]
        if len(tx.msgs) != 1 or type(message) not in SUBJECTS:
            raise Refused(NOT_A_SUBJECTS)
        if isinstance(message, Erase) and message.duty is not None:
            raise Refused(NOT_A_SUBJECTS, "duty")
        *subjects, last = tx.signers
        if (last.did, last.key) != (self.did, self._key.public) or any(signer.did for signer in subjects):
            raise Refused(OTHER_SIGNERS)
        if len(subjects) not in ((1, 2) if isinstance(message, _TWO_KEYS) else (1,)):
            raise Refused(OTHER_SIGNERS)
        if subjects[0].key != key.public:
            raise Refused(OTHER_SIGNERS)
        if not isinstance(message, FREE):
            self._spend(subjects[0].key)
        return self._key.sign(SIGNING_DOMAIN + tx_bytes)

    def _spend(self, key: Multikey) -> None:
        params = network.params(self._reader())
        most = params.quota * _HOUR_S // params.quota_window_s * self._limits.percent // 100
        with self._lock:
            hour = self._clock() // _HOUR_S
            if hour != self._hour:
                self._hour = hour
                self._used.clear()
            if self._used[key] >= self._limits.max_per_key:
                raise Refused(QUOTA_OF_KEY)
            if self._used.total() >= most:
                raise Refused(QUOTA_OF_ALL)
            self._used[key] += 1


def _read(tx_bytes: bytes) -> Tx[Message]:
    try:
        return msgspec.convert(codec.decode(tx_bytes), Tx[MESSAGES], builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise BadInput(codec.WRONG_SHAPE) from error
