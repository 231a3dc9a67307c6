"""Three custodians over a ledger state in memory: real contracts, keys, vaults and logs; no mesh, no sockets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Struct

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.consensus.interface import Cursor
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import FragmentCommitment
from caremesh.contracts.consent.state import Consent
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import make_fragments
from caremesh.custodian.custodian import Custodian
from caremesh.custodian.log import ReleaseLog
from caremesh.errors import BadInput, CareMeshError
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Header
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import FragmentDeposit, ReleaseRequest, ResealDeposit, SealDeposit, StreamRequest
from caremesh.sealing.segment import RecordToSeal, SealedSegment, seal_segment
from caremesh.types import ConsentId, Did, Height, Seconds
from tests.support.world import CHAIN, Actor, World

HPKE_PRIVATE, HPKE_PUBLIC = hpke_from_seed(bytes(32))
T = TypeVar("T", bound=Struct)


class Frozen:
    """A state as it once was."""

    def __init__(self, values: Mapping[bytes, bytes]) -> None:
        self._values = values

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)


class Copy:
    """A custodian's own copy: the state of now under a header of now. ``time``, ``seen``: of a header that is older."""

    def __init__(self, keepers: Keepers) -> None:
        self._keepers = keepers
        self.time: Seconds | None = None
        self.seen = 0.0
        self.asked_from: list[str] = []
        self._old: tuple[Reader, Height] | None = None

    def cut_off(self) -> None:
        """From now on it hears of no block."""
        state = {key: value for key, _, value in self._keepers.view.changes() if value is not None}
        self._old, self.time = (Frozen(state), self._keepers.height - 1), self._keepers.now

    def catch_up(self) -> None:
        """It has heard of everything."""
        self._old = self.time = None

    def header(self) -> Header:
        time = self._keepers.now if self.time is None else self.time
        height = self._keepers.height - 1 if self._old is None else self._old[1]
        none = bytes(32)
        return Header(CHAIN, height, time, none, none, none, none, none)

    def seen_s(self) -> float:
        return self.seen

    def reader(self) -> Reader:
        return self._keepers.view if self._old is None else self._old[0]

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """Every event after a cursor; those before ``forgotten`` have gone."""
        self.asked_from.append(cursor)
        place = Cursor.read(cursor)
        if place.height <= self._keepers.forgotten:
            raise BadInput(codec.WRONG_SHAPE)
        for number, event in enumerate(self._keepers.events):
            if event.height >= place.height and (number, 1) > (place.leaf, place.told):
                yield str(Cursor(event.height, number, 1)), event


class Keeper(Custodian):
    """A custodian, with what it is made of at hand."""

    def __init__(self, keepers: Keepers, actor: Actor, vault: Vault, log: ReleaseLog) -> None:
        self.copy, self.vault, self.log, self.actor = Copy(keepers), vault, log, actor
        super().__init__(
            did=str(actor.did),
            key=actor.key,
            hpke_private=HPKE_PRIVATE,
            vault=vault,
            log=log,
            ledger=self.copy,
            clock=lambda: keepers.now + keepers.clock_off_s,
        )

    def followed(self, kind: type[T]) -> list[T]:
        """What it confirms of this kind after a block; each is under its own signature."""
        domain = {
            "DestroyConfirmation": custody.DESTROY_CONFIRMATION,
            "ErasureConfirmation": custody.ERASURE_CONFIRMATION,
        }
        signed = [custody.read_signed(data) for data in self.follow()]
        found = []
        for each in signed:
            try:
                found.append(custody.open_signed(domain[kind.__name__], each, kind, self.actor.key.public))
            except CareMeshError:
                continue
        return found


class Keepers(World):
    """The world, and its three custodians at work. ``now`` is block time and, but for ``clock_off_s``, everyone's."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.clock_off_s: Seconds = 0
        self.forgotten = 0
        """Events below this height have gone."""
        self.keepers = [
            Keeper(self, actor, Vault(folder / f"vault{number}", bytes(32)), ReleaseLog(folder / f"log{number}"))
            for number, actor in enumerate(self.custodians)
        ]
        self.folder = folder
        self.sealed: list[SealedSegment] = []

    @property
    def keeper(self) -> Keeper:
        return self.keepers[0]

    def close(self) -> None:
        for keeper in self.keepers:
            keeper.log.close()

    def meet(self) -> None:
        """The custodians know each other."""
        for keeper in self.keepers:
            keeper.meet({other.did: other for other in self.keepers})

    def restarted(self, number: int = 0) -> Keeper:
        """A custodian that finds what its vault holds; time has gone on."""
        old = self.keepers[number]
        self.keepers[number] = Keeper(self, old.actor, Vault(self.folder / f"vault{number}", bytes(32)), old.log)
        return self.keepers[number]

    # --- segments and their seals -----------------------------------------------------------------------

    def seal(self, data: bytes = b"{}", **changes: Any) -> SealedSegment:
        """A segment of the stream, sealed by the hospital; neither deposited nor registered."""
        record = RecordToSeal(resource_type="Condition", id=f"c{len(self.sealed)}", data=data)
        given: dict[str, Any] = {"stream": self.stream, "source": str(self.hospital.did)} | changes
        return seal_segment(given["stream"], given["source"], self.reading.public, [record])

    def seal_deposit(self, sealed: SealedSegment, **changes: Any) -> SealDeposit:
        permit = self.permit()
        given: dict[str, Any] = {
            "stream": self.stream,
            "source": str(self.hospital.did),
            "descriptor": sealed.descriptor,
            "seal": sealed.seal,
            "permit": permit.permit,
            "permit_signature": permit.signature,
        }
        return SealDeposit(**given | changes)

    def signed_seal(self, deposit: SealDeposit, key: SigningKey | None = None) -> bytes:
        return codec.encode(custody.sign_payload(custody.SEAL_DEPOSIT, deposit, key or self.hospital.key))

    def put_seal(self, sealed: SealedSegment) -> None:
        """Every custodian takes it."""
        for keeper in self.keepers:
            keeper.deposit_seal(self.signed_seal(self.seal_deposit(sealed)))

    def registered(self, sealed: SealedSegment) -> SealedSegment:
        """It is on the ledger."""
        self.must(
            self.register(
                descriptor=sealed.descriptor_cid,
                seal=sealed.seal_hash,
                size_class=sealed.size_class,
                permit=self.permit(),
            ),
            self.hospital,
        )
        self.sealed.append(sealed)
        return sealed

    def add(self, data: bytes = b"{}") -> SealedSegment:
        """A segment that every custodian has the seal of, and that is on the ledger."""
        sealed = self.seal(data)
        self.put_seal(sealed)
        return self.registered(sealed)

    # --- consents and their fragments -------------------------------------------------------------------

    def fragments(self, consent: ConsentId, epoch: int = 0) -> dict[Did, FragmentDeposit]:
        """What the wallet deposits for a consent, by custodian."""
        verifying, fragments = make_fragments(self.reading, self.receiving.public, 2, 3)
        return {
            str(actor.did): FragmentDeposit(
                consent=consent,
                stream=self.stream,
                epoch=epoch,
                custodian=str(actor.did),
                fragment=fragment,
                delegating=self.reading.public,
                receiving=self.receiving.public,
                verifying=verifying,
            )
            for actor, fragment in zip(self.custodians, fragments, strict=True)
        }

    def sealed_fragment(self, deposit: FragmentDeposit, key: SigningKey | None = None, to: Did = "") -> bytes:
        signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, deposit, key or self.stream_key.key)
        return custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, HPKE_PUBLIC, to or deposit.custodian, signed)

    def put_fragments(self, deposits: Mapping[Did, FragmentDeposit]) -> None:
        for keeper in self.keepers:
            keeper.deposit_fragment(self.sealed_fragment(deposits[keeper.did]))

    @staticmethod
    def commitments(deposits: Mapping[Did, FragmentDeposit]) -> list[FragmentCommitment]:
        return [
            FragmentCommitment(
                custodian=did, commitment=consents.fragment_commitment(made.consent, did, made.epoch, made.fragment)
            )
            for did, made in deposits.items()
        ]

    def share(self, **changes: Any) -> Consent:
        """A consent with its fragments in place."""
        message = self.grant(**changes)
        consent = consents.consent_id(self.stream, message.salt)
        deposits = self.fragments(consent)
        self.put_fragments(deposits)
        self.salts -= 1
        verifying = next(iter(deposits.values())).verifying
        granted = self.granted(fragments=self.commitments(deposits), verifying_key=verifying, **changes)
        assert granted == consent
        return self.consent(granted)

    def consent(self, identity: ConsentId) -> Consent:
        found = consents.consent(self.view, identity)
        assert found is not None
        return found

    def receipt(self, consent: Consent, **changes: Any) -> Receipt:
        """The doctor asks and is permitted."""
        assert self.asked(consent.id, **changes) == ("", "")
        found = access.of_consent(self.view, consent.id)[-1]
        assert isinstance(found, Receipt)
        return found

    # --- requests -----------------------------------------------------------------------------------------

    def ask_release(self, receipt: Receipt, /, key: SigningKey | None = None, **changes: Any) -> bytes:
        given: dict[str, Any] = {
            "receipt": receipt.id,
            "stream": receipt.stream,
            "descriptors": [sealed.descriptor_cid for sealed in self.sealed],
            "custodian": self.keeper.did,
            "nonce": os.urandom(16),
            "at": self.now,
        }
        request = ReleaseRequest(**given | changes)
        return codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, key or self.doctor.key))

    def stream_request(self, domain: str, key: SigningKey | None = None, **changes: Any) -> bytes:
        given: dict[str, Any] = {
            "stream": self.stream, "custodian": self.keeper.did, "nonce": os.urandom(16), "at": self.now,
        }  # fmt: skip
        asked = StreamRequest(**given | changes)
        return codec.encode(custody.sign_payload(domain, asked, key or self.stream_key.key))

    def reseal_deposit(self, descriptor: bytes, seal: Any, **changes: Any) -> ResealDeposit:
        given: dict[str, Any] = {
            "stream": self.stream, "custodian": self.keeper.did, "descriptor": descriptor, "seal": seal,
        }  # fmt: skip
        return ResealDeposit(**given | changes)

    def sealed_reseal(self, deposit: ResealDeposit, key: SigningKey | None = None) -> bytes:
        signed = custody.sign_payload(custody.RESEAL_DEPOSIT, deposit, key or self.stream_key.key)
        return custody.seal_to_custodian(custody.RESEAL_DEPOSIT, HPKE_PUBLIC, deposit.custodian, signed)


def refusal(attempt: Callable[[], object]) -> tuple[str, str]:
    """The code and the place with which something is refused."""
    with pytest.raises(CareMeshError) as caught:
        attempt()
    assert isinstance(caught.value.place, str)
    return caught.value.code, caught.value.place


def said(domain: str, data: bytes, kind: type[T], keeper: Keeper) -> T:
    """What a custodian signed."""
    return custody.open_signed(domain, custody.read_signed(data), kind, keeper.actor.key.public)


def names(keeper: Keeper, prefix: str) -> list[str]:
    return keeper.vault.names(prefix)
