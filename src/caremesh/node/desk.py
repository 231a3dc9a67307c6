"""The way to a member's desk (``node/at_desk.py``) from its machine: over the socket in the node's home.

Whoever can enter the folder of the socket is the node's own account: that is the authentication. The FHIR server and
the portal take its place for people who sit elsewhere. Nothing of this is offered on the network.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

import httpx
from msgspec import Struct

from caremesh import codec
from caremesh.api.handover import CALLER, spell
from caremesh.api.routes import MIB, Caller
from caremesh.client import wire
from caremesh.client.errors import CUT_SHORT
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.members.messages import Appoint
from caremesh.errors import Unavailable
from caremesh.fhir.directory import DirectoryEntry
from caremesh.gateway.gather import Fault
from caremesh.gateway.opening import Opened, Part
from caremesh.node.decisions import Decision, Proposal
from caremesh.node.errors import NO_NODE
from caremesh.sealing.channel import SharedStream
from caremesh.sealing.custody import Signed
from caremesh.sealing.evidence import Claim
from caremesh.sealing.invitation import Invitation
from caremesh.sealing.segment import OpenedRecord
from caremesh.source.importer import ImportReport, NotImported
from caremesh.source.invitations import LIFE_S, Invited
from caremesh.types import DAY_S, Code, Count, Did, Height, Multikey, Seconds

PREFIX: Final = "/desk/v1"
MAX_FILE_BYTES: Final = 256 * MIB
NOBODY: Final = Caller("anyone", "")
_ANSWER_S: Final = 300.0
A = TypeVar("A")
T = TypeVar("T")


class Where(Struct, frozen=True):
    """Where this node's copy of the ledger stands, how much it has let go of, and its blocks: which were found damaged,
    and whether it looks at any just now.
    """

    height: Height
    app_hash: bytes
    confirmations: Count
    damaged: list[str]
    checking: bool


class Sought(Struct, frozen=True):
    """What is looked for, of what is shared with this member, or in one share."""

    category: Code
    share: bytes | None


class Question(Struct, frozen=True):
    """What the practitioner of this member asks for, of what is shared with it, or in one share."""

    category: Code
    purpose: Code
    legal_basis: list[Code]
    share: bytes | None


class Wanted(Struct, frozen=True):
    """What a person is asked for beyond what they shared. ``text``: why; ``share``: by which they are known."""

    categories: list[Code]
    purposes: list[Code]
    days: Count
    text: str
    share: bytes | None


class Retraction(Struct, frozen=True):
    """A segment that was entered in error, or is erased under a legal duty. ``patient``: the member's own id."""

    patient: str
    category: Code
    segment: Count
    duty: Code | None


class Said(Struct, frozen=True):
    """An error, and whose it is."""

    problem: bytes
    member: Did | None = None
    claim: Claim | None = None


class Named(Struct, frozen=True):
    """What records name that came under these receipts: references as they stand in the records."""

    receipts: list[Receipt]
    references: list[str]


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


class Ask(NamedTuple, Generic[A, T]):
    """One thing that can be asked for at a desk: its name, what with, and what is answered. ``bytes``: as they are."""

    name: str
    summary: str
    asked: type[A]
    answer: type[T]
    max_bytes: Count = MIB


class Imported(Struct, frozen=True):
    """What came of a file; not ``whole``: nothing was imported, since something in it was refused."""

    report: ImportReport
    whole: bool


WHERE: Final = Ask("where", "Where this node stands", bytes, Where)
IMPORT: Final = Ask("import", "Import a bundle or a resource of FHIR", bytes, Imported, MAX_FILE_BYTES)
IMPORT_LINES: Final = Ask("import-lines", "Import NDJSON of FHIR", bytes, Imported, MAX_FILE_BYTES)
CORRECT: Final = Ask("correct", "Put a corrected record in the place of its earlier version", bytes, int)
RETRACT: Final = Ask("retract", "Say that a segment was entered in error, or erase it", Retraction, type(None))
INVITE: Final = Ask("invite", "Invite a patient", Invite, Invitation)
INVITATIONS: Final = Ask("invitations", "What became of invitations", str, list[Invited])
END_INVITATION: Final = Ask("end-invitation", "Let an invitation count no more", bytes, Invited)
INQUIRE: Final = Ask("inquire", "Ask a person for more than they shared", Wanted, list[bytes])
SHARED: Final = Ask("shared", "What is shared with this member in a category", Sought, SharedStream)
ASK: Final = Ask("ask", "Ask for access", Question, Receipt)
OPEN: Final = Ask("open", "Open what a receipt is for", Receipt, OpenedAnswer)
DIRECTORY: Final = Ask(
    "directory", "Hospitals and practitioners that records name", Named, list[DirectoryEntry], 16 * MIB
)
VISIT: Final = Ask("visit", "Open all that a patient shares for a purpose, and let go of it", Visit, Visited)
EVIDENCE: Final = Ask("evidence", "Files that show what custodians did", list[Claim], list[bytes])
NAMES: Final = Ask("names", "What people call the members", bytes, dict[Did, str])
APPOINT: Final = Ask("appoint", "Register and appoint the practitioner of this home", Appoint, type(None))
ROTATE: Final = Ask("rotate-key", "Change the key that grants are made to", bytes, str)
ROTATE_VALIDATOR: Final = Ask("rotate-validator-key", "Change the key that blocks are signed with", bytes, str)
LEAVE: Final = Ask("leave", "Leave the network for good", bytes, str)
PROPOSE: Final = Ask("propose", "Draw up a decision for the authorities", Proposal, Decision)
DECISION: Final = Ask("decision", "Look at a decision, and put copies of it together", list[bytes], Decision, 16 * MIB)
SIGN: Final = Ask("sign", "Sign a decision as this member", bytes, Decision)
SUBMIT: Final = Ask("submit", "Hand a decision that is signed to the ledger", list[bytes], Decision, 16 * MIB)


class Desk:
    """A node's desk, from another process of this machine: see ``MemberDesk``. Any thread; close it."""

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
        return self._call(WHERE, b"")

    def import_file(self, data: bytes, *, lines: bool = False) -> ImportReport:
        """See ``MemberDesk``, as for all of these."""
        done = self._call(IMPORT_LINES if lines else IMPORT, data)
        if not done.whole:
            raise NotImported(done.report)
        return done.report

    def correct(self, data: bytes) -> Count:
        """See ``MemberDesk``."""
        return self._call(CORRECT, data)

    def retract(self, patient: str, category: Code, segment: Count, duty: Code | None = None) -> None:
        """See ``MemberDesk``."""
        self._call(RETRACT, Retraction(patient, category, segment, duty))

    def invite(self, patient: str, life_s: Seconds = LIFE_S, *, again: bool = False) -> Invitation:
        """See ``MemberDesk``."""
        return self._call(INVITE, Invite(patient, again, life_s))

    def invitations(self, patient: str = "") -> list[Invited]:
        """See ``MemberDesk``."""
        return self._call(INVITATIONS, patient)

    def end_invitation(self, identity: bytes) -> Invited:
        """See ``MemberDesk``."""
        return self._call(END_INVITATION, identity)

    def inquire(
        self, categories: Sequence[Code], purposes: Sequence[Code], days: Count, text: str, share: bytes | None = None
    ) -> list[bytes]:
        """See ``MemberDesk``."""
        return self._call(INQUIRE, Wanted(list(categories), list(purposes), days, text, share))

    def shared(self, category: Code, share: bytes | None = None) -> SharedStream:
        """See ``MemberDesk``."""
        return self._call(SHARED, Sought(category, share))

    def ask(self, category: Code, purpose: Code, legal_basis: Sequence[Code], share: bytes | None = None) -> Receipt:
        """See ``MemberDesk``."""
        return self._call(ASK, Question(category, purpose, list(legal_basis), share))

    def open(self, receipt: Receipt) -> Opened:
        """See ``MemberDesk``."""
        said = self._call(OPEN, receipt)
        return Opened(
            parts=[Part(part.segment, part.records) for part in said.parts],
            released_by=said.released_by,
            faults=[Fault(each.member or "", wire.error_of(each.problem), each.claim) for each in said.faults],
            slow=said.slow,
            damaged=[wire.error_of(each.problem) for each in said.damaged],
            signed=said.signed,
        )

    def visit(self, patient: Multikey, purpose: Code, legal_basis: Sequence[Code]) -> Visited:
        """See ``MemberDesk``."""
        return self._call(VISIT, Visit(patient, purpose, list(legal_basis)))

    def directory(self, receipts: Sequence[Receipt], references: Sequence[str]) -> list[DirectoryEntry]:
        """See ``MemberDesk``."""
        return self._call(DIRECTORY, Named(list(receipts), list(references)))

    def evidence(self, claims: Sequence[Claim]) -> list[bytes]:
        """See ``MemberDesk``."""
        return self._call(EVIDENCE, list(claims))

    def names(self) -> dict[Did, str]:
        """See ``MemberDesk``."""
        return self._call(NAMES, b"")

    def appoint(self, practitioner: Did, roles: list[Code], licensed_until: Seconds) -> None:
        """See ``MemberDesk``."""
        until = licensed_until // DAY_S * DAY_S
        self._call(APPOINT, Appoint(practitioner=practitioner, roles=roles, licensed_until=until))

    def rotate_key(self) -> str:
        """See ``MemberDesk``."""
        return self._call(ROTATE, b"")

    def rotate_validator_key(self) -> str:
        """See ``MemberDesk``."""
        return self._call(ROTATE_VALIDATOR, b"")

    def leave_network(self) -> str:
        """See ``MemberDesk``."""
        return self._call(LEAVE, b"")

    def propose(self, proposal: Proposal) -> Decision:
        """See ``MemberDesk``."""
        return self._call(PROPOSE, proposal)

    def decision(self, copies: Sequence[bytes]) -> Decision:
        """See ``MemberDesk``."""
        return self._call(DECISION, list(copies))

    def sign_decision(self, file: bytes) -> Decision:
        """See ``MemberDesk``."""
        return self._call(SIGN, file)

    def submit_decision(self, copies: Sequence[bytes]) -> Decision:
        """See ``MemberDesk``."""
        return self._call(SUBMIT, list(copies))

    def _call(self, ask: Ask[A, T], given: A) -> T:
        self._knock()
        body = given if isinstance(given, bytes) else codec.encode(given)
        try:
            answer = self._http.post(f"{PREFIX}/{ask.name}", content=body, headers={CALLER: spell(NOBODY)})
        except (httpx.RemoteProtocolError, httpx.ReadError) as error:  # it was there, and ended
            raise Unavailable(CUT_SHORT) from error
        except httpx.TransportError as error:
            raise Unavailable(NO_NODE) from error
        if answer.status_code >= 400:
            raise wire.refused(answer.content, answer.status_code)
        return codec.decode_as(answer.content, ask.answer)

    def _knock(self) -> None:
        """Whether somebody is there. The library leaves a socket open when nobody is."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
                knock.connect(str(self._path))
        except OSError as error:
            raise Unavailable(NO_NODE) from error
