"""From sealed segments to the ledger, whole or not at all, over any crash.

0. Blocks are durable at ``params.replicas`` members; what is at fewer waits in the journal for ``settle``.
1. Seals go to at least *t* custodians of each stream. What fails here leaves nothing that anyone could see.
2. A journal entry and the index are written to the vault, in one durable step. From here on the import goes forward.
3. The registrations go to the ledger, one transaction a segment (one over several would tie streams together), in a
   shuffled batch with those of other patients where there are any. A crash in between is made good by ``settle``, from
   the journal, without the file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from caremesh import codec
from caremesh.blobs.copies import Copies, Short
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Register, Supersede
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import Permit
from caremesh.crypto.reencryption import Seal, seal_hash
from caremesh.errors import BadInput, CareMeshError, Refused, StorageFailed, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import Message, Signer, Signs, Tx, encode, sign
from caremesh.sealing import custody
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.sealing.custody import Acknowledgement, SealDeposit, Signed
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.segment import seal_anew
from caremesh.source import errors
from caremesh.source.claims import claimed
from caremesh.source.index import SourceIndex
from caremesh.types import Code, Count, Did, Digest, Multikey, ReencryptionKey, Seconds, StreamId

_TX_LIFE_S: Final[Seconds] = 300
_PREFIX: Final = "journal/"
_SHUFFLE: Final = SystemRandom()


class SealCustodian(Protocol):
    """The way to one custodian."""

    def deposit_seals(self, deposits: Sequence[bytes]) -> list[bytes]:
        """Leave signed seals, all or none; the signed acknowledgement of each. Raises CareMeshError."""
        ...


class Ledger(Protocol):
    """The way to the ledger."""

    def submit_batches(self, batches: Mapping[bytes, Sequence[bytes]], /) -> dict[bytes, list[Committed]]:
        """Send what is not urgent of several subjects, among that of others; what became of each, in order.

        The subject tells the member's subjects apart; it goes nowhere. Raises what ``Engine.submit`` raises.
        """
        ...

    def reader(self) -> Reader:
        """Committed state."""
        ...


class Ready(Struct, frozen=True):
    """A segment whose blocks are stored: what registering it takes."""

    category: Code
    descriptor: bytes
    descriptor_cid: CID
    seal: Seal
    seal_hash: Digest
    size_class: Count
    reading_key: ReencryptionKey
    """What it is sealed to."""
    supersedes: Count | None = None
    """The segment that it corrects."""


class Batch(Struct, frozen=True):
    """What an import has for one patient. ``index``: entries for the vault, remembered with the segments."""

    patient: str
    profile: SealingProfile
    segments: list[Ready]
    index: dict[str, bytes]


class _Journal(Struct, frozen=True):
    segments: list[Ready]


class _Deposit(Struct, frozen=True):
    permit: Permit
    signed: Signed


class Registrar:
    """Deposits seals and registers segments, for one source."""

    def __init__(
        self,
        *,
        chain: str,
        did: Did,
        key: Signs,
        node_key: Signs,
        vault: Vault,
        custodians: Mapping[Did, SealCustodian],
        copies: Copies,
        ledger: Ledger,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: of the member's DID; ``custodians``: the way to each that there is."""
        self._chain = chain
        self._did = did
        self._key = key
        self._node_key = node_key
        self._vault = vault
        self._index = SourceIndex(vault)
        self._custodians = custodians
        self._copies = copies
        self._ledger = ledger
        self._clock = clock

    def register(
        self, batches: Sequence[Batch], short: Mapping[CID, Short], progress: Callable[[str, int, int], None]
    ) -> None:
        """All segments of an import, of all its patients together; ``short``: blocks that too few members have.

        A segment whose descriptor is among them is remembered, and registered by ``settle``.
        Raises Unavailable source.02 with nothing done; Refused source.03 for what the ledger did not take, which
        ``settle`` tries again.
        """
        total = sum(len(batch.segments) for batch in batches)
        if not total:
            return
        ready = _those(batches, lambda one: one.descriptor_cid not in short)
        later = _those(batches, lambda one: one.descriptor_cid in short)
        self._deposit([(_entry(batch.profile, one), one) for batch in ready for one in batch.segments])
        progress("depositing", total, total)
        journals = {_journal(batch): batch for batch in ready}
        objects = {name: codec.encode(_Journal(batch.segments)) for name, batch in journals.items()}
        objects |= {_journal(batch): codec.encode(_Journal(batch.segments)) for batch in later}
        for batch in batches:
            objects |= batch.index
        with claimed(journals):
            self._vault.put(objects)
            self._submit(journals)
        progress("registering", total, total)

    def settle(self, patient: str, profile: SealingProfile) -> Count:
        """Finish what was begun, but for what too few members take; how many segments. Raises as ``register``.

        Blocks are brought again: who holds them may have let go of what was not registered in time.
        """
        done = 0
        for name in self._vault.names(f"{_PREFIX}{patient}/"):
            with claimed([name]) as mine:
                stored = self._vault.get(name) if mine else None
                if stored is not None:
                    done += self._settle(name, codec.decode_as(stored, _Journal).segments, patient, profile)
        return done

    def _settle(self, name: str, segments: list[Ready], patient: str, profile: SealingProfile) -> Count:
        """Finish one journal."""
        reader = self._ledger.reader()
        begun = [
            segment
            for segment in segments
            if records.index_of(reader, _entry(profile, segment).stream, segment.descriptor_cid) is None
        ]
        left = [self._for_epoch(patient, profile, segment) for segment in begun]
        if left != begun:
            self._vault.put({name: codec.encode(_Journal(left))})
            kept = {segment.descriptor_cid for segment in left}
            for segment in begun:
                if segment.descriptor_cid not in kept:
                    self._index.forget(patient, _entry(profile, segment).stream, segment.descriptor_cid)
        ready = [segment for segment in left if self._is_stored(_entry(profile, segment).stream, segment)]
        later = [segment for segment in left if segment not in ready]
        if later and not ready:
            return 0
        ours = Batch(patient, profile, ready, {})
        if later:  # a journal is of what goes together
            self._vault.put({name: codec.encode(_Journal(ready)), _journal(ours): codec.encode(_Journal(later))})
        self._deposit([(_entry(profile, segment), segment) for segment in ready])
        self._submit({name: ours})
        return len(ready)

    def _is_stored(self, stream: StreamId, segment: Ready) -> bool:
        """Whether enough members have its blocks, now that they were brought to them again."""
        table = read_descriptor(segment.descriptor)
        try:
            blocks = {cid: self._copies.get(stream, cid) for cid in (table.manifest, *table.blocks)}
            self._copies.put(stream, {**blocks, segment.descriptor_cid: segment.descriptor})
        except (Unavailable, StorageFailed, Tampered):
            return False
        return True

    def patients(self) -> list[str]:
        """Whose imports were begun and are not finished."""
        return sorted({name.split("/")[1] for name in self._vault.names(_PREFIX)})

    def begun(self, patient: str) -> list[CID]:
        """The descriptors of what was begun for a patient and is not registered."""
        reader = self._ledger.reader()
        return [cid for stream, cid in begun(self._vault, patient) if records.index_of(reader, stream, cid) is None]

    def _for_epoch(self, patient: str, profile: SealingProfile, segment: Ready) -> Ready:
        """The segment, sealed to the reading key that the patient last named: an epoch may have begun since."""
        entry = _entry(profile, segment)
        if segment.reading_key == entry.reading_key:
            return segment
        known = self._index.segment(patient, entry.stream, segment.descriptor_cid)
        if known is None:
            raise Refused(errors.NOT_REGISTERED, segment.descriptor_cid.encode())
        descriptor, cid, seal = seal_anew(known.key, segment.descriptor, entry.reading_key)
        self._index.put(patient, replace(known, descriptor=cid))
        return replace(
            segment,
            descriptor=descriptor,
            descriptor_cid=cid,
            seal=seal,
            seal_hash=seal_hash(seal),
            reading_key=entry.reading_key,
        )

    def _submit(self, journals: Mapping[str, Batch]) -> None:
        """In one shuffled batch; a journal goes when the ledger has taken all that stands in it.

        Two patient ids that one wallet has enrolled share streams: the second goes after the first, since a permit
        must be on the ledger before an older one of its stream is left out.
        """
        codes: set[str] = set()
        for together in _rounds(journals):
            answers = self._ledger.submit_batches(
                {batch.patient.encode(): self._transactions(batch) for batch in together.values()}
            )
            done = {name: {one.code for one in answers[batch.patient.encode()]} for name, batch in together.items()}
            self._vault.destroy(name for name, found in done.items() if found <= {""})
            codes |= set().union(*done.values())
        if codes - {""}:
            raise Refused(errors.NOT_REGISTERED, ", ".join(sorted(codes - {""})))

    def _transactions(self, batch: Batch) -> list[bytes]:
        """Each carries the permit while the ledger has not seen it, since a batch has no order."""
        reader = self._ledger.reader()
        found = []
        for segment in batch.segments:
            entry = _entry(batch.profile, segment)
            opened = streams.stream(reader, entry.stream)
            permit = codec.decode_as(entry.permit.permit, Permit)
            needed = opened is None or opened.serial < permit.serial
            found.append(self._signed(_message(entry, segment, needed=needed)))
        return found

    def send(self, patient: str, message: Message) -> None:
        """Send another message about a stream of this patient. Raises Refused source.03 with the ledger's code."""
        name = patient.encode()
        codes = {done.code for done in self._ledger.submit_batches({name: [self._signed(message)]})[name]} - {""}
        if codes:
            raise Refused(errors.NOT_REGISTERED, ", ".join(sorted(codes)))

    def _signed(self, message: Message) -> bytes:
        tx = encode(
            Tx(
                chain=chain_of(self._ledger.reader(), self._chain),
                expires_at=self._clock() + _TX_LIFE_S,
                salt=os.urandom(8),
                signers=[Signer(key=self._key.public, did=self._did)],
                msgs=[message],
            )
        )
        return sign(tx, [self._key])

    def _deposit(self, rows: Sequence[tuple[ProfileEntry, Ready]]) -> None:
        """Leave the seals with every custodian of their streams; at least *t* must acknowledge each.

        In a random order, so that what arrives together does not say which streams belong together.
        """
        deposits = [
            _Deposit(codec.decode_as(entry.permit.permit, Permit), self._sign(entry, segment))
            for entry, segment in rows
        ]
        _SHUFFLE.shuffle(deposits)
        failures: dict[int, list[str]] = {number: [] for number in range(len(deposits))}
        for custodian in sorted({did for deposit in deposits for did in deposit.permit.custodians}):
            mine = [number for number, deposit in enumerate(deposits) if custodian in deposit.permit.custodians]
            codes = self._leave(custodian, [deposits[number].signed for number in mine])
            for number, code in zip(mine, codes, strict=True):
                if code:
                    failures[number].append(f"{custodian}: {code}")
        for deposit, failed in zip(deposits, failures.values(), strict=True):
            if len(deposit.permit.custodians) - len(failed) < deposit.permit.threshold:
                raise Unavailable(errors.TOO_FEW_DEPOSITS, "; ".join(failed))

    def _sign(self, entry: ProfileEntry, segment: Ready) -> Signed:
        deposit = SealDeposit(
            stream=entry.stream,
            source=self._did,
            descriptor=segment.descriptor,
            seal=segment.seal,
            permit=entry.permit.permit,
            permit_signature=entry.permit.signature,
        )
        return custody.sign_payload(custody.SEAL_DEPOSIT, deposit, self._node_key)

    def _leave(self, custodian: Did, deposits: list[Signed]) -> list[str]:
        """With one custodian; for each why it was not acknowledged, "" when it was."""
        way, member = self._custodians.get(custodian), members.member(self._ledger.reader(), custodian)
        if way is None or member is None:
            return ["unknown"] * len(deposits)
        try:
            answers = way.deposit_seals([codec.encode(signed) for signed in deposits])
            return [
                _said(answer, signed, custodian, member.keys.node)
                for answer, signed in zip(answers, deposits, strict=True)
            ]
        except (Refused, BadInput, Tampered) as error:
            if len(deposits) == 1:
                return [error.code]
            return [code for signed in deposits for code in self._leave(custodian, [signed])]  # one of them spoils it
        except (CareMeshError, ValueError) as error:
            return [error.code if isinstance(error, CareMeshError) else "unknown"] * len(deposits)


def begun(vault: Vault, patient: str) -> list[tuple[StreamId, CID]]:
    """Stream and descriptor of what was begun for a patient; some of it may be registered by now."""
    stored = [vault.get(name) for name in vault.names(f"{_PREFIX}{patient}/")]
    journals = [codec.decode_as(data, _Journal) for data in stored if data is not None]
    return [(read_descriptor(one.descriptor).stream, one.descriptor_cid) for each in journals for one in each.segments]


def _those(batches: Sequence[Batch], wanted: Callable[[Ready], bool]) -> list[Batch]:
    """The batches with only those segments; none that has none of them."""
    found = [replace(batch, segments=[one for one in batch.segments if wanted(one)]) for batch in batches]
    return [batch for batch in found if batch.segments]


def _journal(batch: Batch) -> str:
    """A name for a new journal."""
    return f"{_PREFIX}{batch.patient}/{secrets.token_hex(8)}"


def _rounds(journals: Mapping[str, Batch]) -> list[dict[str, Batch]]:
    """The batches, such that no stream is in two of a round."""
    rounds: list[tuple[dict[str, Batch], set[StreamId]]] = []
    for name, batch in journals.items():
        mine = {_entry(batch.profile, segment).stream for segment in batch.segments}
        free = next((one for one in rounds if not one[1] & mine), None)
        if free is None:
            free = {}, set()
            rounds.append(free)
        free[0][name] = batch
        free[1].update(mine)
    return [together for together, _ in rounds]


def _said(answer: bytes, signed: Signed, custodian: Did, key: Multikey) -> str:
    """Why an answer is no acknowledgement of this deposit; "" when it is one."""
    try:
        said = custody.open_signed(
            custody.ACKNOWLEDGEMENT, custody.read_signed(answer), Acknowledgement, key, custodian
        )
    except CareMeshError as error:
        return error.code
    expected = Acknowledgement(custodian=custodian, what=custody.deposit_digest(signed))
    return "" if said == expected else errors.TOO_FEW_DEPOSITS.code


def _message(entry: ProfileEntry, segment: Ready, *, needed: bool) -> Message:
    """What registers a segment. ``needed``: the ledger has not seen the permit."""
    message = Register(
        stream=entry.stream,
        descriptor=segment.descriptor_cid,
        seal=segment.seal_hash,
        size_class=segment.size_class,
        permit=entry.permit if needed else None,
    )
    return message if segment.supersedes is None else Supersede(**asdict(message), segment=segment.supersedes)


def _entry(profile: SealingProfile, segment: Ready) -> ProfileEntry:
    """Where a category's segments go, as the patient last said. Raises Refused source.04."""
    for entry in profile.entries:
        if entry.category == segment.category:
            return entry
    raise Refused(errors.NO_STREAM, segment.category)
