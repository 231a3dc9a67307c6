"""What a clinician opens with one click: receipts for all granted streams at once, and their records, in memory.

- Receipts are renewed silently before they end, for as long as the visit is open and the consents are active; the
  access contract gives none beyond twelve hours.
- What is registered while it is open is opened when its records are next read, under a receipt that is renewed for it:
  a receipt is only for what was registered by its own block.
- After each block, what the ledger has ended is let go of, at once: a consent that was revoked or narrowed, a segment
  that was erased, a practitioner or member that was suspended, a receipt that ran out because it was not renewed.
- On leaving, living receipts are closed on the ledger, and all plaintext is overwritten (``holding.py`` says how far).
- Nothing shared, nothing consented to and nothing there are one and the same answer: an empty list.

A visit is used by one person, and by three threads: the person's, the one that renews, and the ledger's. The lock is
held while the visit changes, and never while the ledger or a custodian is waited for; who opens has a lock of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.errors import CareMeshError, ErrorCode, Refused, Unavailable
from caremesh.gateway import errors
from caremesh.gateway.ask import Asked, Requester, ask_all, close_all
from caremesh.gateway.holding import HeldRecord, hold
from caremesh.gateway.opening import Means, Opened, in_scope, open_receipts
from caremesh.ledger.state import Reader
from caremesh.sealing.channel import SharedStream
from caremesh.types import Code, Count, Multikey, Seconds

KEEP_EVERY_S: Final = 30.0
"""How often a visit looks whether a receipt is about to end."""
_SIDE_BY_SIDE: Final = 8
"""Streams for which the ledger is asked at the same time."""


class Purpose(NamedTuple):
    """Why a visit is begun, as the ledger records it: permission is the consent's, lawfulness the legal basis."""

    purpose: Code
    legal_basis: Sequence[Code]
    action: Code = "read"
    reason: str = ""


class Grounds(NamedTuple):
    """What one stream of a visit stands on: what the patient allows, and why it is lawful; both by one receipt."""

    category: Code
    receipt: Receipt
    """Names the consent (the permission), the legal basis, and the policies that decided."""
    until: Seconds
    """When the consent ends, unless it is revoked before."""


class Ended(NamedTuple):
    """A stream that a visit does not have, or has no longer, and why."""

    category: Code
    error: CareMeshError


class _Entry:
    """One stream of a visit. ``held``: by segment; None before it was opened and after it was let go of."""

    def __init__(self, shared: SharedStream, receipt: Receipt, seen: Count) -> None:
        """``seen``: how many segments the stream had before the receipt was asked for."""
        self.shared = shared
        self.receipts = [receipt]
        self.held: dict[Count, list[HeldRecord]] | None = None
        self.over = False
        self.seen = seen
        self.grown = False
        """Whether there are segments that were not there when it was opened, which nobody has tried to open yet."""
        self.behind: CareMeshError | None = None

    @property
    def receipt(self) -> Receipt:
        return self.receipts[-1]

    def wipe(self) -> None:
        _wipe(self.held or {})
        self.held = None


class _Opening(NamedTuple):
    """One stream that is being opened. ``first``: nothing of it was held; ``known``: the segments that are."""

    entry: _Entry
    first: bool
    known: frozenset[Count]
    seen: Count
    receipt: Receipt


class Visit:
    """One patient's granted streams, open to one requester. Use as a context manager, or ``close`` it."""

    def __init__(
        self,
        means: Means,
        patient: Multikey,
        requester: Requester | None,
        why: Purpose,
        streams: Sequence[SharedStream],
        ended: Sequence[Ended],
        on_close: Callable[[Visit], None],
    ) -> None:
        """Ask for receipts of all ``streams``. ``Gateway.visit`` chooses them; ``ended``: what it had to leave out.

        Raises the ledger's refusal (see ``ask.ask``) when it gives no receipt at all.
        """
        self.patient: Final = patient
        self._means = means
        self._requester = requester
        self._why = why
        self._on_close = on_close
        self._lock = Lock()
        self._opening = Lock()
        self._leave = Event()
        self._subject = os.urandom(16)
        self._entries: list[_Entry] = []
        self._ended = list(ended)
        reader = means.asker.ledger.reader()
        seen = [records.count(reader, shared.stream) for shared in streams]
        answers = ask_all(means.asker, requester, [self._asked(shared) for shared in streams])
        for shared, answer, count in zip(streams, answers, seen, strict=True):
            if isinstance(answer, Receipt):
                self._entries.append(_Entry(shared, answer, count))
            else:
                self._ended.append(Ended(shared.category, answer))
        if not self._entries:
            raise self._ended[-1].error

    def __enter__(self) -> Visit:
        Thread(target=self._attend, name="visit", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ended(self) -> list[Ended]:
        """Streams that were refused, failed to open, or ended since; in order of time."""
        with self._lock:
            return list(self._ended)

    @property
    def behind(self) -> list[Ended]:
        """Streams that have more than ``records`` shows, and why that does not open; tried anew after each block."""
        with self._lock:
            return [
                Ended(entry.shared.category, entry.behind)
                for entry in self._entries
                if entry.behind is not None and not entry.over
            ]

    @property
    def grounds(self) -> list[Grounds]:
        """What each stream that is open stands on now."""
        reader = self._means.asker.ledger.reader()
        with self._lock:
            receipts = [(entry.shared.category, entry.receipt) for entry in self._entries if not entry.over]
        found = []
        for category, receipt in receipts:
            consent = consents.consent(reader, receipt.consent)
            found.append(Grounds(category, receipt, 0 if consent is None else consent.ends))
        return found

    def open(self) -> list[Opened]:
        """Open all streams, and what they have grown by, several at a time; what each took, for the member's own log.

        A stream that fails is in ``ended``, the others are open; one of which only what is new fails is in ``behind``.
        Raises Refused gateway.09 after ``close``.
        """
        self._check_open()
        with self._opening:
            with self._lock:
                wanted = [entry for entry in self._entries if not entry.over and (entry.held is None or entry.grown)]
            with ThreadPoolExecutor(min(_SIDE_BY_SIDE, max(1, len(wanted)))) as pool:
                openings = [each for each in pool.map(self._begin, wanted) if each is not None]
            asked = [(each.receipt, each.known) for each in openings]
            found = open_receipts(self._means, asked, self._requester)
            opened = [self._take(*each) for each in zip(openings, found, strict=True)]
        return [each for each in opened if each is not None]

    def records(self, category: Code) -> list[HeldRecord]:
        """The records of one category: none when there are none, whatever the reason. What is new is opened first.

        Raises Refused gateway.09 after ``close``.
        """
        self._check_open()
        with self._lock:
            grown = any(entry.grown and not entry.over for entry in self._entries if entry.shared.category == category)
        if grown:
            self.open()
        with self._lock:
            return [
                record
                for entry in self._entries
                if entry.shared.category == category and entry.held is not None
                for kept in entry.held.values()
                for record in kept
            ]

    def keep(self) -> None:
        """Renew each receipt that has less than half of its life left; what is refused a renewal ends with its receipt.

        A visit that is entered does so by itself. While the ledger cannot be reached receipts run out, and ``follow``
        ends their streams.
        """
        now = self._means.asker.clock()
        with self._lock:
            due = [entry for entry in self._entries if not entry.over and _is_due(entry.receipt, now)]
        if not due:
            return
        asked = [self._asked(entry.shared, entry.receipt) for entry in due]
        try:
            answers = ask_all(self._means.asker, self._requester, asked, subject=self._subject)
        except Unavailable:
            return
        with self._lock:
            for entry, answer in zip(due, answers, strict=True):
                if isinstance(answer, Receipt):
                    entry.receipts.append(answer)

    def follow(self) -> None:
        """After a block: let go of what the ledger has ended since, and see what it has grown by."""
        reader, now = self._means.asker.ledger.reader(), self._means.asker.clock()
        with self._lock:
            for entry in self._entries:
                if not entry.over:
                    why = self._why_over(reader, entry.receipt, now)
                    if why is not None:
                        self._end(entry, Refused(why))
                    else:
                        self._look(reader, entry)

    def close(self) -> None:
        """Leave: overwrite all plaintext, then close living receipts on the ledger. Twice does no harm.

        Plaintext is gone even when this raises Unavailable: then receipts run out by themselves.
        """
        with self._lock:
            self._leave.set()
            given = [receipt for entry in self._entries if not entry.over for receipt in entry.receipts]
            for entry in self._entries:
                entry.over = True
                entry.wipe()
        self._on_close(self)
        now = self._means.asker.clock()
        close_all(self._means.asker, [receipt.id for receipt in given if access.is_alive(receipt, now)])

    def _begin(self, entry: _Entry) -> _Opening | None:
        """With what to open what of a stream is not held. Only who has ``_opening`` does."""
        seen = records.count(self._means.asker.ledger.reader(), entry.shared.stream)
        with self._lock:
            first, known = entry.held is None, frozenset(entry.held or ())
        try:
            receipt = entry.receipt if first else self._receipt_for_all(entry)
        except CareMeshError as error:
            self._failed(entry, error, first=first)
            return None
        return _Opening(entry, first, known, seen, receipt)

    def _take(self, opening: _Opening, opened: Opened | CareMeshError) -> Opened | None:
        entry = opening.entry
        if isinstance(opened, CareMeshError):
            self._failed(entry, opened, first=opening.first)
            return None
        new = hold(entry.shared.category, opened.parts)
        with self._lock:
            if not entry.over:  # it may have ended meanwhile
                if not opening.first:
                    entry.seen, entry.behind = opening.seen, None
                entry.held = (entry.held or {}) | new
                self._look(self._means.asker.ledger.reader(), entry)
                return opened
        _wipe(new)
        return None

    def _failed(self, entry: _Entry, error: CareMeshError, *, first: bool) -> None:
        with self._lock:
            if not first:
                entry.grown, entry.behind = False, error
            elif not entry.over:
                self._end(entry, error)

    def _receipt_for_all(self, entry: _Entry) -> Receipt:
        """A receipt for all that the consent opens now: the last one, or one that renews it. Raises CareMeshError."""
        reader = self._means.asker.ledger.reader()
        receipt = entry.receipt
        consent = consents.consent(reader, receipt.consent)
        scope = [] if consent is None else in_scope(reader, entry.shared.stream, consent)
        if all(access.covers(receipt, index, segment.registered) for index, segment in scope):
            return receipt
        [answer] = ask_all(self._means.asker, self._requester, [self._asked(entry.shared, receipt)])
        if not isinstance(answer, Receipt):
            raise answer
        with self._lock:
            entry.receipts.append(answer)
        return answer

    def _asked(self, shared: SharedStream, renews: Receipt | None = None) -> Asked:
        why = self._why
        return Asked(
            shared.consent,
            why.action,
            why.purpose,
            why.legal_basis,
            reason=why.reason,
            renews=None if renews is None else renews.id,
        )

    def _why_over(self, reader: Reader, receipt: Receipt, now: Seconds) -> ErrorCode | None:
        consent = consents.consent(reader, receipt.consent)
        active = consent is not None and consents.is_active(consent, now)
        if consent is None or not active or not consents.allows(consent, receipt.action, receipt.purpose):
            return errors.SHARE_ENDED
        if not members.is_active(reader, receipt.member):
            return errors.MAY_NOT_ACT
        if not receipt.asserted:
            person = identities.identity(reader, receipt.requester)
            may = members.may_act(reader, receipt.requester, receipt.member, now)
            if not may or person is None or not person.active:
                return errors.MAY_NOT_ACT
        given = access.receipt(reader, receipt.id)
        if given is None or not access.is_alive(given, now):
            return errors.RECEIPT_OVER
        return None

    def _look(self, reader: Reader, entry: _Entry) -> None:
        """Let go of what was erased, superseded, or is not within the consent any more; see whether more came."""
        consent = consents.consent(reader, entry.receipt.consent)
        for index in list(entry.held or {}):
            segment = records.segment(reader, entry.shared.stream, index)
            if consent is None or segment is None or not consents.covers(consent, index, segment):
                _wipe({index: (entry.held or {}).pop(index)})
        entry.grown = entry.held is not None and records.count(reader, entry.shared.stream) > entry.seen

    def _end(self, entry: _Entry, error: CareMeshError) -> None:
        entry.over = True
        entry.wipe()
        self._ended.append(Ended(entry.shared.category, error))

    def _check_open(self) -> None:
        if self._leave.is_set():
            raise Refused(errors.VISIT_OVER)

    def _attend(self) -> None:
        while not self._leave.wait(KEEP_EVERY_S):
            self.keep()
            self.follow()


def _wipe(held: dict[Count, list[HeldRecord]]) -> None:
    for kept in held.values():
        for record in kept:
            record.wipe()


def _is_due(receipt: Receipt, now: Seconds) -> bool:
    return 2 * (receipt.expires - now) < receipt.expires - receipt.at
