"""From sealed segments to the ledger, whole or not at all, over any crash.

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
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from caremesh import codec
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Register, Supersede
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import Permit
from caremesh.crypto.reencryption import Seal, seal_hash
from caremesh.errors import BadInput, CareMeshError, Refused, Unavailable
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message, Signer, Signs, Tx, encode, sign
from caremesh.sealing import custody
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.sealing.custody import Acknowledgement, SealDeposit
from caremesh.sealing.segment import seal_anew
from caremesh.source import errors
from caremesh.source.index import SourceIndex
from caremesh.types import Code, Count, Did, Digest, ReencryptionKey, Seconds

_TX_LIFE_S: Final[Seconds] = 300
_PREFIX: Final = "journal/"


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


class _Journal(Struct, frozen=True):
    segments: list[Ready]


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
        stores: Sequence[BlockStore],
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
        self._stores = stores
        self._ledger = ledger
        self._clock = clock

    def register(
        self,
        patient: str,
        profile: SealingProfile,
        segments: list[Ready],
        index: Mapping[str, bytes],
        progress: Callable[[str, int, int], None],
    ) -> None:
        """All segments of a patient's import; ``index``: entries for the vault, remembered with them.

        Raises Unavailable source.02 with nothing done; Refused source.03 for what the ledger did not take, which
        ``settle`` tries again.
        """
        for number, segment in enumerate(segments, 1):
            self._deposit(_entry(profile, segment), segment)
            progress("depositing", number, len(segments))
        if segments:
            name = f"{_PREFIX}{patient}/{secrets.token_hex(8)}"
            self._vault.put({**index, name: codec.encode(_Journal(segments))})
            self._submit(patient, profile, segments)
            self._vault.destroy([name])
            progress("registering", len(segments), len(segments))

    def settle(self, patient: str, profile: SealingProfile) -> Count:
        """Finish what was begun; how many segments that were. Raises as ``register``."""
        done = 0
        for name in self._vault.names(f"{_PREFIX}{patient}/"):
            stored = self._vault.get(name)
            if stored is None:
                continue
            reader = self._ledger.reader()
            begun = [
                segment
                for segment in codec.decode_as(stored, _Journal).segments
                if records.index_of(reader, _entry(profile, segment).stream, segment.descriptor_cid) is None
            ]
            left = [self._for_epoch(patient, profile, segment) for segment in begun]
            if left != begun:
                self._vault.put({name: codec.encode(_Journal(left))})
                kept = {segment.descriptor_cid for segment in left}
                for segment in begun:
                    if segment.descriptor_cid not in kept:
                        self._index.forget(patient, _entry(profile, segment).stream, segment.descriptor_cid)
            for segment in left:
                self._deposit(_entry(profile, segment), segment)
            self._submit(patient, profile, left)
            self._vault.destroy([name])
            done += len(left)
        return done

    def _for_epoch(self, patient: str, profile: SealingProfile, segment: Ready) -> Ready:
        """The segment, sealed to the reading key that the patient last named: an epoch may have begun since."""
        entry = _entry(profile, segment)
        if segment.reading_key == entry.reading_key:
            return segment
        known = self._index.segment(patient, entry.stream, segment.descriptor_cid)
        if known is None:
            raise Refused(errors.NOT_REGISTERED, segment.descriptor_cid.encode())
        descriptor, cid, seal = seal_anew(known.key, segment.descriptor, entry.reading_key)
        for store in self._stores:
            store.put(entry.stream, cid, descriptor)
        self._index.put(patient, replace(known, descriptor=cid))
        return replace(
            segment,
            descriptor=descriptor,
            descriptor_cid=cid,
            seal=seal,
            seal_hash=seal_hash(seal),
            reading_key=entry.reading_key,
        )

    def _submit(self, patient: str, profile: SealingProfile, segments: list[Ready]) -> None:
        """In one batch; each carries the permit while the ledger has not seen it, since a batch has no order."""
        reader = self._ledger.reader()
        txs = []
        for segment in segments:
            entry = _entry(profile, segment)
            opened = streams.stream(reader, entry.stream)
            permit = codec.decode_as(entry.permit.permit, Permit)
            needed = opened is None or opened.serial < permit.serial
            txs.append(self._signed(_message(entry, segment, needed=needed)))
        self._send(patient, txs)

    def send(self, patient: str, message: Message) -> None:
        """Send another message about a stream of this patient. Raises Refused source.03 with the ledger's code."""
        self._send(patient, [self._signed(message)])

    def _send(self, patient: str, txs: list[bytes]) -> None:
        codes = sorted({done.code for done in self._ledger.submit_batch(patient.encode(), txs)} - {""})
        if codes:
            raise Refused(errors.NOT_REGISTERED, ", ".join(codes))

    def _signed(self, message: Message) -> bytes:
        tx = encode(
            Tx(
                chain=self._chain,
                expires_at=self._clock() + _TX_LIFE_S,
                salt=os.urandom(8),
                signers=[Signer(key=self._key.public, did=self._did)],
                msgs=[message],
            )
        )
        return sign(tx, [self._key])

    def _deposit(self, entry: ProfileEntry, segment: Ready) -> None:
        """Leave the seal with every custodian of the stream; at least *t* must acknowledge."""
        permit = codec.decode_as(entry.permit.permit, Permit)
        deposit = SealDeposit(
            stream=entry.stream,
            source=self._did,
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
