"""A custodian: takes deposits, releases against receipts, destroys when consent ends.

What it promises:
- nothing leaves but against a receipt and a consent that are alive on its own, fresh copy of the ledger;
- what leaves is in its log first, durably;
- a fragment whose consent is over is destroyed at the block that says so, and the destruction confirmed by signature.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.consensus.interface import Cursor
from caremesh.contracts.access import queries as access
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.reencryption import seal_hash
from caremesh.custodian import checks, deposits, errors, releasing
from caremesh.custodian.checks import Head
from caremesh.custodian.deposits import peek
from caremesh.custodian.keeping import Destroyed, Keeping
from caremesh.custodian.log import ReleaseLog
from caremesh.custodian.releasing import Granted
from caremesh.custodian.touched import Touched
from caremesh.errors import BadInput, CareMeshError, Refused
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Header
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import (
    Acknowledgement,
    DestroyConfirmation,
    ErasureConfirmation,
    HeldSeal,
    LogAnswer,
    ReleaseRequest,
    SealAnswer,
    SealDeposit,
    Signed,
    StreamRequest,
)
from caremesh.types import ConsentId, Count, Did, Digest, Seconds, StreamId

REQUEST_WINDOW_S: Final[Seconds] = 60
_REMEMBERED_S: Final = 2 * REQUEST_WINDOW_S


class Fellow(Protocol):
    """The way to another custodian."""

    def seals(self, data: bytes) -> bytes:
        """Its signed ``SealAnswer`` to a signed ``StreamRequest``. Raises CareMeshError."""
        ...


class OwnCopy(Protocol):
    """This custodian's own verified copy of the ledger."""

    def header(self) -> Header:
        """The last header that was verified here."""
        ...

    def seen_s(self) -> float:
        """Seconds since it came in, by a clock that never goes back."""
        ...

    def reader(self) -> Reader:
        """The state under it."""
        ...

    def subscribe(self, cursor: str) -> Iterator[tuple[str, Event]]:
        """Events after a cursor. Raises BadInput ledger.11 when some of them have gone."""
        ...


class Custodian:
    """One member in the role of custodian."""

    def __init__(
        self,
        *,
        did: Did,
        key: Signs,
        hpke_private: bytes,
        vault: Vault,
        log: ReleaseLog,
        ledger: OwnCopy,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: the member's node key; ``vault``: for fragments and seals; ``ledger``: its own copy."""
        self.did = did
        self._key = key
        self._hpke_private = hpke_private
        self._keeping = Keeping(vault, did)
        self._log = log
        self._fellows: Mapping[Did, Fellow] = {}
        self._wanted: dict[tuple[StreamId, CID], None] = {}
        """Seals to fetch, in the order in which they were missed."""
        self._ledger = ledger
        self._clock = clock
        self._answered: OrderedDict[bytes, Seconds] = OrderedDict()
        """When each nonce was used, the oldest first."""
        self._since = clock()
        self._cursor = ""

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """Keep a wallet's fragment; the signed acknowledgement. See ``deposits.fragment``."""
        signed, deposit = deposits.fragment(self._ledger.reader(), self.did, self._hpke_private, sealed)
        self._keeping.put_fragment(deposit, self._clock())
        return self._acknowledge(signed)

    def deposit_seal(self, data: bytes) -> bytes:
        """Keep a source's seal and descriptor; the signed acknowledgement. See ``deposits.seal``."""
        return self.deposit_seals([data])[0]

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """As ``deposit_seal`` for several, all or none, kept in one durable step; the acknowledgements in order."""
        checked = [deposits.seal(self._ledger.reader(), self.did, each) for each in data]
        self._keeping.put_seals([deposit for _, deposit in checked], self._clock())
        return [self._acknowledge(signed) for signed, _ in checked]

    def deposit_reseal(self, sealed: bytes) -> bytes:
        """Keep a seal that the stream's owner made anew; the signed acknowledgement. See ``deposits.reseal``."""
        signed, deposit = deposits.reseal(self._ledger.reader(), self.did, self._hpke_private, sealed)
        self._keeping.put_seals([deposit], self._clock())
        return self._acknowledge(signed)

    def release(self, data: bytes) -> list[bytes]:
        """Re-encrypt what a receipt is for: a signed ``Release`` per descriptor, in the order asked.

        All or nothing. Raises Refused custodian.01 to custodian.19, Tampered custody.NN, custodian.21, StorageFailed.
        """
        [answer] = self.release_each([data])
        if isinstance(answer, CareMeshError):
            raise answer
        return answer

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """As ``release`` for several requests, each by itself; what each came to, in order. Logged in one step."""
        return releasing.finish(
            releasing.each(data, self._granted), self._still_granted, self._log, self._clock(), self.did, self._key
        )

    def follow(self) -> list[bytes]:
        """After a block: destroy what its events and the time have ended, fetch seals that are missing.

        Gives signed confirmations: a ``DestroyConfirmation`` for each consent without a fragment left, an
        ``ErasureConfirmation`` for each segment of which a seal went. Raises StorageFailed.
        """
        header, reader = self._ledger.header(), self._ledger.reader()
        now = max(self._clock(), header.time)
        destroyed = self._sweep(reader, now)
        for stream, cid in list(self._wanted):
            if self._keeping.seal(stream, cid) is not None or self._from_fellows(reader, stream, cid) is not None:
                del self._wanted[stream, cid]
        confirmed = [
            custody.sign_payload(
                custody.DESTROY_CONFIRMATION, DestroyConfirmation(consent=ended, custodian=self.did, at=now), self._key
            )
            for ended in destroyed.consents
        ]
        confirmed += [self._confirm(*gone, now) for gone in destroyed.segments]
        self._cursor = str(Cursor.after(header.height))
        return [codec.encode(signed) for signed in confirmed]

    def confirm_erased(self, stream: StreamId, segment: Count) -> bytes:
        """The signed ``ErasureConfirmation`` that no seal of an erased segment is here. Anybody may ask.

        Raises Refused custodian.23 when the ledger does not say that it is erased; StorageFailed.
        """
        reader, now = self._ledger.reader(), max(self._clock(), self._ledger.header().time)
        known = records.segment(reader, stream, segment)
        if known is None or known.status != "erased":
            raise Refused(errors.NOT_ERASED)
        self._keeping.sweep(reader, now, changed=(), redelegated=(), streams=[stream])
        return codec.encode(self._confirm(stream, segment, known, now))

    def confirm_destroyed(self, consent: ConsentId) -> bytes:
        """The signed ``DestroyConfirmation`` that no fragment of a consent that is over is here. Anybody may ask.

        Raises Refused custodian.24 when the ledger does not say that it is over; StorageFailed.
        """
        reader, now = self._ledger.reader(), max(self._clock(), self._ledger.header().time)
        known = consents.consent(reader, consent)
        if known is None or not consents.is_over(known, now):
            raise Refused(errors.NOT_OVER)
        self._keeping.sweep(reader, now, changed=[consent], redelegated=(), streams=())
        said = DestroyConfirmation(consent=consent, custodian=self.did, at=now)
        return codec.encode(custody.sign_payload(custody.DESTROY_CONFIRMATION, said, self._key))

    def seals(self, data: bytes) -> bytes:
        """The signed ``SealAnswer`` to a stream's own key, or to a fellow custodian of the stream.

        Raises Refused custodian.01, custodian.02, custodian.18, custodian.19, custodian.22; Tampered custody.NN.
        """
        asked, reader = self._asked(custody.SEAL_REQUEST, data, fellows=True)
        held = [
            HeldSeal(descriptor=deposit.descriptor, seal=deposit.seal)
            for segment in records.segments(reader, asked.stream)
            if segment.descriptor is not None
            and (deposit := self._keeping.seal(asked.stream, segment.descriptor)) is not None
        ]
        answer = SealAnswer(stream=asked.stream, custodian=self.did, nonce=asked.nonce, seals=held)
        return codec.encode(custody.sign_payload(custody.SEAL_ANSWER, answer, self._key))

    def stream_log(self, data: bytes) -> bytes:
        """The signed ``LogAnswer`` to a stream's own key: all that was released of it, and what is anchored of that.

        Raises Refused custodian.01, custodian.02, custodian.18, custodian.19, custodian.22; Tampered custody.NN.
        """
        asked, reader = self._asked(custody.LOG_REQUEST, data, fellows=False)
        entries, head = self._log.entries(asked.stream)
        reported = access.anchor(reader, self.did)
        anchor = None if reported is None else self._log.anchored(reported.root)
        answer = LogAnswer(
            stream=asked.stream,
            custodian=self.did,
            nonce=asked.nonce,
            at=self._clock(),
            entries=entries,
            head=head,
            anchor=None if anchor is None else anchor.prove(asked.stream),
        )
        return codec.encode(custody.sign_payload(custody.LOG_ANSWER, answer, self._key))

    def log_root(self) -> tuple[Digest, Count]:
        """What to anchor with ``access/report``: root and number of entries. Raises StorageFailed storage.01."""
        anchor = self._log.anchor()
        return anchor.root, anchor.count

    def meet(self, fellows: Mapping[Did, Fellow]) -> None:
        """The ways to other custodians, from whom a missing seal is fetched."""
        self._fellows = fellows

    def _granted(self, data: bytes) -> Granted:
        """A request that passes every check, once."""
        granted = self._checked(data)
        self._answer_once(granted.request.nonce, granted.request.at, granted.checked[1])
        return granted

    def _still_granted(self, granted: Granted) -> None:
        """All checks once more, where a block or the time went on since. Raises Refused custodian.NN."""
        if granted.checked != (self._ledger.header().height, self._clock()):
            self._checked(granted.data)

    def _checked(self, data: bytes) -> Granted:
        signed = custody.read_signed(data, "release request")
        request = peek(signed, ReleaseRequest)
        now, header = self._clock(), self._ledger.header()
        head = Head(self._ledger.reader(), header.time)
        checks.check_fresh(header.time, self._ledger.seen_s(), now)
        receipt = checks.check_receipt(head, request.receipt, now)
        consent = checks.check_permission(head, receipt, self.did, now)
        checks.check_stream(request, receipt)
        seals = []
        for cid in request.descriptors:
            segment = checks.check_segment(head, receipt, consent, cid)
            deposit = self._keeping.seal(request.stream, cid) or self._from_fellows(head.reader, request.stream, cid)
            if deposit is None:
                raise Refused(errors.NO_SEAL)
            checks.check_seal(segment, deposit.descriptor, deposit.seal)
            seals.append(deposit.seal)
        fragment = self._keeping.fragment(consent)
        if fragment is None:
            raise Refused(errors.NO_FRAGMENT)
        checks.check_fragment_keys(head, consent, fragment, self.did)
        custody.open_signed(
            custody.RELEASE_REQUEST, signed, ReleaseRequest, checks.key_of_requester(head, receipt), "release request"
        )
        checks.check_addressed(request, self.did)
        return Granted(request, seals, fragment, (header.height, now), data)

    def _sweep(self, reader: Reader, now: Seconds) -> Destroyed:
        """Look at what the events since the last time name; at everything after a start, or when some have gone."""
        found = Touched([], [], [], [])
        try:
            if not self._cursor:
                return self._keeping.sweep_all(reader, now)
            for _, event in self._ledger.subscribe(self._cursor):
                found.add(event)
        except BadInput:
            return self._keeping.sweep_all(reader, now)
        for stream in found.registered:
            known = streams.stream(reader, stream)
            if known is not None and self.did in known.custodians:
                named = [segment.descriptor for segment in records.segments(reader, stream)]
                missing = [(stream, cid) for cid in named if cid and self._keeping.seal(stream, cid) is None]
                self._wanted |= dict.fromkeys(missing)
        return self._keeping.sweep(
            reader,
            now,
            changed=[*found.consents, *self._of_erased(reader, found.erased)],
            redelegated=found.redelegated,
            streams=found.streams,
        )

    def _of_erased(self, reader: Reader, erased: Iterable[StreamId]) -> Iterator[ConsentId]:
        """Consents of streams of which something was erased: of a list there may be nothing left."""
        for stream in sorted(set(erased)):
            yield from (consent.id for consent in consents.of_stream(reader, stream))

    def _from_fellows(self, reader: Reader, stream: StreamId, cid: CID) -> SealDeposit | None:
        """A seal that this custodian lacks, kept from now on; checked against the ledger, whoever hands it over."""
        known, found = streams.stream(reader, stream), records.named(reader, stream, cid)
        if known is None or found is None or found[1].descriptor != cid:
            return None
        _, segment = found
        for fellow in known.custodians:
            if fellow == self.did or fellow not in self._fellows:
                continue
            request = StreamRequest(stream=stream, custodian=fellow, nonce=os.urandom(16), at=self._clock())
            asked = codec.encode(custody.sign_payload(custody.SEAL_REQUEST, request, self._key))
            try:
                answer = custody.read_signed(self._fellows[fellow].seals(asked))
                held = codec.decode_as(answer.payload, SealAnswer).seals
            except CareMeshError:
                continue  # the next may have it
            for entry in held:
                if codec.cid_of_cbor(entry.descriptor) == cid and seal_hash(entry.seal) == segment.seal:
                    deposit = SealDeposit(
                        stream=stream,
                        source=segment.source,
                        descriptor=entry.descriptor,
                        seal=entry.seal,
                        permit=b"",
                        permit_signature=bytes(64),
                    )
                    self._keeping.put_seals([deposit], self._clock())
                    return deposit
        return None

    def _confirm(self, stream: StreamId, segment: Count, known: Segment, now: Seconds) -> Signed:
        said = ErasureConfirmation(
            stream=stream,
            segment=segment,
            version=known.version,
            erased=known.status == "erased",
            member=self.did,
            kept="seals",
            at=now,
        )
        return custody.sign_payload(custody.ERASURE_CONFIRMATION, said, self._key)

    def _asked(self, domain: str, data: bytes, *, fellows: bool) -> tuple[StreamRequest, Reader]:
        """A request of the stream's key (or of a custodian of the stream), on a fresh copy of the ledger, once."""
        signed = custody.read_signed(data, "request")
        asked = peek(signed, StreamRequest)
        now, header, reader = self._clock(), self._ledger.header(), self._ledger.reader()
        checks.check_fresh(header.time, self._ledger.seen_s(), now)
        checks.check_stream_request(reader, asked, signed.key, self.did, fellows=fellows)
        custody.open_signed(domain, signed, StreamRequest, signed.key, "request")
        self._answer_once(asked.nonce, asked.at, now)
        return asked, reader

    def _answer_once(self, nonce: bytes, at: Seconds, now: Seconds) -> None:
        """A request is answered once, and only near its time: what it answered before it started it does not know."""
        while self._answered and now - next(iter(self._answered.values())) > _REMEMBERED_S:
            self._answered.popitem(last=False)
        if at < self._since or abs(now - at) > REQUEST_WINDOW_S or nonce in self._answered:
            raise Refused(errors.REPLAYED)
        self._answered[nonce] = now

    def _acknowledge(self, signed: Signed) -> bytes:
        said = Acknowledgement(custodian=self.did, what=custody.deposit_digest(signed))
        return codec.encode(custody.sign_payload(custody.ACKNOWLEDGEMENT, said, self._key))
