"""What a clinician opens with one click: receipts for all granted streams at once, and their records, in memory.

- Receipts are renewed silently before they end, for as long as the visit is open and the consents are active; the
  access contract gives none beyond twelve hours.
- After each block, what the ledger has ended is let go of, at once: a consent that was revoked or narrowed, a segment
  that was erased, a practitioner or member that was suspended, a receipt that ran out because it was not renewed.
- On leaving, living receipts are closed on the ledger, and all plaintext is overwritten (``holding.py`` says how far).
- Nothing shared, nothing consented to and nothing there are one and the same answer: an empty list.

A visit is used by one person, and by three threads: the person's, the one that renews, and the ledger's. The lock is
held while the visit changes, and never while the ledger or a custodian is waited for.
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
from caremesh.gateway.opening import Means, Opened, open_receipt
from caremesh.ledger.state import Reader
from caremesh.sealing.channel import SharedStream
from caremesh.types import Code, Count, Multikey, Seconds

KEEP_EVERY_S: Final = 30.0
"""How often a visit looks whether a receipt is about to end."""
_SIDE_BY_SIDE: Final = 8
"""Streams that are opened at the same time."""


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

    def __init__(self, shared: SharedStream, receipt: Receipt) -> None:
        self.shared = shared
        self.receipt = receipt
        self.held: dict[Count, list[HeldRecord]] | None = None
        self.over = False

    def wipe(self) -> None:
        _wipe(self.held or {})
        self.held = None


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
        self._leave = Event()
        self._subject = os.urandom(16)
        self._entries: list[_Entry] = []
        self._ended = list(ended)
        answers = ask_all(means.asker, requester, [self._asked(shared) for shared in streams])
        for shared, answer in zip(streams, answers, strict=True):
            if isinstance(answer, Receipt):
                self._entries.append(_Entry(shared, answer))
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
        """Open all streams, several at a time; what each took (custodians, faults), for the member's own log.

        A stream that fails is in ``ended``, the others are open. Raises Refused gateway.09 after ``close``.
        """
        self._check_open()
        with self._lock:
            wanted = [entry for entry in self._entries if not entry.over and entry.held is None]
        with ThreadPoolExecutor(min(_SIDE_BY_SIDE, max(1, len(wanted)))) as pool:
            opened = list(pool.map(self._open, wanted))
        return [each for each in opened if each is not None]

    def records(self, category: Code) -> list[HeldRecord]:
        """The records of one category: none when there are none, whatever the reason.

        Raises Refused gateway.09 after ``close``.
        """
        self._check_open()
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
                    entry.receipt = answer

    def follow(self) -> None:
        """After a block: let go of what the ledger has ended since."""
        reader, now = self._means.asker.ledger.reader(), self._means.asker.clock()
        with self._lock:
            for entry in self._entries:
                if not entry.over:
                    why = self._why_over(reader, entry.receipt, now)
                    if why is not None:
                        self._end(entry, Refused(why))
                    else:
                        self._narrow(reader, entry)

    def close(self) -> None:
        """Leave: overwrite all plaintext, then close living receipts on the ledger. Twice does no harm.

        Plaintext is gone even when this raises Unavailable: then receipts run out by themselves.
        """
        with self._lock:
            if self._leave.is_set():
                return
            self._leave.set()
            living = [entry.receipt.id for entry in self._entries if not entry.over]
            for entry in self._entries:
                entry.over = True
                entry.wipe()
        self._on_close(self)
        close_all(self._means.asker, living)

    def _open(self, entry: _Entry) -> Opened | None:
        try:
            opened = open_receipt(self._means, entry.receipt, self._requester)
        except CareMeshError as error:
            with self._lock:
                if not entry.over:
                    self._end(entry, error)
            return None
        held = hold(entry.shared.category, opened.parts)
        with self._lock:
            if not entry.over:  # it may have ended meanwhile
                entry.wipe()
                entry.held = held
                return opened
        _wipe(held)
        return None

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

    def _narrow(self, reader: Reader, entry: _Entry) -> None:
        """Let go of segments that were erased, superseded, or that the consent covers no longer."""
        consent = consents.consent(reader, entry.receipt.consent)
        for index in list(entry.held or {}):
            segment = records.segment(reader, entry.shared.stream, index)
            if consent is None or segment is None or not consents.covers(consent, index, segment):
                _wipe({index: (entry.held or {}).pop(index)})

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
