"""What a member's own people do at their node, over the socket in its home: import, enrol, ask, open.

Whoever can enter the folder of the socket is the node's own account: that is the authentication. The FHIR server and
the portal take its place for people who sit elsewhere. Nothing of this is offered on the network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import httpx
import msgspec
from msgspec import Struct

from caremesh import codec
from caremesh.api.handover import CALLER, spell
from caremesh.api.routes import ANYONE, MIB, Answer, Call, Caller, Route
from caremesh.api.threads import in_threads
from caremesh.client import wire
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members.messages import Appoint
from caremesh.errors import CareMeshError, ErrorCode, Refused, Unavailable
from caremesh.gateway.ask import Asked, Requester
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import Fault
from caremesh.gateway.holding import HeldRecord
from caremesh.gateway.opening import Opened, Part
from caremesh.gateway.visit import Purpose
from caremesh.ledger.transactions import Message
from caremesh.node.errors import NO_NODE
from caremesh.node.node import Node
from caremesh.node.relay import signed_tx
from caremesh.sealing.channel import SharedStream
from caremesh.sealing.custody import Signed
from caremesh.sealing.evidence import Claim
from caremesh.sealing.invitation import Invitation, network_digest
from caremesh.sealing.segment import OpenedRecord
from caremesh.source.importer import ImportReport
from caremesh.source.invitations import LIFE_S, Invited
from caremesh.types import DAY_S, Code, Count, Did, Height, Multikey, Seconds

PREFIX: Final = "/desk/v1"
MAX_FILE_BYTES: Final = 256 * MIB
NOBODY: Final = Caller("anyone", "")
_ANSWER_S: Final = 300.0
T = TypeVar("T")


class Where(Struct, frozen=True):
    """Where this node's copy of the ledger stands, how much it has let go of, and which of its blocks are damaged."""

    height: Height
    app_hash: bytes
    confirmations: Count
    damaged: list[str]


class Question(Struct, frozen=True):
    """What the practitioner of this member asks for, of what is shared with it."""

    category: Code
    purpose: Code
    legal_basis: list[Code]


class Said(Struct, frozen=True):
    """An error, and whose it is."""

    problem: bytes
    member: Did | None = None
    claim: Claim | None = None


class OpenedPart(Struct, frozen=True):
    """The records of one segment."""

    segment: Count
    records: list[OpenedRecord]


class OpenedAnswer(Struct, frozen=True):
    """``Opened`` as it travels."""

    parts: list[OpenedPart]
    released_by: list[Did]
    faults: list[Said]
    slow: list[Did]
    damaged: list[Said]
    signed: list[Signed]


class Visit(Struct, frozen=True):
    """What the practitioner of this member opens with one click. ``patient``: the channel key of their shares."""

    patient: Multikey
    purpose: Code
    legal_basis: list[Code]


class Visited(Struct, frozen=True):
    """All records by category, and what of it was refused or did not open."""

    records: dict[Code, list[OpenedRecord]]
    ended: list[Said]


class Invite(Struct, frozen=True):
    """Whom to invite, by the member's own id; ``again``: whatever wallet they had before."""

    patient: str
    again: bool
    life_s: Seconds


def routes(node: Node) -> list[Route]:
    """The desk of a node."""
    run = in_threads(16)

    def route(name: str, summary: str, work: Callable[[bytes], object], max_bytes: int = MIB) -> Route:
        async def handle(call: Call) -> Answer:
            return Answer(codec.encode(await run(lambda: work(call.body))))

        return Route(
            name=f"desk.{name}",
            method="POST",
            path=f"{PREFIX}/{name}",
            summary=summary,
            handler=handle,
            callers=ANYONE,
            max_bytes=max_bytes,
        )

    desk = _Desk(node)
    return [
        route("where", "Where this node stands", desk.where),
        route("import", "Import a file of FHIR", desk.import_file, MAX_FILE_BYTES),
        route("invite", "Invite a patient", desk.invite),
        route("invitations", "What became of invitations", desk.invitations),
        route("end-invitation", "Let an invitation count no more", desk.end_invitation),
        route("appoint", "Register and appoint the practitioner of this home", desk.appoint),
        route("shared", "What is shared with this member in a category", desk.shared),
        route("ask", "Ask for access", desk.ask),
        route("open", "Open what a receipt is for", desk.open),
        route("visit", "Open all that a patient shares for a purpose, and let go of it", desk.visit),
    ]


class _Desk:
    def __init__(self, node: Node) -> None:
        self._node: Final = node

    def where(self, _: bytes) -> Where:
        now = self._node.status()
        damaged = sorted(cid.encode() for cid in self._node.damaged)
        return Where(now.height, now.app_hash, self._node.member.confirmed, damaged)

    def import_file(self, data: bytes) -> ImportReport:
        return self._node.member.source(self._node.ways).import_bundle(data)

    def invite(self, data: bytes) -> Invitation:
        asked, node = codec.decode_as(data, Invite), self._node
        made, code = node.member.invitations.invite(asked.patient, asked.life_s, again=asked.again)
        return Invitation(
            node=node.endpoint,
            member=node.home.did,
            network=network_digest(codec.encode(node.founding)),
            id=made.id,
            code=code,
        )

    def invitations(self, data: bytes) -> list[Invited]:
        return self._node.member.invitations.listed(codec.decode_as(data, str))

    def end_invitation(self, data: bytes) -> Invited:
        return self._node.member.invitations.end(data)

    def appoint(self, data: bytes) -> None:
        node, said = self._node, codec.decode_as(data, Appoint)
        doctor, member = node.home.practitioner(node.home.chain), node.home.requester
        register = Register(did=doctor.did, key=doctor.key.public, kind="practitioner")
        steps: Sequence[tuple[list[Requester], Message]] = (([doctor, member], register), ([member], said))
        for signers, message in steps:
            done = node.submit(signed_tx(node.home.chain, node.clock(), signers, message))
            if done.code:
                raise Refused(ErrorCode(done.code, done.result.sentence), done.result.place)

    def shared(self, data: bytes) -> SharedStream:
        return self._gateway().shared(codec.decode_as(data, str))

    def ask(self, data: bytes) -> Receipt:
        said = codec.decode_as(data, Question)
        gateway = self._gateway()
        consent = gateway.shared(said.category).consent
        return gateway.ask(Asked(consent, "read", said.purpose, said.legal_basis), self._practitioner())

    def open(self, data: bytes) -> OpenedAnswer:
        opened = self._gateway().open(codec.decode_as(data, Receipt), self._practitioner())
        return OpenedAnswer(
            parts=[OpenedPart(part.segment, part.records) for part in opened.parts],
            released_by=opened.released_by,
            faults=[Said(_spell(fault.error), fault.custodian, fault.claim) for fault in opened.faults],
            slow=opened.slow,
            damaged=[Said(_spell(error)) for error in opened.damaged],
            signed=opened.signed,
        )

    def visit(self, data: bytes) -> Visited:
        said, gateway = codec.decode_as(data, Visit), self._gateway()
        with gateway.visit(said.patient, Purpose(said.purpose, said.legal_basis), self._practitioner()) as visit:
            visit.open()
            categories = dict.fromkeys(grounds.category for grounds in visit.grounds)
            return Visited(
                records={category: list(map(_copy, visit.records(category))) for category in categories},
                ended=[Said(_spell(each.error)) for each in visit.ended],
            )

    def _gateway(self) -> Gateway:
        return self._node.member.gateway(self._node.ways, patience_s=self._node.settings.hedge_after_s)

    def _practitioner(self) -> Requester:
        return self._node.home.practitioner(self._node.home.chain)


class Desk:
    """A node's desk, from another process of this machine. Any thread; close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://node", timeout=_ANSWER_S, trust_env=False
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def where(self) -> Where:
        """Where the node stands. Raises Unavailable node.21 when it does not run."""
        return self._call("where", b"", Where)

    def import_file(self, data: bytes) -> ImportReport:
        """See ``Source.import_bundle``."""
        return self._call("import", data, ImportReport)

    def invite(self, patient: str, life_s: Seconds = LIFE_S, *, again: bool = False) -> Invitation:
        """See ``Invitations.invite``."""
        return self._call("invite", codec.encode(Invite(patient, again, life_s)), Invitation)

    def invitations(self, patient: str = "") -> list[Invited]:
        """See ``Invitations.listed``."""
        return self._call("invitations", codec.encode(patient), list[Invited])

    def end_invitation(self, identity: bytes) -> Invited:
        """See ``Invitations.end``."""
        return self._call("end-invitation", identity, Invited)

    def appoint(self, practitioner: Did, roles: list[Code], licensed_until: Seconds) -> None:
        """The practitioner whose key is in the node's home. Raises Refused with the ledger's code."""
        until = licensed_until // DAY_S * DAY_S
        said = Appoint(practitioner=practitioner, roles=roles, licensed_until=until)
        self._call("appoint", codec.encode(said), type(None))

    def shared(self, category: Code) -> SharedStream:
        """See ``Gateway.shared``."""
        return self._call("shared", codec.encode(category), SharedStream)

    def ask(self, category: Code, purpose: Code, legal_basis: Sequence[Code]) -> Receipt:
        """See ``Gateway.ask``."""
        return self._call("ask", codec.encode(Question(category, purpose, list(legal_basis))), Receipt)

    def open(self, receipt: Receipt) -> Opened:
        """See ``Gateway.open``."""
        said = self._call("open", codec.encode(receipt), OpenedAnswer)
        return Opened(
            parts=[Part(part.segment, part.records) for part in said.parts],
            released_by=said.released_by,
            faults=[Fault(each.member or "", wire.error_of(each.problem), each.claim) for each in said.faults],
            slow=said.slow,
            damaged=[wire.error_of(each.problem) for each in said.damaged],
            signed=said.signed,
        )

    def visit(self, patient: Multikey, purpose: Code, legal_basis: Sequence[Code]) -> Visited:
        """See ``Gateway.visit``: opened, copied, left."""
        return self._call("visit", codec.encode(Visit(patient, purpose, list(legal_basis))), Visited)

    def _call(self, name: str, body: bytes, kind: type[T]) -> T:
        self._knock()
        try:
            answer = self._http.post(f"{PREFIX}/{name}", content=body, headers={CALLER: spell(NOBODY)})
        except httpx.TransportError as error:
            raise Unavailable(NO_NODE) from error
        if answer.status_code >= 400:
            raise wire.error_of(answer.content)
        return codec.decode_as(answer.content, kind)

    def _knock(self) -> None:
        """Whether somebody is there. The library leaves a socket open when nobody is."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                knock.connect(str(self._path))
        except OSError as error:
            raise Unavailable(NO_NODE) from error


def _copy(record: HeldRecord) -> OpenedRecord:
    names = (record.media_type, record.resource_type, record.id, record.version, record.last_updated)
    return OpenedRecord(0, *names, bytes(record.data))


def _spell(error: CareMeshError) -> bytes:
    return msgspec.json.encode(wire.problem_of(error, 400))
