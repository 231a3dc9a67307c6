"""A person's wallet: one state, one file, and the acts that change it. Acts are saved before they leave the wallet."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.consensus.refusals import refusal
from caremesh.errors import Refused, WrongLedger
from caremesh.ledger.state import Reader
from caremesh.sealing import channel
from caremesh.sealing.channel import Share, SharedStream
from caremesh.sealing.custody import Signed
from caremesh.types import Code, Count, Did, Height, Seconds, StreamId
from caremesh.wallet import ahead, change, delegate, index, requests, reseal, transact
from caremesh.wallet import dispute as disputes
from caremesh.wallet import enrol as enrolment
from caremesh.wallet import epoch as epochs
from caremesh.wallet import restore as restoring
from caremesh.wallet import revoke as revocation
from caremesh.wallet import share as sharing
from caremesh.wallet import state as states
from caremesh.wallet.audit import Audit, audit
from caremesh.wallet.change import Change, Narrower
from caremesh.wallet.delegate import Missing
from caremesh.wallet.enrol import Custody, Enrolled, Writing
from caremesh.wallet.erase import erasing
from caremesh.wallet.errors import NO_SUCH_SEGMENT, OTHER_CHAIN
from caremesh.wallet.index import Keepers as IndexKeepers
from caremesh.wallet.logs import StreamLog
from caremesh.wallet.members import active_member
from caremesh.wallet.phrase import SEED_BYTES, phrase_of, seed_of
from caremesh.wallet.ports import Custodians, Ledger, Sponsor
from caremesh.wallet.preview import Preview, preview
from caremesh.wallet.records import own_seals
from caremesh.wallet.requests import Request
from caremesh.wallet.reseal import Record, SealedAnew, SealKeepers
from caremesh.wallet.share import Terms
from caremesh.wallet.standing import standing
from caremesh.wallet.state import Located, ShareRecord, WalletState, read_state
from caremesh.wallet.store import WalletFile

Clock = Callable[[], Seconds]


class Keepers(SealKeepers, Custodians, Protocol):
    """The way to all who keep something of a stream."""


class Shared(NamedTuple):
    """A share that is on the ledger. ``message``: for the grantee; ``missing``: custodians still to be reached."""

    record: ShareRecord
    message: bytes
    missing: list[Missing]


class Wallet:
    """An opened wallet."""

    def __init__(self, file: WalletFile, state: WalletState, clock: Clock) -> None:
        self._file = file
        self.state = state
        self._clock = clock

    @classmethod
    def create(cls, path: Path, passphrase: str, chain: str, clock: Clock) -> tuple[Wallet, str]:
        """A new wallet, and its recovery phrase, which is shown once. Raises Refused wallet.08, StorageFailed."""
        state = WalletState(chain=chain, seed=os.urandom(SEED_BYTES))
        return cls(WalletFile.create(path, passphrase, codec.encode(state)), state, clock), phrase_of(state.seed)

    @classmethod
    def restore(
        cls,
        path: Path,
        passphrase: str,
        phrase: str,
        chain: str,
        reader: Reader,
        categories: Sequence[Code],
        clock: Clock,
        keepers: IndexKeepers | None = None,
    ) -> Wallet:
        """A wallet from the phrase: what the keepers of its index have, and what the ledger bears out.

        Raises BadInput wallet.01 to wallet.03, Refused wallet.08.
        """
        seed = seed_of(phrase)
        kept = None if keepers is None else index.find(seed, chain, reader, keepers).state
        state = restoring.restore(chain, seed, reader, categories, kept)
        return cls(WalletFile.create(path, passphrase, codec.encode(state)), state, clock)

    @classmethod
    def open(cls, path: Path, passphrase: str, chain: str, clock: Clock) -> Wallet:
        """Raises Locked envelope.03, Tampered wallet.05, WrongLedger wallet.24, BadInput wallet.07."""
        file, content = WalletFile.open(path, passphrase)
        state = read_state(content, path.name)
        if state.chain != chain:
            raise WrongLedger(OTHER_CHAIN)
        return cls(file, state, clock)

    def choose_relay(self, relay: Did) -> None:
        """Let a member keep messages for this wallet; profiles and shares name it from now on. Raises StorageFailed."""
        if relay != self.state.relay:
            self._save(replace(self.state, relay=relay))

    def enrol(
        self, reader: Reader, member: Did, categories: Sequence[Code], custody: Custody, writing: Writing
    ) -> Enrolled:
        """Let a member write; the profile in the result is for it. See ``enrol.enrol``."""
        enrolled = enrolment.enrol(self.state, reader, member, categories, custody, writing)
        self._save(enrolled.state)
        return enrolled

    def share(
        self, terms: Terms, ledger: Ledger, height: Height, sponsor: Sponsor, custodians: Custodians, subject: str = ""
    ) -> Shared:
        """Grant: fragments to custodians, then consents to the ledger, one transaction a stream.

        ``subject``: who this is to the grantee, in the person's own words. All or nothing: when the ledger refuses one
        consent, those that it took are revoked at once. Raises what ``share.prepare`` and ``delegate.deposit`` raise,
        and the ledger's refusal.
        """
        reader, now = self._reading(ledger, terms.streams), self._clock()
        prepared = sharing.prepare(self.state, terms, reader, height, now)
        missing = delegate.deposit(reader, prepared.deposits, prepared.thresholds, custodians)
        pending = delegate.unreached(prepared.deposits, missing)
        self._save(
            replace(
                self.state,
                shares=[*self.state.shares, prepared.record],
                pending=[*self.state.pending, *pending],
            )
        )
        txs = [transact.signed(reader, self.state.chain, grant, key, sponsor, now) for key, grant in prepared.grants]
        outcomes = transact.submit(ledger, txs, urgent=False)
        refused = [outcome for outcome in outcomes if outcome.result.code]
        if refused:
            self._take_back(prepared.record, outcomes, ledger, sponsor)
            raise refusal(refused[0])
        return Shared(prepared.record, self.message(prepared.record, reader, subject), missing)

    def message(self, record: ShareRecord, reader: Reader, subject: str = "") -> bytes:
        """What the grantee is told of a share, sealed to it; may be sent again. Raises Refused wallet.13, wallet.14."""
        grantee = active_member(reader, record.grantee)
        keys = states.keys_of(self.state, record.grantee).channel()
        message = Share(
            chain=self.state.chain,
            id=record.id,
            grantee=record.grantee,
            channel_key=keys.signing.public,
            channel_hpke=keys.hpke_public,
            subject=subject,
            streams=[
                SharedStream(category=item.category, stream=item.stream, consent=item.consent) for item in record.items
            ],
            relay=self.state.relay,
        )
        return channel.tell(channel.SHARE, record.grantee, grantee.keys.channel, message, keys.signing)

    def deposit_again(self, reader: Reader, custodians: Custodians) -> list[Missing]:
        """Try again the fragments that were not acknowledged; those that still are not.

        Fragments of consents that are over, or never came to be, are forgotten. Raises StorageFailed.
        """
        wanted = [entry for entry in self.state.pending if delegate.is_wanted(reader, entry, self._clock())]
        missing = delegate.leave(reader, wanted, custodians)
        left = delegate.unreached(wanted, missing)
        if left != self.state.pending:
            self._save(replace(self.state, pending=left))
        return missing

    def preview(self, terms: Terms, reader: Reader) -> list[Preview]:
        """What a grantee would see under these terms, before anything is granted. See ``preview.preview``."""
        return preview(self.state, terms, reader, self._clock())

    def revoke(self, share: bytes, ledger: Ledger, sponsor: Sponsor, reader: Reader | None = None) -> ShareRecord:
        """Take back a share, whole. ``reader``: of the ledger as it is now. Raises Refused wallet.12, and the ledger's
        refusal.
        """
        record = states.share_record(self.state, share)
        reader = ledger.reader() if reader is None else reader
        ahead.revoking(reader, self.state, record, sponsor.did)
        txs = revocation.revocations(self.state, record, reader, sponsor, self._clock())
        transact.accepted(transact.submit(ledger, txs, urgent=True))
        return record

    def hear(self, sealed: bytes, reader: Reader) -> None:
        """Keep the words of a request. See ``requests.hear``."""
        self._save(requests.hear(self.state, reader, sealed))

    def requests(self, reader: Reader) -> list[Request]:
        """Who asks for what, and why. See ``requests.requests``."""
        return requests.requests(self.state, reader, self._clock())

    def decline(self, offer: bytes, ledger: Ledger, sponsor: Sponsor) -> None:
        """Say no, on the ledger. Raises what ``requests.declining`` raises, and the ledger's refusal."""
        declined = requests.declining(self.state, ledger.reader(), self._clock(), offer)
        self._send([declined], ledger, sponsor, urgent=False)

    def narrow(self, share: bytes, less: Narrower, ledger: Ledger, sponsor: Sponsor) -> ShareRecord:
        """Let a share allow no more than this. See ``change.narrowings``. Raises the ledger's refusal, too."""
        record, reader = states.share_record(self.state, share), ledger.reader()
        self._send(change.narrowings(self.state, record, reader, self._clock(), less), ledger, sponsor, urgent=True)
        return record

    def extend(
        self, share: bytes, until: Seconds, ledger: Ledger, sponsor: Sponsor, custodians: Custodians
    ) -> list[Missing]:
        """Let a share last until then (seconds UTC, a whole day); what was to be delegated anew is, first.

        Raises what ``change.extensions`` and ``redelegate`` raise, and the ledger's refusal.
        """
        record = states.share_record(self.state, share)
        longer = change.extensions(self.state, record, ledger.reader(), self._clock(), until)
        missing = self.redelegate(ledger, sponsor, custodians, share=share)
        self._send(longer, ledger, sponsor, urgent=False)
        return missing

    def redelegate(
        self,
        ledger: Ledger,
        sponsor: Sponsor,
        custodians: Custodians,
        *,
        share: bytes | None = None,
        streams: Sequence[StreamId] | None = None,
    ) -> list[Missing]:
        """Delegate anew what stands on keys or custodians that the ledger has no more; again is no error.

        Of one share, of some streams, or of everything. The fragments are acknowledged before the ledger hears of
        them. Raises what ``change.renewals`` and ``delegate.deposit`` raise, and the ledger's refusal.
        """
        reader = ledger.reader()
        shares = self.state.shares if share is None else [states.share_record(self.state, share)]
        made = change.renewals(self.state, shares, reader, self._clock(), streams)
        missing = delegate.deposit(reader, made.deposits, made.thresholds, custodians)
        others = [entry for entry in self.state.pending if entry.consent not in made.thresholds]
        pending = [*others, *delegate.unreached(made.deposits, missing)]
        if pending != self.state.pending:
            self._save(replace(self.state, pending=pending))
        self._send(made.changes, ledger, sponsor, urgent=False)
        return missing

    def new_epoch(self, stream: StreamId, writing: Writing, ledger: Ledger, sponsor: Sponsor, keepers: Keepers) -> None:
        """A new reading key for a stream: old delegations are dead. What is there is sealed to it, and consents in
        force are delegated anew; ``bring_up`` finishes what a crash or a custodian left undone.

        The source needs its profile again (``profile``): its permit ends with the epoch. Raises Refused wallet.37,
        what ``bring_up`` raises, and the ledger's refusal.
        """
        begun, message = epochs.beginning(self.state, ledger.reader(), stream, writing)
        self._save(states.with_stream(self.state, begun.stream))
        self._send([(begun.keys.signing(begun.stream.rotation), message)], ledger, sponsor, urgent=True)
        self.bring_up(stream, ledger, sponsor, keepers)

    def bring_up(self, stream: StreamId, ledger: Ledger, sponsor: Sponsor, keepers: Keepers) -> list[Missing]:
        """Seal to the reading key of now what is sealed to an older one, and delegate anew; again is no error.

        Raises what ``records.own_seals``, ``reseal.deposit`` and ``redelegate`` raise, and the ledger's refusal.
        """
        reader, located = ledger.reader(), states.locate(self.state, stream)
        where = standing(reader, located)
        own = own_seals(reader, located, keepers, self._clock())
        stale = [segment for segment in own.segments if segment.epoch != where.epoch]
        self._reseal(
            located, [reseal.for_epoch(located, where, segment) for segment in stale], ledger, sponsor, keepers
        )
        return self.redelegate(ledger, sponsor, keepers, streams=[stream])

    def drop(
        self,
        stream: StreamId,
        segment: Count,
        records: Sequence[Record],
        ledger: Ledger,
        sponsor: Sponsor,
        keepers: Keepers,
    ) -> None:
        """Seal a segment anew without some of its records.

        Raises Refused wallet.33, wallet.38, wallet.39, and what ``bring_up`` raises.
        """
        reader, located = ledger.reader(), states.locate(self.state, stream)
        own = [entry for entry in own_seals(reader, located, keepers, self._clock()).segments if entry.index == segment]
        if not own:
            raise Refused(NO_SUCH_SEGMENT, f"segment {segment}")
        where = standing(reader, located)
        made = reseal.without(located, where, own[0], records, reseal.fetching(located, where, own[0], keepers))
        self._reseal(located, [made], ledger, sponsor, keepers)

    def erase(self, stream: StreamId, segment: Count, ledger: Ledger, sponsor: Sponsor) -> None:
        """Forget a segment for good. Who keeps something of it confirms: see ``erase.confirmations``.

        Raises Refused wallet.11, wallet.21, wallet.25, and the ledger's refusal.
        """
        self._send([erasing(self.state, ledger.reader(), stream, segment)], ledger, sponsor, urgent=True)

    def keep(self, reader: Reader, keepers: IndexKeepers) -> list[tuple[Did, str]]:
        """Leave the index with its keepers; those that did not take it, and why. See ``index.leave``."""
        return index.leave(self.state, reader, keepers)

    def profile(self, member: Did, reader: Reader) -> bytes:
        """The sealing profile for a member, as it stands. See ``enrol.profile_of``."""
        return enrolment.profile_of(self.state, reader, member)

    def dispute(self, receipt: bytes, text: str, ledger: Ledger, sponsor: Sponsor) -> tuple[Did, bytes]:
        """Question an access: (the member that has to answer, the words, for it alone).

        Raises what ``disputes.prepare`` raises, and the ledger's refusal.
        """
        raised = disputes.prepare(self.state, ledger.reader(), receipt, text)
        self._send([(raised.key, raised.message)], ledger, sponsor, urgent=True)
        return raised.member, raised.sealed

    def audit(self, reader: Reader, logs: Sequence[StreamLog], releases: Sequence[Signed] = ()) -> Audit:
        """Who looked. See ``audit.audit``."""
        return audit(self.state, reader, logs, releases)

    def _reseal(
        self, located: Located, made: Sequence[SealedAnew], ledger: Ledger, sponsor: Sponsor, keepers: Keepers
    ) -> None:
        if made:
            where = standing(ledger.reader(), located)
            reseal.deposit(ledger.reader(), located, where, made, keepers)
            key = located.keys.signing(where.rotation)
            self._send([(key, entry.message) for entry in made], ledger, sponsor, urgent=False)

    def _send(self, changes: Sequence[Change], ledger: Ledger, sponsor: Sponsor, *, urgent: bool) -> None:
        """Each change in a transaction of its own; those that the ledger takes stand. Raises its first refusal."""
        reader, now = ledger.reader(), self._clock()
        txs = [transact.signed(reader, self.state.chain, message, key, sponsor, now) for key, message in changes]
        if txs:
            transact.accepted(transact.submit(ledger, txs, urgent=urgent))

    def _take_back(self, record: ShareRecord, outcomes: Sequence[Committed], ledger: Ledger, sponsor: Sponsor) -> None:
        """After a refusal: keep what the ledger took on record, so that it can be revoked, and revoke it."""
        taken = [item for item, outcome in zip(record.items, outcomes, strict=True) if not outcome.result.code]
        kept = [replace(known, items=taken) if known.id == record.id else known for known in self.state.shares]
        ours = {item.consent for item in record.items}
        self._save(
            replace(
                self.state,
                shares=[known for known in kept if known.items],
                pending=[entry for entry in self.state.pending if entry.consent not in ours],
            )
        )
        if taken:
            self.revoke(record.id, ledger, sponsor)

    def _reading(self, ledger: Ledger, chosen: Sequence[StreamId]) -> Reader:
        """The ledger for an act over these streams."""
        reader = ledger.reader()
        ahead.streams_of(reader, self.state, chosen)
        return reader

    def _save(self, state: WalletState) -> None:
        state = replace(state, version=self.state.version + 1)
        self._file.save(codec.encode(state))
        self.state = state
