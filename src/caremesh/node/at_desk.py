"""What a member's own people do: import and correct, invite, ask for access, open, ask a person, change the key.

The same at a node (``node/desk.py`` is the way there from its machine) and for a member of a mesh in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.consensus.refusals import refusal
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Appoint
from caremesh.contracts.members.messages import Leave as LeaveNetwork
from caremesh.contracts.network.errors import CONVERTED
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused
from caremesh.fhir.directory import DirectoryEntry
from caremesh.gateway.ask import Asked, Requester
from caremesh.gateway.errors import NO_SHARE
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import PATIENCE_S
from caremesh.gateway.holding import HeldRecord
from caremesh.gateway.inquiring import Wish, inquire
from caremesh.gateway.opening import Opened
from caremesh.gateway.visit import Purpose
from caremesh.ledger.succession import chain_of
from caremesh.ledger.transactions import Message
from caremesh.node import decisions, evidence
from caremesh.node.decisions import Decision, Proposal, Sight
from caremesh.node.erasures import Proves
from caremesh.node.errors import NO_VALIDATOR
from caremesh.node.founding import Founding
from caremesh.node.proposals import ToConvert
from caremesh.node.relay import signed_tx
from caremesh.node.rotating import rotate_receiving_key, rotate_validator_key
from caremesh.node.running import Member
from caremesh.node.serving_wallets import Leave, tell
from caremesh.node.ways import Ways
from caremesh.sealing.channel import SharedStream
from caremesh.sealing.evidence import Claim
from caremesh.sealing.invitation import Invitation, network_digest
from caremesh.sealing.segment import OpenedRecord
from caremesh.source.importer import ImportReport, Source
from caremesh.source.invitations import LIFE_S, Invited
from caremesh.source.survey import Check, valid_r4
from caremesh.types import DAY_S, Code, Count, Did, Height, Multikey, Seconds
from caremesh.wallet.templates import period

ANSWER_WITHIN_DAYS: Final = 30
"""How long a person may take to answer."""


class MemberDesk:
    """Of one member. Any thread may call."""

    def __init__(
        self,
        member: Member,
        ways: Ways,
        *,
        founding: Founding,
        submit: Callable[[bytes], Committed],
        proves: Proves,
        leave: Leave,
        endpoint: Callable[[], str],
        patience_s: float = PATIENCE_S,
        check: Callable[[], Check] = lambda: valid_r4,
        sign_with: Callable[[SigningKey, Height | None], None] | None = None,
    ) -> None:
        """``endpoint``: where wallets reach this member; ``patience_s``: see ``Gateway``; ``check``: the validation of
        what is imported now; ``sign_with``: see ``rotate_validator_key``, where this member's CometBFT is here.
        """
        self._member: Final = member
        self._home: Final = member.home
        self._ways: Final = ways
        self._founding: Final = founding
        self._submit: Final = submit
        self._proves: Final = proves
        self._leave: Final = leave
        self._endpoint: Final = endpoint
        self._patience_s: Final = patience_s
        self._check: Final = check
        self._sign_with: Final = sign_with
        self._directories: Final = member.directories(ways)

    # --- records ---------------------------------------------------------------------------------------

    def import_file(self, data: bytes, *, lines: bool = False) -> ImportReport:
        """See ``Source.import_bundle``; with ``lines``, ``Source.import_lines``."""
        source = self._source()
        return source.import_lines(iter([data])) if lines else source.import_bundle(data)

    def correct(self, data: bytes) -> Count:
        """See ``Source.correct``."""
        return self._source().correct(data)

    def retract(self, patient: str, category: Code, segment: Count, duty: Code | None = None) -> None:
        """See ``Corrections.retract``; with a ``duty``, ``Corrections.erase``."""
        corrections = self._source().corrections
        if duty:
            corrections.erase(patient, category, segment, duty)
        else:
            corrections.retract(patient, category, segment)

    # --- patients --------------------------------------------------------------------------------------

    def invite(self, patient: str, life_s: Seconds = LIFE_S, *, again: bool = False) -> Invitation:
        """See ``Invitations.invite``."""
        made, code = self._member.invitations.invite(patient, life_s, again=again)
        return Invitation(
            node=self._endpoint(),
            member=self._home.did,
            network=network_digest(codec.encode(self._founding.founded)),
            id=made.id,
            code=code,
        )

    def invitations(self, patient: str = "") -> list[Invited]:
        """See ``Invitations.listed``."""
        return self._member.invitations.listed(patient)

    def end_invitation(self, identity: bytes) -> Invited:
        """See ``Invitations.end``."""
        return self._member.invitations.end(identity)

    def inquire(
        self, categories: Sequence[Code], purposes: Sequence[Code], days: Count, text: str, share: bytes | None = None
    ) -> list[bytes]:
        """Ask a person for more than they shared; the ids of the requests, one a stream. ``text``: why, for them alone.

        ``share``: by which the person is known, when several have shared these categories; else the newest is meant.
        Raises Refused gateway.01, the ledger's refusal, and what the person's relay refuses.
        """
        known = [
            each
            for each in self._gateway().shares()
            if share in (None, each.id) and any(item.category in categories for item in each.streams)
        ]
        if not known:
            raise Refused(NO_SHARE, ", ".join(categories))
        person, now = known[-1], self._ways.clock()
        streams = {item.stream: item for item in person.streams if item.category in categories}
        wish = Wish(purposes, ["read"], period(now, days)[1], period(now, ANSWER_WITHIN_DAYS)[1], text)
        home, ledger = self._home, self._member.ledger
        offers, sealed = inquire(
            home.chain, home.requester, home.node_key, person, [*streams.values()], wish, ledger, now
        )
        tell(self._member, self._leave, person.channel_key, sealed, person.relay)
        return offers

    # --- reading ---------------------------------------------------------------------------------------

    def shared(self, category: Code, share: bytes | None = None) -> SharedStream:
        """See ``Gateway.shared``."""
        return self._gateway().shared(category, share)

    def ask(self, category: Code, purpose: Code, legal_basis: Sequence[Code], share: bytes | None = None) -> Receipt:
        """See ``Gateway.ask``: by the practitioner of this home, for what ``shared`` finds."""
        gateway = self._gateway()
        asked = Asked(gateway.shared(category, share).consent, "read", purpose, legal_basis)
        return gateway.ask(asked, self._practitioner())

    def open(self, receipt: Receipt) -> Opened:
        """See ``Gateway.open``."""
        return self._gateway().open(receipt, self._practitioner())

    def visit(
        self, patient: Multikey, purpose: Code, legal_basis: Sequence[Code]
    ) -> tuple[dict[Code, list[OpenedRecord]], list[CareMeshError]]:
        """See ``Gateway.visit``: opened, copied, left. All records by category, and what was refused or did not open.

        ``patient``: the channel key of their shares.
        """
        why = Purpose(purpose, legal_basis)
        with self._gateway().visit(patient, why, self._practitioner()) as visit:
            visit.open()
            categories = dict.fromkeys(grounds.category for grounds in visit.grounds)
            records = {category: list(map(_copy, visit.records(category))) for category in categories}
            return records, [each.error for each in visit.ended]

    def directory(self, receipts: Sequence[Receipt], references: Sequence[str]) -> list[DirectoryEntry]:
        """What records name, of the directories of the members that wrote them: each entry once.

        ``receipts``: under which the records came. Raises as ``Directories.resolve``.
        """
        reader = self._member.ledger.reader()
        known = [consents.consent(reader, receipt.consent) for receipt in receipts]
        sources = sorted({consent.source for consent in known if consent is not None})
        found = [entry for did in sources for entry in self._directories.resolve(did, references).values()]
        return list({(entry.member, entry.type, entry.id): entry for entry in found}.values())

    def evidence(self, claims: Sequence[Claim]) -> list[bytes]:
        """Files that show anybody what custodians did. Raises Tampered evidence.01 for what shows nothing."""
        return evidence.made(self._proves, claims)

    def names(self) -> dict[Did, str]:
        """What people call the members."""
        return {each.did: each.name for each in members.members(self._member.ledger.reader())}

    # --- keys and people -------------------------------------------------------------------------------

    def appoint(self, practitioner: Did, roles: list[Code], licensed_until: Seconds) -> None:
        """The practitioner whose key is in this home. Raises Refused with the ledger's code."""
        doctor, member = self._practitioner(), self._home.requester
        until = licensed_until // DAY_S * DAY_S
        self._send([doctor, member], Register(did=doctor.did, key=doctor.key.public, kind="practitioner"))
        self._send([member], Appoint(practitioner=practitioner, roles=roles, licensed_until=until))

    def rotate_key(self) -> str:
        """See ``rotate_receiving_key``; the member's name."""
        rotate_receiving_key(
            self._home, self._member.ledger.reader(), lambda message: self._send([self._home.requester], message)
        )
        return self._home.profile.label

    # --- the network -----------------------------------------------------------------------------------

    def rotate_validator_key(self) -> str:
        """See ``rotate_validator_key``; the member's name. Raises Refused node.32."""
        if self._sign_with is None:
            raise Refused(NO_VALIDATOR, self._home.did)
        rotate_validator_key(
            self._home,
            self._member.ledger.reader(),
            lambda message, new: self._send([new, self._home.requester], message),
            self._sign_with,
        )
        return self._home.profile.label

    def leave_network(self) -> str:
        """The member is none any more, for good; its name. Raises Refused with the ledger's code."""
        self._send([self._home.requester], LeaveNetwork(member=self._home.did))
        return self._home.profile.label

    def propose(self, proposal: Proposal) -> Decision:
        """See ``decisions.drawn_up``: this member has signed. Raises Refused network.15, too."""
        if isinstance(proposal.wanted, ToConvert) and self._founding.orders == "cometbft":
            raise Refused(CONVERTED)
        return decisions.drawn_up(proposal, self._home.requester, self._sight())

    def decision(self, copies: Sequence[bytes]) -> Decision:
        """See ``decisions.merged``."""
        return decisions.merged(copies, self._sight())

    def sign_decision(self, file: bytes) -> Decision:
        """See ``decisions.signed``."""
        return decisions.signed(file, self._home.requester, self._sight())

    def submit_decision(self, copies: Sequence[bytes]) -> Decision:
        """See ``decisions.carried_out``, of what ``decisions.merged`` gives."""
        return decisions.carried_out(self.decision(copies), self._submit)

    def _sight(self) -> Sight:
        ledger = self._member.ledger
        return Sight(self._home.chain, ledger.reader(), ledger.copy.status().height, self._ways.clock())

    def _send(self, signers: Sequence[Requester], message: Message) -> Height:
        chain = chain_of(self._member.ledger.reader(), self._home.chain)
        done = self._submit(signed_tx(chain, self._ways.clock(), signers, message))
        if done.code:
            raise refusal(done)
        return done.height

    def _source(self) -> Source:
        return self._member.source(self._ways, self._check())

    def _gateway(self) -> Gateway:
        return self._member.gateway(self._ways, patience_s=self._patience_s)

    def _practitioner(self) -> Requester:
        return self._home.practitioner(self._home.chain)


def _copy(record: HeldRecord) -> OpenedRecord:
    names = (record.media_type, record.resource_type, record.id, record.version, record.last_updated)
    return OpenedRecord(0, *names, bytes(record.data))
