"""The rules of the mesh, as the kernel's application: all contracts, wired to each other.

Contracts never import each other. What one needs of another it declares as a ``Needs`` protocol; the classes below
fill these from the others' queries, and ``Contracts`` hands every message to its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from caremesh import codec
from caremesh.contracts.access import logic as access_logic
from caremesh.contracts.access import messages as access
from caremesh.contracts.consent import logic as consent_logic
from caremesh.contracts.consent import messages as consent
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.identity import logic as identity_logic
from caremesh.contracts.identity import messages as identity
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import logic as members_logic
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries as member_queries
from caremesh.contracts.members.errors import SUSPENDED
from caremesh.contracts.members.state import Member
from caremesh.contracts.network import logic as network_logic
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries as network_queries
from caremesh.contracts.network.errors import BRAKE_ON
from caremesh.contracts.network.state import AUTHORITIES, PARAMS
from caremesh.contracts.policy import logic as policy_logic
from caremesh.contracts.policy import messages as policy
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.contracts.records import logic as records_logic
from caremesh.contracts.records import messages as records
from caremesh.contracts.records import queries as segments
from caremesh.contracts.streams import logic as streams_logic
from caremesh.contracts.streams import messages as streams
from caremesh.contracts.streams import queries as stream_queries
from caremesh.contracts.streams.state import Stream
from caremesh.errors import BadInput, ErrorCode, Refused
from caremesh.ledger.application import Params
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Message, Signer
from caremesh.types import (
    Code,
    ConsentId,
    Count,
    Did,
    Height,
    Multikey,
    ReencryptionKey,
    Seconds,
    SignedPermit,
    StreamId,
)

__all__ = ["Contracts", "Genesis"]

BAD_GENESIS = ErrorCode("contracts.01", "The genesis document does not fit together.", "Make it anew.")

MESSAGES: Final[Any] = (
    identity.Register
    | identity.Rotate
    | identity.Deactivate
    | members.Admit
    | members.Suspend
    | members.Reinstate
    | members.SetKeys
    | members.Appoint
    | members.Dismiss
    | members.SuspendPerson
    | streams.RenewPermit
    | streams.RevokePermit
    | records.Register
    | records.Retract
    | records.Erase
    | consent.Grant
    | consent.Revoke
    | access.Request
    | access.Close
    | access.Report
    | policy.Adopt
    | policy.Retire
    | network.SetParams
    | network.Brake
    | network.EndBrake
)
"""Every message there is."""

FREE: Final = (consent.Revoke, streams.RevokePermit, records.Erase)
"""What costs a sponsor nothing: taking back and erasing must always get through."""


class Genesis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first state of a network, agreed on by its founders."""

    chain: str
    time: Seconds
    params: network.Params
    authorities: network.Authorities
    members: list[members.Admit]
    regulations: list[policy.PolicySet]


class Contracts:
    """The application that the kernel runs."""

    messages: Any = MESSAGES

    def __init__(self) -> None:
        self._handlers: dict[type, Callable[[Context, Any], None]] = _handlers()

    def genesis(self, state: View, document: bytes) -> None:
        """Write the founders' state: parameters, regulations, members. Raises BadInput codec.NN, contracts.01."""
        first = codec.decode_as(document, Genesis)
        try:
            network_logic.check_params(first.params)
            PARAMS.put(state, first.params)
            AUTHORITIES.put(state, first.authorities)
            policy_logic.adopt_at_genesis(state, first.regulations)
            for member in first.members:
                members_logic.admit_at(state, member, 0, _MEMBERS)
        except Refused as error:
            raise BadInput(BAD_GENESIS, error.code) from error
        founders = [member.member for member in first.members]
        if not 1 <= first.authorities.quorum <= len(set(first.authorities.dids)) or not set(
            first.authorities.dids
        ).issubset(founders):
            raise BadInput(BAD_GENESIS, "authorities")

    def params(self, reader: Reader) -> Params:
        """The kernel's part of the parameters."""
        now = network_queries.params(reader)
        return Params(
            tx_ttl_s=now.tx_ttl_s,
            quota_messages=now.quota,
            quota_window_s=now.quota_window_s,
            kept_heights=now.kept_heights,
            retain_blocks=now.retain_blocks,
        )

    def sponsor(self, reader: Reader, signer: Signer) -> Did:
        """The active member whose current key this is. Raises Refused members.04."""
        did = signer.did
        if did is None or not member_queries.is_active(reader, did):
            raise Refused(SUSPENDED)
        if not identities.is_current_key(reader, did, signer.key):
            raise Refused(SUSPENDED)
        return did

    def quota_exempt(self, message: Message) -> bool:
        """Revocations and erasures."""
        return isinstance(message, FREE)

    def handle(self, ctx: Context, message: Message) -> None:
        """Give a message to its handler."""
        brake = network_queries.brake(ctx.state, ctx.time)
        if brake is not None and brake.scope == "all" and not isinstance(message, (*FREE, network.EndBrake)):
            raise Refused(BRAKE_ON)
        self._handlers[type(message)](ctx, message)


class _NetworkNeeds:
    def is_current_key(self, reader: Reader, did: Did, key: Multikey) -> bool:
        return identities.is_current_key(reader, did, key)


class _MembersNeeds:
    def is_quorum(self, reader: Reader, signers: Sequence[Signer]) -> bool:
        return network_logic.is_quorum(reader, signers, _NETWORK)

    def enrol_member(self, state: View, did: Did, key: Multikey, height: Height) -> None:
        identity_logic.enrol(state, did, key, "member", enrolled_by=did, height=height)

    def is_practitioner(self, reader: Reader, did: Did) -> bool:
        found = identities.identity(reader, did)
        return found is not None and found.active and found.kind == "practitioner"


class _StreamsNeeds:
    def is_active_member(self, reader: Reader, did: Did) -> bool:
        return member_queries.is_active(reader, did)

    def is_custodian(self, reader: Reader, did: Did) -> bool:
        found = member_queries.member(reader, did)
        return found is not None and found.status == "active" and "custodian" in found.roles


class _RecordsNeeds(_StreamsNeeds):
    def permitted(self, ctx: Context, permit: SignedPermit) -> Stream:
        return streams_logic.permitted(ctx, permit, _STREAMS)

    def stream(self, reader: Reader, stream: StreamId) -> Stream | None:
        return stream_queries.stream(reader, stream)

    def write(self, ctx: Context, stream: StreamId, source: Did) -> None:
        streams_logic.write(ctx, streams_logic.of_subject(ctx, stream), source)


class _ConsentNeeds(_RecordsNeeds):
    def segment_count(self, reader: Reader, stream: StreamId) -> Count:
        return segments.count(reader, stream)

    def member(self, reader: Reader, did: Did) -> Member | None:
        return member_queries.member(reader, did)

    def receiving_key(self, reader: Reader, did: Did) -> ReencryptionKey | None:
        found = member_queries.member(reader, did)
        return None if found is None else found.keys.receiving

    def brake_on(self, reader: Reader, at: Seconds) -> bool:
        return network_queries.brake(reader, at) is not None

    def purpose_is_known(self, code: Code) -> bool:
        return policies.purpose_is_known(code)

    def action_is_known(self, code: Code) -> bool:
        return policies.action_is_known(code)

    def may_grant(self, reader: Reader, **question: Any) -> tuple[bool, list[str]]:
        decision = policies.decide(reader, GrantRequest(approvals=[], **question))
        return decision.permit, decision.policies


class _AccessNeeds(_ConsentNeeds):
    def consent(self, reader: Reader, consent: ConsentId) -> Consent | None:
        return consents.consent(reader, consent)

    def is_active(self, reader: Reader, consent: ConsentId, at: Seconds) -> bool:
        found = consents.consent(reader, consent)
        return found is not None and consents.is_active(found, at)

    def covers_all(self, reader: Reader, consent: ConsentId, asked: list[Count]) -> bool:
        found = consents.consent(reader, consent)
        if found is None:
            return False
        for index in asked:
            segment = segments.segment(reader, found.stream, index)
            if segment is None or segment.status == "erased" or not consents.covers(found, index, segment.registered):
                return False
        return True

    def is_current_key(self, reader: Reader, did: Did, key: Multikey) -> bool:
        return identities.is_current_key(reader, did, key)

    def appointed_roles(self, reader: Reader, practitioner: Did, member: Did, at: Seconds) -> list[Code] | None:
        found = member_queries.appointment(reader, practitioner, member)
        if found is None or not member_queries.may_act(reader, practitioner, member, at):
            return None
        return found.roles

    def receipt_life_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).receipt_life_s

    def may_access(self, reader: Reader, **question: Any) -> tuple[bool, list[str]]:
        decision = policies.decide(
            reader, AccessRequest(break_glass=False, restricted=False, objected=False, approvals=[], **question)
        )
        return decision.permit, decision.policies


_NETWORK: Final = _NetworkNeeds()
_MEMBERS: Final = _MembersNeeds()
_STREAMS: Final = _StreamsNeeds()
_RECORDS: Final = _RecordsNeeds()
_CONSENT: Final = _ConsentNeeds()
_ACCESS: Final = _AccessNeeds()


def _handlers() -> dict[type, Callable[[Context, Any], None]]:
    return {
        identity.Register: identity_logic.register,
        identity.Rotate: identity_logic.rotate,
        identity.Deactivate: identity_logic.deactivate,
        members.Admit: lambda ctx, msg: members_logic.admit(ctx, msg, _MEMBERS),
        members.Suspend: lambda ctx, msg: members_logic.suspend(ctx, msg, _MEMBERS),
        members.Reinstate: lambda ctx, msg: members_logic.reinstate(ctx, msg, _MEMBERS),
        members.SetKeys: members_logic.set_keys,
        members.Appoint: lambda ctx, msg: members_logic.appoint(ctx, msg, _MEMBERS),
        members.Dismiss: members_logic.dismiss,
        members.SuspendPerson: members_logic.suspend_person,
        streams.RenewPermit: lambda ctx, msg: streams_logic.renew_permit(ctx, msg, _STREAMS),
        streams.RevokePermit: lambda ctx, msg: streams_logic.revoke_permit(ctx, msg, _STREAMS),
        records.Register: lambda ctx, msg: records_logic.register(ctx, msg, _RECORDS),
        records.Retract: lambda ctx, msg: records_logic.retract(ctx, msg, _RECORDS),
        records.Erase: lambda ctx, msg: records_logic.erase(ctx, msg, _RECORDS),
        consent.Grant: lambda ctx, msg: consent_logic.grant(ctx, msg, _CONSENT),
        consent.Revoke: lambda ctx, msg: consent_logic.revoke(ctx, msg, _CONSENT),
        access.Request: lambda ctx, msg: access_logic.request(ctx, msg, _ACCESS),
        access.Close: access_logic.close,
        access.Report: lambda ctx, msg: access_logic.report(ctx, msg, _ACCESS),
        policy.Adopt: lambda ctx, msg: policy_logic.adopt(ctx, msg, _MEMBERS),
        policy.Retire: lambda ctx, msg: policy_logic.retire(ctx, msg, _MEMBERS),
        network.SetParams: lambda ctx, msg: network_logic.set_params(ctx, msg, _NETWORK),
        network.Brake: lambda ctx, msg: network_logic.pull_brake(ctx, msg, _NETWORK),
        network.EndBrake: lambda ctx, msg: network_logic.end_brake(ctx, msg, _NETWORK),
    }
