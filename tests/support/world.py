"""A ledger state with founders, in memory, to try single messages on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts import Contracts, Genesis
from caremesh.contracts.access.messages import Request
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import FragmentCommitment, Grant, Scope
from caremesh.contracts.identity.messages import Register as RegisterIdentity
from caremesh.contracts.members.messages import Admit, Appoint, Keys
from caremesh.contracts.network.messages import Authorities, Params
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.records.messages import Register
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.crypto.signatures import did_of, stream_of
from caremesh.errors import Refused
from caremesh.ledger.application import Context, Event
from caremesh.ledger.state import View
from caremesh.ledger.transactions import Message, Signer
from caremesh.types import DAY_S, SignedPermit

CHAIN = "test"
NOW = 20_000 * DAY_S + 1_000
BASIS = ["HIPAA:164.506.c.2"]


class _Nothing:
    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there is nothing
        return None


class Actor:
    """Someone with a key; with a DID unless it is a stream."""

    def __init__(self, name: str, *, stream: bool = False) -> None:
        self.key = SigningKey.from_seed(name.encode().ljust(32, b"."))
        self.did = None if stream else did_of(CHAIN, self.key.public)
        self.signer = Signer(key=self.key.public, did=self.did)


class World:
    """Five founders, a doctor at the practice, a stream with one segment. ``do`` carries out one message."""

    def __init__(self) -> None:
        self.app = Contracts()
        self.hospital, self.practice = Actor("hospital"), Actor("practice")
        self.custodians = sorted((Actor(f"custodian {n}") for n in range(3)), key=lambda actor: str(actor.did))
        self.doctor, self.stream_key = Actor("doctor"), Actor("stream", stream=True)
        self.stream = stream_of(self.stream_key.key.public)
        self.reading, self.receiving = ReadingKey.from_secret(b"r" * 32), ReadingKey.from_secret(b"p" * 32)
        self.height, self.now, self.count = 1, NOW, 0
        self.events: list[Event] = []
        self.refusal: Refused | None = None
        self.salts = 0
        self.view = View(_Nothing())
        self.app.genesis(self.view, codec.encode(self.genesis()))
        self.must(
            RegisterIdentity(did=str(self.doctor.did), key=self.doctor.key.public, kind="practitioner"),
            self.doctor,
            self.practice,
        )
        self.must(
            Appoint(practitioner=str(self.doctor.did), roles=["physician"], licensed_until=20_400 * DAY_S),
            self.practice,
        )

    def genesis(self, **changes: Any) -> Genesis:
        roles = [["provider"], ["provider"], *[["custodian", "regulator"]] * 3]
        founders = [self.hospital, self.practice, *self.custodians]
        given: dict[str, Any] = {
            "chain": CHAIN,
            "time": NOW,
            "params": Params(),
            "authorities": Authorities([str(actor.did) for actor in self.custodians], 2),
            "members": [self.admission(actor, role) for actor, role in zip(founders, roles, strict=True)],
            "regulations": shipped("hipaa", "house", "iso22600"),
        }
        return Genesis(**given | changes)

    def admission(self, actor: Actor, roles: list[str], **changes: Any) -> Admit:
        given: dict[str, Any] = {
            "member": str(actor.did),
            "key": actor.key.public,
            "name": "A member",
            "roles": roles,
            "jurisdiction": "US",
            "keys": Keys(actor.key.public, hpke_from_seed(bytes(32))[1], self.receiving.public),
            "endpoints": [],
        }
        return Admit(**given | changes)

    def do(self, message: Message, *signers: Actor, alone: bool = True) -> str:
        """The code of the refusal, or "" when it took effect; a refusal changes nothing."""
        self.count += 1
        mark = self.view.checkpoint()
        ctx = Context(
            chain=CHAIN,
            height=self.height,
            time=self.now,
            tx_id=self.count.to_bytes(36),
            signers=[actor.signer for actor in signers],
            sponsor=str(signers[-1].did),
            alone=alone,
            state=self.view,
            events=self.events,
        )
        try:
            self.app.sponsor(self.view, signers[-1].signer)
            self.app.handle(ctx, message)
        except Refused as error:
            self.view.rollback(mark)
            self.refusal = error
            return error.code
        self.height += 1
        return ""

    def must(self, message: Message, *signers: Actor) -> None:
        assert self.do(message, *signers) == "", self.refusal

    # --- messages of the main job, each with something changed if need be -----------------------------

    def permit(self, key: Actor | None = None, /, **changes: Any) -> SignedPermit:
        given: dict[str, Any] = {
            "chain": CHAIN,
            "stream": self.stream,
            "key": self.stream_key.key.public,
            "rotation": 0,
            "source": str(self.hospital.did),
            "epoch": 0,
            "reading_key": self.reading.public,
            "custodians": [str(actor.did) for actor in self.custodians],
            "threshold": 2,
            "serial": 1,
            "until": 20_300 * DAY_S,
            "max_segments": 4,
        }
        data = codec.encode(Permit(**given | changes))
        return SignedPermit(permit=data, signature=(key or self.stream_key).key.sign(PERMIT_DOMAIN + data))

    def register(self, number: int = 0, **changes: Any) -> Register:
        given: dict[str, Any] = {
            "stream": self.stream,
            "descriptor": CID.cidv1_dag_cbor_sha256_32_from(b"descriptor %d" % number),
            "seal": bytes([number]) * 32,
            "size_class": 12,
            "permit": self.permit(),
        }
        return Register(**given | changes)

    def grant(self, **changes: Any) -> Grant:
        self.salts += 1
        day = NOW // DAY_S * DAY_S
        given: dict[str, Any] = {
            "stream": self.stream,
            "grantee": str(self.practice.did),
            "scope": Scope(kind="future"),
            "actions": ["read"],
            "purposes": ["TREAT"],
            "from_": day,
            "until": day + 30 * DAY_S,
            "epoch": 0,
            "receiving_key": self.receiving.public,
            "verifying_key": self.reading.public,
            "fragments": [
                FragmentCommitment(custodian=str(actor.did), commitment=bytes(32)) for actor in self.custodians
            ],
            "explicit": True,
            "salt": self.salts.to_bytes(16),
            "permit": self.permit(),
        }
        return Grant(**given | changes)

    def appointed(self, name: str, *roles: str, member: Actor | None = None) -> Actor:
        """Someone who acts for the practice, or for another member, in these roles."""
        person, by = Actor(name), member or self.practice
        self.must(RegisterIdentity(did=str(person.did), key=person.key.public, kind="practitioner"), person, by)
        self.must(Appoint(practitioner=str(person.did), roles=list(roles), licensed_until=20_400 * DAY_S), by)
        return person

    def told(self, kind: str) -> dict[str, Any]:
        """What the last event says; it is of this type."""
        event = self.events[-1]
        assert event.type == kind
        return dict(event.attributes)

    def granted(self, **changes: Any) -> bytes:
        """A consent that is on the ledger."""
        message = self.grant(**changes)
        self.must(message, self.stream_key, self.practice)
        return consents.consent_id(self.stream, message.salt)

    def request(self, consent: bytes, **changes: Any) -> Request:
        given: dict[str, Any] = {
            "consent": consent,
            "action": "read",
            "purpose": "TREAT",
            "legal_basis": BASIS,
            "segments": [],
            "reason": bytes(32),
            "requester": str(self.doctor.did),
            "asserted": False,
        }
        return Request(**given | changes)

    def asked(self, consent: bytes, signers: Sequence[Actor] = (), **changes: Any) -> tuple[str, str]:
        """(refusal code, reason of denial), both empty for a receipt."""
        code = self.do(self.request(consent, **changes), *(signers or (self.doctor, self.practice)))
        event = self.events[-1]
        why = event.attributes["why"] if not code and event.type == "access/denied" else ""
        return code, why
