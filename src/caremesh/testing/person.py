"""A person with a wallet, and what they do with it: on a mesh in this process, or over the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from caremesh import codec
from caremesh.contracts.records import queries as records
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.fhir.categories import ALL
from caremesh.ledger.state import Reader
from caremesh.node import erasures
from caremesh.sealing import letter as letters
from caremesh.sealing.certificate import NOT_SHOWN, Certificate
from caremesh.sealing.invitation import Invitation, check_words, claim
from caremesh.sealing.letter import NOT_A_LETTER, LetterKind
from caremesh.sealing.segment import OpenedRecord
from caremesh.testing.world import FrontDesks
from caremesh.types import DAY_S, Code, Count, Did, Seconds, StreamId
from caremesh.wallet import ahead
from caremesh.wallet import state as states
from caremesh.wallet.audit import Audit
from caremesh.wallet.change import Narrower
from caremesh.wallet.delegate import Missing
from caremesh.wallet.enrol import Writing, custody_for
from caremesh.wallet.erase import Confirmations, confirmations
from caremesh.wallet.errors import NO_FRONT_DESK, SEVERAL_SOURCES
from caremesh.wallet.logs import StreamLog, own_logs
from caremesh.wallet.members import active_member
from caremesh.wallet.overview import Standing, look_at
from caremesh.wallet.phrase import seed_of
from caremesh.wallet.preview import Preview
from caremesh.wallet.proven import NOBODY
from caremesh.wallet.records import open_own, own_seals
from caremesh.wallet.requests import Request
from caremesh.wallet.requests import terms as terms_of
from caremesh.wallet.reseal import Record, fetching
from caremesh.wallet.revoke import Destroyed, destroyed
from caremesh.wallet.share import Terms
from caremesh.wallet.standing import standing
from caremesh.wallet.templates import period, template
from caremesh.wallet.wallet import Shared, Wallet
from caremesh.wallet.ways import Ways

_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.8
Heard: TypeAlias = Callable[[Confirmations], None]


def nobody_listens(_: Confirmations) -> None:
    """For who does not want to know how far it is."""


class Person:
    """A wallet and its ways: enrols with members, shares with them, revokes, and reads the audit."""

    def __init__(self, ways: Ways, wallet: Wallet, sponsor: str = "") -> None:
        self._mesh = ways
        self.wallet = wallet
        self.index_missing: list[tuple[Did, str]] = []
        """Keepers that have not taken the newest index, and why."""
        self._kept = -1
        self._just_read: dict[bytes, Reader] = {}
        """The ledger as it was when a share was taken back: who its custodians are has not changed since."""
        self.ledger = ways.subject_ledger()
        self.sponsor = ways.sponsor(sponsor)
        if wallet.state.relay is None:
            wallet.choose_relay(ways.relay)

    @classmethod
    def create(cls, mesh: Ways, path: Path, passphrase: str) -> tuple[Person, str]:
        """A new wallet and its recovery phrase."""
        wallet, phrase = Wallet.create(path, passphrase, mesh.chain, mesh.clock)
        return cls(mesh, wallet), phrase

    @classmethod
    def restore(cls, mesh: Ways, path: Path, passphrase: str, phrase: str) -> Person:
        """A wallet from its phrase, its index's keepers and the ledger."""
        reader = mesh.subject_ledger().reader()
        ahead.restoring(reader, seed_of(phrase), ALL)
        return cls(mesh, Wallet.restore(path, passphrase, phrase, mesh.chain, reader, ALL, mesh.clock, mesh))

    @classmethod
    def open(cls, mesh: Ways, path: Path, passphrase: str) -> Person:
        """A wallet that is there already."""
        return cls(mesh, Wallet.open(path, passphrase, mesh.chain, mesh.clock))

    def enrol(self, member: str, patient: str, days: int = 365, categories: Sequence[Code] = ALL) -> str:
        """Let a member write records of ``patient`` (its own id for this person), as ``join`` does.

        The front desk is here, too: it has made sure who this is, whatever wallet the patient had before. Raises
        Refused wallet.64 where it is not: accept an invitation with ``join``.
        """
        if not isinstance(self._mesh, FrontDesks):
            raise Refused(NO_FRONT_DESK)
        return self.join(self._mesh.invite(member, patient, again=True), days, categories)

    def join(self, invitation: Invitation, days: int = 365, categories: Sequence[Code] = ALL) -> str:
        """Accept an invitation: let the member write for so many days. The six digits to compare with the front desk.

        Raises what ``Wallet.enrol`` raises, and what ``Invitations.claim`` refuses.
        """
        reader, member = self.ledger.reader(), invitation.member
        until = (self._mesh.clock() // DAY_S + days) * DAY_S
        custody = custody_for(reader, member)
        enrolled = self.wallet.enrol(reader, member, categories, custody, Writing(until=until))
        channel = states.keys_of(self.wallet.state, member).channel().signing
        claimed = claim(invitation, self._mesh.chain, enrolled.sealed, channel)
        said = self._tell(member, "enrolment", claimed).decode()
        self.keep()
        if said != check_words(channel.public):
            raise Tampered(NOT_A_LETTER, member)
        return said

    def terms(
        self,
        member: str,
        categories: Sequence[Code],
        *,
        days: int,
        purposes: Sequence[Code] = ("TREAT",),
        actions: Sequence[Code] = ("read",),
        future: bool = True,
        listed: Mapping[Code, Sequence[Count]] | None = None,
    ) -> Terms:
        """What a share of these categories says: today and for so many days. ``listed``: segments by category."""
        start, until = period(self._mesh.clock(), days)
        state = self.wallet.state
        return Terms(
            grantee=self._mesh.did(member),
            streams=states.choose(state, list(categories)),
            purposes=list(purposes),
            actions=list(actions),
            from_=start,
            until=until,
            explicit=True,
            future=future,
            listed={
                stream: list(segments)
                for category, segments in (listed or {}).items()
                for stream in states.choose(state, [category])
            },
        )

    def template(self, member: str, name: str, categories: Sequence[Code]) -> Terms:
        """The terms of a template. Raises BadInput wallet.15."""
        known = template(name)
        return self.terms(
            member,
            categories,
            days=known.days,
            purposes=known.purposes,
            actions=known.actions,
            future=known.future,
        )

    def share(
        self, member: str, categories: Sequence[Code], *, days: int, purposes: Sequence[Code] = ("TREAT",)
    ) -> Shared:
        """Grant a member these categories, today and for so many days; the member gets the share."""
        return self.grant(self.terms(member, categories, days=days, purposes=purposes))

    def grant(self, terms: Terms) -> Shared:
        """Grant these terms; the member gets the share."""
        height = self._mesh.light_block().signed.content().proves
        shared = self.wallet.share(terms, self.ledger, height, self.sponsor, self._mesh)
        self._tell(terms.grantee, "share", shared.message)
        self.keep()
        return shared

    def preview(self, terms: Terms) -> list[Preview]:
        """What the grantee would see under these terms."""
        return self.wallet.preview(terms, self._reader(terms.streams))

    def keep(self) -> list[tuple[Did, str]]:
        """Leave the wallet's index with its keepers, when it has changed; those that did not take it, and why."""
        if self._kept != self.wallet.state.version:
            self.index_missing = self.wallet.keep(self.ledger.reader(), self._mesh)
            self._kept = self.wallet.state.version
        return self.index_missing

    def deposit_again(self) -> list[Missing]:
        """Leave the fragments that custodians have not acknowledged yet; those that they still have not."""
        missing = self.wallet.deposit_again(self.ledger.reader(), self._mesh)
        self.keep()
        return missing

    def shares(self) -> list[Standing]:
        """Every share, and where its consents stand."""
        return look_at(self.wallet.state, self._reader(), self._mesh.clock())

    def requests(self) -> list[Request]:
        """Who asks for what, with the words that have come since. What is not from who it says is dropped."""
        known = {entry.member for entry in self.wallet.state.relationships}
        known |= {record.grantee for record in self.wallet.state.shares}
        for member in sorted(known):
            self._hear(member)
        self.keep()
        return self.wallet.requests(self._reader())

    def accepting(self, offer: bytes, *, days: int | None = None, future: bool = True) -> Terms:
        """What accepting a request would grant."""
        reader, now = self.ledger.reader(), self._mesh.clock()
        return terms_of(self.wallet.state, reader, now, offer, future=future, days=days)

    def decline(self, offer: bytes) -> None:
        """Say no to a request."""
        self.wallet.decline(offer, self.ledger, self.sponsor)

    def narrow(self, share: bytes, less: Narrower) -> None:
        """Let a share allow no more than this."""
        self.wallet.narrow(share, less, self.ledger, self.sponsor)

    def extend(self, share: bytes, days: int) -> None:
        """Let a share last for so many days from today on."""
        _, until = period(self._mesh.clock(), days)
        self.wallet.extend(share, until, self.ledger, self.sponsor, self._mesh)
        self.keep()

    def redelegate(self) -> list[Missing]:
        """Delegate anew what stands on keys or custodians that the ledger has no more."""
        missing = self.wallet.redelegate(self.ledger, self.sponsor, self._mesh)
        self.keep()
        return missing

    def new_epoch(self, category: Code, days: int = 365) -> None:
        """A new reading key for the streams of a category; their sources get their profiles anew."""
        writing = Writing(until=period(self._mesh.clock(), days)[1])
        for stream in states.choose(self.wallet.state, [category]):
            self.wallet.new_epoch(stream, writing, self.ledger, self.sponsor, self._mesh)
            self._tell_profile(states.locate(self.wallet.state, stream).member)
        self.keep()

    def drop(self, category: Code, segment: Count, dropped: Sequence[Record], source: str = "") -> None:
        """Seal a segment of a category anew without some records. Raises Refused wallet.67, wallet.68."""
        stream = self._one(category, source)
        self.wallet.drop(stream, segment, dropped, self.ledger, self.sponsor, self._mesh)

    def records(self, category: Code, source: str = "") -> list[tuple[Count, OpenedRecord]]:
        """One's own records of a category, of one member or of all, each with the number of its segment."""
        found: list[tuple[Count, OpenedRecord]] = []
        for stream in self._streams(category, source):
            located, reader = states.locate(self.wallet.state, stream), self._reader([stream])
            where = standing(reader, located)
            for segment in own_seals(reader, located, self._mesh, self._mesh.clock()).segments:
                opened = open_own(located, segment, fetching(located, where, segment, self._mesh))
                found += [(segment.index, record) for record in opened]
        return found

    def erase(
        self, category: Code, segment: Count, source: str = "", heard: Heard = nobody_listens, within_s: float = 10.0
    ) -> tuple[Certificate, Confirmations]:
        """Forget a segment of a category for good; then as ``certificate``. Raises Refused wallet.67, wallet.68."""
        self.wallet.erase(self._one(category, source), segment, self.ledger, self.sponsor)
        return self.certificate(category, segment, source, heard, within_s)

    def certificate(
        self, category: Code, segment: Count, source: str = "", heard: Heard = nobody_listens, within_s: float = 10.0
    ) -> tuple[Certificate, Confirmations]:
        """Ask who has confirmed that a segment is erased. Those whose copies of the ledger do not have it yet, or who
        do not answer, are asked again for a while. ``heard`` is told after each time. Raises Tampered certificate.02
        when it is not erased.
        """
        stream, end, pause = self._one(category, source), time.monotonic() + within_s, _PAUSE_S
        found, reader = None, self.ledger.reader()
        known = records.segment(reader, stream, segment)
        if known is None or known.status != "erased":
            raise Tampered(NOT_SHOWN, f"segment {segment}")
        while True:
            found = confirmations(reader, stream, segment, self._mesh, found)
            heard(found)
            if not found.faults or time.monotonic() + pause > end:
                return erasures.make(self._mesh, stream, segment, found.signed), found
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _streams(self, category: Code, source: str) -> list[StreamId]:
        return states.choose(self.wallet.state, [category], [self._mesh.did(source)] if source else None)

    def _one(self, category: Code, source: str) -> StreamId:
        """The only stream of a category, or that of one member. Raises Refused wallet.67, wallet.68."""
        found = self._streams(category, source)
        if len(found) > 1:
            writers = sorted(self._mesh.name_of(states.locate(self.wallet.state, stream).member) for stream in found)
            raise Refused(SEVERAL_SOURCES, ", ".join(writers))
        return found[0]

    def _reader(self, streams: Sequence[StreamId] | None = None) -> Reader:
        """The ledger for one act over these streams, or all of this wallet's."""
        reader = self.ledger.reader()
        ahead.streams_of(reader, self.wallet.state, streams)
        return reader

    def _tell_profile(self, source: Did) -> None:
        self._tell(source, "profile", self.wallet.profile(source, self.ledger.reader()))

    def _tell(self, member: Did, kind: LetterKind, content: bytes, about: bytes = b"") -> bytes:
        """What a member answers to a letter. Raises what its reply names, relay.02, and what the way raises."""
        to = active_member(self.ledger.reader(), member).keys.channel
        posted = letters.write(member, to, kind, content, about)
        return letters.outcome(posted, self._mesh.send_letter(member, posted.sealed))

    def _hear(self, member: Did) -> None:
        """Take what waits for the channel to a member: kept in the wallet first, acknowledged then."""
        channel = states.keys_of(self.wallet.state, member).channel().signing
        relay, after, more = self.wallet.state.relay or member, "", True
        while more:
            page = self._mesh.messages(relay, channel, after)
            for message in page.messages:
                with suppress(Tampered):
                    self.wallet.hear(message.sealed, self.ledger.reader())
            self._mesh.acknowledge(relay, channel, [message.id for message in page.messages])
            after, more = page.cursor, page.more

    def revoke(self, share: bytes) -> None:
        """Take a share back: the first member that answers, and does not refuse to, relays it. Raises the ledger's
        refusal, and what the last member that was asked said when none does.
        """
        met: CareMeshError = Unavailable(NOBODY)
        for did in self._mesh.sponsors():
            try:
                reader = self.ledger.reader()
                self.wallet.revoke(share, self.ledger, self._mesh.sponsor(did), reader)
            except CareMeshError as error:
                if not isinstance(error, Unavailable) and not error.code.startswith(("relay.", "api.")):
                    raise
                met = error
            else:
                self._just_read = {share: reader}
                return
        raise met

    def destroyed(self, share: bytes, within_s: float = 10.0) -> Destroyed:
        """How many fragments of a share that was taken back are gone, as custodians say by signature. Those whose
        copies of the ledger do not have the revocation yet are asked again for a while.
        """
        record, end = states.share_record(self.wallet.state, share), time.monotonic() + within_s
        reader, pause = self._just_read.pop(share, None), _PAUSE_S
        while True:
            found = destroyed(record, reader or self._reader([item.stream for item in record.items]), self._mesh)
            if not found.missing or time.monotonic() > end:
                return found
            time.sleep(pause)
            reader, pause = None, min(2 * pause, _LONGEST_PAUSE_S)

    def audit(self) -> Audit:
        """Who looked, from the ledger and all custodians' logs."""
        reader = self._reader()
        return self.wallet.audit(reader, own_logs(self.wallet.state, reader, self._mesh, self._mesh.clock()))

    def logs(self) -> list[StreamLog]:
        """The logs of all streams that are to be had."""
        return own_logs(self.wallet.state, self._reader(), self._mesh, self._mesh.clock())

    def dispute(self, receipt: bytes, words: str) -> Seconds:
        """Question an access; the member hears the words. By when it has to answer."""
        member, sealed = self.wallet.dispute(receipt, words, self.ledger, self.sponsor)
        return codec.decode_as(self._tell(member, "dispute", sealed, receipt), int)
