"""A member keeps sealed messages for wallets that are not there now, each under the channel key that may take it.

It is anybody's relay, not only for its own patients, and learns for which key a message is, its size, who left it and
when; never what it says. Taking has two steps: a wallet lists what there is, and acknowledges what it has kept; only
then is a message destroyed, so that an answer that is lost loses nothing. What nobody takes goes after ``keep_s``.

Name in the vault: ``inbox/<channel key>/<number>.<SHA-256 of the message>.<tag of the sender>``. Numbers grow, and
are a thousand times the second of arrival at least, so that they are cursors and say how old a message is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from caremesh.blobs.vault import Vault
from caremesh.client.wallet import Page, Waiting
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.errors import ErrorCode, Refused, Tampered
from caremesh.types import DAY_S, Count, Did, Multikey, Seconds

_PREFIX: Final = "inbox/"
_PER_SECOND: Final = 1_000
_SWEEP_S: Final[Seconds] = 60

TOO_LARGE = ErrorCode("relay.10", "This message is larger than an inbox takes.", "Say less, or in several messages.")
BOX_FULL = ErrorCode(
    "relay.11", "As many messages wait for this person as an inbox takes.", "Try again when they were taken."
)
INBOX_FULL = ErrorCode("relay.12", "This member keeps as many messages as it can.", "Try again later.")
SENDER_FULL = ErrorCode(
    "relay.13", "As many messages of yours wait here as one sender may leave.", "Try again when they were taken."
)


class InboxLimits(Struct, frozen=True, kw_only=True):
    """Counts of messages, bytes of one, and how long it is kept, in seconds."""

    max_message_bytes: Count = 64 * 1024
    max_per_key: Count = 100
    max_per_sender: Count = 20_000
    max_messages: Count = 100_000
    max_listed: Count = 20
    keep_s: Seconds = 60 * DAY_S


class Inbox:
    """One member's. Owns its part of the vault; any thread may call."""

    def __init__(self, vault: Vault, clock: Callable[[], Seconds], limits: InboxLimits | None = None) -> None:
        self._vault: Final = vault
        self._clock: Final = clock
        self._limits: Final = limits or InboxLimits()
        self._changed: Final = threading.Condition()
        self._names: Final[dict[str, list[str]]] = {}
        self._senders: Final[Counter[str]] = Counter()
        self._total = 0
        self._swept: Seconds = 0
        self._last = (clock() + 1) * _PER_SECOND
        for name in vault.names(_PREFIX):
            self._count(name)
            self._last = max(self._last, _number(name))

    def leave(self, channel_key: Multikey, sealed: bytes, sender: Did) -> str:
        """Keep a message; its id. The same one again is kept once. Durable when this returns.

        Raises Refused relay.10 to relay.13, StorageFailed.
        """
        limits, identity, tag = self._limits, sha256(sealed).hex(), _tag(sender)
        if not sealed or len(sealed) > limits.max_message_bytes:
            raise Refused(TOO_LARGE, f"{limits.max_message_bytes} bytes")
        self.expire()
        with self._changed:
            mine = self._names.get(channel_key.hex(), [])
            if any(_id(name) == identity for name in mine):
                return identity
            if len(mine) >= limits.max_per_key:
                raise Refused(BOX_FULL)
            if self._senders[tag] >= limits.max_per_sender:
                raise Refused(SENDER_FULL)
            if self._total >= limits.max_messages:
                raise Refused(INBOX_FULL)
            number = max(self._clock() * _PER_SECOND, self._last + 1)
            name = f"{_PREFIX}{channel_key.hex()}/{number:016d}.{identity}.{tag}"
            self._vault.put({name: sealed})
            self._last = number
            self._count(name)
            self._changed.notify_all()
        return identity

    def waiting(self, channel_key: Multikey, after: str = "") -> Page:
        """The oldest messages for a key, those after a cursor; nothing is taken away by it.

        One that the disk has damaged is left out; it stays counted until it expires. Raises StorageFailed.
        """
        self.expire()
        oldest = self._clock() - self._limits.keep_s
        with self._changed:
            mine = self._names.get(channel_key.hex(), [])
            names = [name for name in mine if _cursor(name) > after and _at(name) >= oldest]
        listed = names[: self._limits.max_listed]
        found = []
        for name in listed:
            try:
                sealed = self._vault.get(name)
            except Tampered:
                continue
            if sealed is not None:
                found.append(Waiting(id=_id(name), at=_at(name), sealed=sealed))
        return Page(messages=found, cursor=_cursor(listed[-1]) if listed else after, more=len(names) > len(listed))

    def acknowledge(self, channel_key: Multikey, ids: Sequence[str]) -> Count:
        """Destroy messages for a key that its holder has kept; how many there were. Raises StorageFailed."""
        with self._changed:
            return self._destroy([name for name in self._names.get(channel_key.hex(), []) if _id(name) in set(ids)])

    def wait(self, channel_key: Multikey, after: str, timeout_s: float) -> str:
        """The cursor of the newest message for a key, once there is one after ``after``; ``after`` itself when not."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest(channel_key) > after, timeout_s)
            return max(self._newest(channel_key), after)

    def newest(self, channel_key: Multikey) -> str:
        """The cursor of the newest message for a key; empty when there is none."""
        with self._changed:
            return self._newest(channel_key)

    def total(self) -> tuple[Count, Count]:
        """How many messages wait, for whomever, and how many may."""
        return self._total, self._limits.max_messages

    def expire(self) -> Count:
        """Destroy what nobody has taken in time, once a minute at most; how many. Raises StorageFailed."""
        now = self._clock()
        if now - self._swept < _SWEEP_S:
            return 0
        self._swept, oldest = now, now - self._limits.keep_s
        with self._changed:
            return self._destroy([name for names in self._names.values() for name in names if _at(name) < oldest])

    def _newest(self, channel_key: Multikey) -> str:
        names = self._names.get(channel_key.hex())
        return _cursor(names[-1]) if names else ""

    def _destroy(self, names: Sequence[str]) -> Count:
        if not names:
            return 0
        self._vault.destroy(names)
        for name in names:
            key = name.split("/")[1]
            self._names[key].remove(name)
            self._senders[_tag_of(name)] -= 1
            self._total -= 1
            if not self._names[key]:
                del self._names[key]
        return len(names)

    def _count(self, name: str) -> None:
        self._names.setdefault(name.split("/")[1], []).append(name)  # names come in their order
        self._senders[_tag_of(name)] += 1
        self._total += 1


def _tag(sender: Did) -> str:
    return tagged_hash("caremesh/v1/inbox-sender", sender.encode())[:8].hex()


def _cursor(name: str) -> str:
    """Grows with every message of a key."""
    return name.rpartition("/")[2].rpartition(".")[0]


def _number(name: str) -> int:
    return int(_cursor(name).partition(".")[0])


def _at(name: str) -> Seconds:
    return _number(name) // _PER_SECOND


def _id(name: str) -> str:
    return _cursor(name).partition(".")[2]


def _tag_of(name: str) -> str:
    return name.rpartition(".")[2]
