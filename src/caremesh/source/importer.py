"""Import a bundle: read, classify, seal, store, deposit, register. Nothing on the ledger before all else is durable.

Order, and why: blocks go to every store, then seals to at least *t* custodians of each stream, and only then do the
registrations go to the ledger, one transaction a stream (one transaction over several would tie them together), in a
shuffled batch with those of other patients where there are any. What fails before leaves nothing behind that anyone
could see; what fails after is completed by importing again, since records that are in a stream already are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.vault import Vault
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Register
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import Permit
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, CareMeshError, Refused, Unavailable
from caremesh.fhir.bundle import Resource, read_bundle
from caremesh.fhir.classify import classify
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signer, Signs, Tx, encode, sign
from caremesh.sealing import channel, custody
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.sealing.custody import Acknowledgement, SealDeposit
from caremesh.sealing.segment import RecordToSeal, SealedSegment, seal_segment
from caremesh.source import errors
from caremesh.source.index import IndexedSegment, SourceIndex
from caremesh.types import Code, Count, Did, Seconds

MAX_RECORDS_PER_SEGMENT: Final = 2_000
_TX_LIFE_S: Final[Seconds] = 300

Progress = Callable[[str, int, int], None]
"""(what is being done, how much is done, of how much)"""
Sealed: TypeAlias = tuple[ProfileEntry, list[Resource], SealedSegment]


class SealCustodian(Protocol):
    """The way to one custodian."""

    def deposit_seal(self, data: bytes) -> bytes:
        """Leave a signed seal; the signed acknowledgement. Raises CareMeshError."""
        ...


class Ledger(Protocol):
    """The way to the ledger."""

    def submit_batch(self, subject: bytes, transactions: Sequence[bytes], /) -> list[Committed]:
        """Send what is not urgent among that of other subjects; what became of each, in order.

        ``subject`` tells the member's subjects apart; it goes nowhere. Raises what ``Engine.submit`` raises.
        """
        ...

    def reader(self) -> Reader:
        """Committed state."""
        ...


class ImportReport(Struct, frozen=True, kw_only=True):
    """What an import did. ``records``: new ones by category; ``unchanged``: those that were there already."""

    records: dict[Code, Count]
    unchanged: Count
    segments: Count
    blocks: Count
    original_bytes: Count
    sealed_bytes: Count
    directory: Count


class Source:
    """One member in the role of source."""

    def __init__(
        self,
        *,
        chain: str,
        did: Did,
        key: Signs,
        node_key: Signs,
        hpke_private: bytes,
        vault: Vault,
        stores: Sequence[BlockStore],
        custodians: Mapping[Did, SealCustodian],
        ledger: Ledger,
        clock: Callable[[], Seconds],
    ) -> None:
        """``key``: of the member's DID; ``stores``: every one of them gets every block."""
        self._chain = chain
        self.did = did
        self._key = key
        self._node_key = node_key
        self._hpke_private = hpke_private
        self._vault = vault
        self.index = SourceIndex(vault)
        self._stores = stores
        self._custodians = custodians
        self._ledger = ledger
        self._clock = clock

    def enrol(self, patient: str, sealed_profile: bytes) -> None:
        """Keep a patient's sealing profile under the id that the patient has here. Raises Tampered custody.NN."""
        profile = channel.hear_profile(self._chain, self.did, self._hpke_private, sealed_profile)
        self._vault.put({_profile_name(patient): codec.encode(profile)})

    def is_enrolled(self, patient: str) -> bool:
        """Whether a patient has given a sealing profile."""
        return self._vault.get(_profile_name(patient)) is not None

    def import_bundle(self, data: bytes, progress: Progress = lambda *_: None) -> ImportReport:
        """Import a patient's bundle. Raises BadInput fhir.NN, Refused source.01, source.04, Unavailable source.02."""
        bundle = read_bundle(data)
        patient = bundle.patient.id if bundle.patient is not None else ""
        stored = self._vault.get(_profile_name(patient))
        if stored is None:
            raise Refused(errors.NO_PROFILE)
        profile = codec.decode_as(stored, SealingProfile)
        by_category, unchanged = self._sort(bundle.records, profile)
        sealed: list[Sealed] = []
        done, total = 0, sum(len(resources) for _, resources in by_category.values())
        for entry, resources in by_category.values():
            for start in range(0, len(resources), MAX_RECORDS_PER_SEGMENT):
                part = resources[start : start + MAX_RECORDS_PER_SEGMENT]
                sealed.append((entry, part, _seal(entry, self.did, part)))
                done += len(part)
                progress("sealing", done, total)
        for number, (entry, _, segment) in enumerate(sealed, 1):
            for store in self._stores:
                store.put_all(entry.stream, {**segment.blocks, segment.descriptor_cid: segment.descriptor})
            self._deposit(entry, segment)
            progress("storing", number, len(sealed))
        progress("registering", 0, len(sealed))
        self._register(patient, sealed)
        progress("registering", len(sealed), len(sealed))
        return ImportReport(
            records={category: len(resources) for category, (_, resources) in sorted(by_category.items())},
            unchanged=unchanged,
            segments=len(sealed),
            blocks=sum(len(segment.blocks) for _, _, segment in sealed),
            original_bytes=sum(len(resource.data) for _, part, _ in sealed for resource in part),
            sealed_bytes=sum(len(block) for _, _, segment in sealed for block in segment.blocks.values()),
            directory=len(bundle.directory),
        )

    def _sort(
        self, resources: list[Resource], profile: SealingProfile
    ) -> tuple[dict[Code, tuple[ProfileEntry, list[Resource]]], Count]:
        """New records by category, and how many are there already."""
        entries = {entry.category: entry for entry in profile.entries}
        held: dict[Code, set[bytes]] = {}
        found: dict[Code, tuple[ProfileEntry, list[Resource]]] = {}
        unchanged = 0
        for resource in resources:
            category = classify(resource)
            if category not in entries:
                raise Refused(errors.NO_STREAM, category)
            if category not in held:
                kept = self.index.segments(entries[category].stream)
                held[category] = {digest for segment in kept for digest in segment.records}
            if sha256(resource.data) in held[category]:
                unchanged += 1
            else:
                found.setdefault(category, (entries[category], []))[1].append(resource)
        return found, unchanged

    def _deposit(self, entry: ProfileEntry, segment: SealedSegment) -> None:
        """Leave the seal with every custodian of the stream; at least *t* must acknowledge."""
        permit = codec.decode_as(entry.permit.permit, Permit)
        deposit = SealDeposit(
            stream=entry.stream,
            source=self.did,
            descriptor=segment.descriptor,
            seal=segment.seal,
            permit=entry.permit.permit,
            permit_signature=entry.permit.signature,
        )
        signed = custody.sign_payload(custody.SEAL_DEPOSIT, deposit, self._node_key)
        failures = []
        for custodian in permit.custodians:
            try:
                answer = custody.read_signed(self._custodians[custodian].deposit_seal(codec.encode(signed)))
                member = members.member(self._ledger.reader(), custodian)
                if member is None:
                    raise Unavailable(errors.TOO_FEW_DEPOSITS, custodian)
                said = custody.open_signed(
                    custody.ACKNOWLEDGEMENT, answer, Acknowledgement, member.keys.node, custodian
                )
                if said != Acknowledgement(custodian=custodian, what=custody.deposit_digest(signed)):
                    raise BadInput(errors.TOO_FEW_DEPOSITS, custodian)
            except (CareMeshError, KeyError) as error:
                failures.append(f"{custodian}: {error.code if isinstance(error, CareMeshError) else 'unknown'}")
        if len(permit.custodians) - len(failures) < permit.threshold:
            raise Unavailable(errors.TOO_FEW_DEPOSITS, "; ".join(failures))

    def _register(self, patient: str, sealed: Sequence[Sealed]) -> None:
        """Register segments in one shuffled batch; what was registered is indexed even when another was refused."""
        reader = self._ledger.reader()
        batch = [self._registration(reader, entry, segment) for entry, _, segment in sealed]
        outcomes = self._ledger.submit_batch(patient.encode(), batch)
        reader = self._ledger.reader()
        self.index.add(
            [
                IndexedSegment(
                    stream=entry.stream,
                    segment=records.index_of(reader, entry.stream, segment.descriptor_cid) or 0,
                    descriptor=segment.descriptor_cid,
                    key=segment.segment_key,
                    records=[sha256(resource.data) for resource in part],
                )
                for (entry, part, segment), outcome in zip(sealed, outcomes, strict=True)
                if not outcome.code
            ]
        )
        refused = [outcome.code for outcome in outcomes if outcome.code]
        if refused:
            raise Refused(errors.NOT_REGISTERED, refused[0])

    def _registration(self, reader: Reader, entry: ProfileEntry, segment: SealedSegment) -> bytes:
        """A signed transaction; it carries the permit while the ledger has not seen it, since a batch has no order."""
        opened = streams.stream(reader, entry.stream)
        permit = codec.decode_as(entry.permit.permit, Permit)
        message = Register(
            stream=entry.stream,
            descriptor=segment.descriptor_cid,
            seal=segment.seal_hash,
            size_class=segment.size_class,
            permit=entry.permit if opened is None or opened.serial < permit.serial else None,
        )
        tx = encode(
            Tx(
                chain=self._chain,
                expires_at=self._clock() + _TX_LIFE_S,
                salt=os.urandom(8),
                signers=[Signer(key=self._key.public, did=self.did)],
                msgs=[message],
            )
        )
        return sign(tx, [self._key])


def _seal(entry: ProfileEntry, source: Did, part: list[Resource]) -> SealedSegment:
    return seal_segment(
        entry.stream,
        source,
        entry.reading_key,
        [
            RecordToSeal(
                resource_type=resource.type,
                id=resource.id,
                version=resource.version,
                last_updated=resource.last_updated,
                data=resource.data,
            )
            for resource in part
        ],
    )


def _profile_name(patient: str) -> str:
    return f"profile/{patient}"
