"""The rules of the mesh, as the kernel's application: all contracts, wired to each other.

Contracts never import each other. What one needs of another it declares as a ``Needs`` protocol; the classes below
fill these from the others' queries, and ``Contracts`` hands every message to its handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import or_
from typing import Any, Final

from msgspec import Struct

from caremesh import codec
from caremesh.contracts.access import disputes as access_disputes
from caremesh.contracts.access import emergency as access_emergency
from caremesh.contracts.access import logic as access_logic
from caremesh.contracts.access import messages as access
from caremesh.contracts.consent import logic as consent_logic
from caremesh.contracts.consent import messages as consent
from caremesh.contracts.consent import offers as consent_offers
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.identity import logic as identity_logic
from caremesh.contracts.identity import messages as identity
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import logic as members_logic
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries as member_queries
from caremesh.contracts.members.errors import SUSPENDED
from caremesh.contracts.network import conversion as network_conversion
from caremesh.contracts.network import logic as network_logic
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries as network_queries
from caremesh.contracts.network import validators as network_validators
from caremesh.contracts.network.errors import BRAKE_ON
from caremesh.contracts.network.state import PARAMS, Rules
from caremesh.contracts.policy import approvals as policy_approvals
from caremesh.contracts.policy import logic as policy_logic
from caremesh.contracts.policy import messages as policy
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.contracts.policy.vocabulary import REQUESTER_ROLES
from caremesh.contracts.records import logic as records_logic
from caremesh.contracts.records import messages as records
from caremesh.contracts.records import queries as segments
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import logic as streams_logic
from caremesh.contracts.streams import messages as streams
from caremesh.contracts.streams import queries as stream_queries
from caremesh.contracts.streams.state import Stream
from caremesh.errors import BadInput, ErrorCode, Refused
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Misbehaviour, Validator
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Message, Signer
from caremesh.types import (
    DAY_S,
    Code,
    ConsentId,
    Count,
    CountryCode,
    Did,
    Height,
    Multikey,
    ReencryptionKey,
    Seconds,
    SignedPermit,
    StreamId,
)

__all__ = ["FREE", "MESSAGES", "Contracts", "Genesis"]

BAD_GENESIS = ErrorCode("contracts.01", "The genesis document does not fit together.", "Make it anew.")


class _NetworkNeeds:
    def is_active_member(self, reader: Reader, did: Did) -> bool:
        return member_queries.is_active(reader, did)

    def is_current_key(self, reader: Reader, did: Did, key: Multikey) -> bool:
        return identities.is_current_key(reader, did, key)

    def is_known_key(self, reader: Reader, key: Multikey) -> bool:
        return identities.owner(reader, key) is not None or stream_queries.of_key(reader, key) is not None


class _MembersNeeds:
    def is_quorum(self, reader: Reader, signers: Sequence[Signer]) -> bool:
        return network_logic.is_quorum(reader, signers, _NETWORK)

    def enrol_member(self, state: View, did: Did, key: Multikey, *, chain: str, height: Height) -> None:
        identity_logic.enrol(state, did, key, "member", chain=chain, enrolled_by=did, height=height, needs=_IDENTITY)

    def drop_validators(self, ctx: Context, did: Did) -> None:
        network_validators.drop_member(ctx, did)

    def quorum_without(self, reader: Reader, did: Did) -> bool:
        return network_logic.quorum_without(reader, did, _NETWORK)

    def practitioner_key(self, reader: Reader, did: Did) -> Multikey | None:
        found = identities.identity(reader, did)
        return found.key if found is not None and found.active and found.kind == "practitioner" else None

    def is_functional_role(self, role: Code) -> bool:
        return role in REQUESTER_ROLES


class _PolicyNeeds(_MembersNeeds):
    def is_member(self, reader: Reader, did: Did) -> bool:
        return member_queries.member(reader, did) is not None


class _IdentityNeeds:
    def recovery_wait_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).recovery_wait_s

    def is_stream_key(self, reader: Reader, key: Multikey) -> bool:
        return stream_queries.of_key(reader, key) is not None


class _StreamsNeeds:
    def is_grantee(self, reader: Reader, stream: StreamId, did: Did, at: Seconds) -> bool:
        return consents.is_grantee(reader, stream, did, at)

    def is_known_key(self, reader: Reader, key: Multikey) -> bool:
        return identities.owner(reader, key) is not None

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

    def write(self, ctx: Context, stream: StreamId) -> None:
        streams_logic.write(ctx, streams_logic.of_subject(ctx, stream))

    def signed_for(self, ctx: Context, stream: StreamId, power: streams.Power) -> bool:
        found = stream_queries.stream(ctx.state, stream)
        return found is not None and streams_logic.signed_for(ctx, found, power)

    def may_read(self, reader: Reader, stream: StreamId, segment: Count, member: Did, at: Seconds) -> bool:
        found = segments.segment(reader, stream, segment)
        return found is not None and any(
            entry.grantee == member and consents.is_active(entry, at) and consents.covers(entry, segment, found)
            for entry in consents.of_stream(reader, stream)
        )


class _ConsentNeeds(_RecordsNeeds):
    def segment(self, reader: Reader, stream: StreamId, index: Count) -> Segment | None:
        return segments.segment(reader, stream, index)

    def audit_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).audit_years * 366 * DAY_S

    def standing(self, reader: Reader, did: Did) -> str | None:
        found = member_queries.member(reader, did)
        return None if found is None else found.status

    def receiving_key(self, reader: Reader, did: Did) -> ReencryptionKey | None:
        return member_queries.receiving_key(reader, did)

    def brake_on(self, reader: Reader, at: Seconds) -> bool:
        return network_queries.brake(reader, at) is not None

    def purpose_is_known(self, code: Code) -> bool:
        return policies.purpose_is_known(code)

    def action_is_known(self, code: Code) -> bool:
        return policies.action_is_known(code)

    def may_grant(self, reader: Reader, *, source: Did, grantee: Did, **question: Any) -> tuple[bool, list[str]]:
        parties = _parties(reader, source, grantee, question["at"])
        if parties is None:
            return False, [policies.NO_SET]
        decision = policies.decide(reader, GrantRequest(**parties, **question))
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
            if segment is None or not consents.covers(found, index, segment):
                return False
        return True

    def is_delegated(self, reader: Reader, consent: ConsentId) -> bool:
        found = consents.consent(reader, consent)
        stream = None if found is None else stream_queries.stream(reader, found.stream)
        return found is not None and stream is not None and found.epoch == stream.epoch

    def source_of(self, reader: Reader, stream: StreamId) -> Did | None:
        found = stream_queries.stream(reader, stream)
        return None if found is None else found.source

    def is_current_key(self, reader: Reader, did: Did, key: Multikey) -> bool:
        return identities.is_current_key(reader, did, key)

    def current_key(self, reader: Reader, did: Did) -> Multikey | None:
        found = identities.identity(reader, did)
        return found.key if found is not None and found.active else None

    def appointed_roles(self, reader: Reader, practitioner: Did, member: Did, at: Seconds) -> list[Code] | None:
        found = member_queries.appointment(reader, practitioner, member)
        if found is None or not member_queries.may_act(reader, practitioner, member, at):
            return None
        return found.roles

    def receipt_life_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).receipt_life_s

    def answer_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).answer_s

    def review_s(self, reader: Reader) -> Seconds:
        return network_queries.params(reader).review_s

    def jurisdiction(self, reader: Reader, did: Did) -> CountryCode | None:
        found = member_queries.member(reader, did)
        return None if found is None else found.jurisdiction

    def may_access(self, reader: Reader, *, source: Did, grantee: Did, **question: Any) -> tuple[bool, list[str]]:
        parties = _parties(reader, source, grantee, question["at"])
        if parties is None:
            return False, [policies.NO_SET]
        decision = policies.decide(reader, AccessRequest(restricted=False, objected=False, **parties, **question))
        return decision.permit, decision.policies


def _parties(reader: Reader, source: Did, grantee: Did, at: Seconds) -> dict[str, Any] | None:
    """What the law is told of the two members; None when one is not there, and then nothing is permitted."""
    home, away = member_queries.member(reader, source), member_queries.member(reader, grantee)
    if home is None or away is None:
        return None
    return {
        "source_jurisdiction": home.jurisdiction,
        "grantee_jurisdiction": away.jurisdiction,
        "member_roles": sorted(away.roles),
        "approvals": policies.approvals(reader, grantee, at),
    }


_NETWORK: Final = _NetworkNeeds()
_IDENTITY: Final = _IdentityNeeds()
_MEMBERS: Final = _MembersNeeds()
_POLICY: Final = _PolicyNeeds()
_STREAMS: Final = _StreamsNeeds()
_RECORDS: Final = _RecordsNeeds()
_CONSENT: Final = _ConsentNeeds()
_ACCESS: Final = _AccessNeeds()

_HANDLERS: Final[dict[type, Callable[[Context, Any], None]]] = {
    identity.Register: partial(identity_logic.register, needs=_IDENTITY),
    identity.Rotate: partial(identity_logic.rotate, needs=_IDENTITY),
    identity.Deactivate: identity_logic.deactivate,
    identity.SetGuardians: identity_logic.set_guardians,
    identity.Recover: partial(identity_logic.recover, needs=_IDENTITY),
    identity.CancelRecovery: identity_logic.cancel_recovery,
    identity.FinishRecovery: identity_logic.finish_recovery,
    members.Admit: partial(members_logic.admit, needs=_MEMBERS),
    members.Suspend: partial(members_logic.suspend, needs=_MEMBERS),
    members.Reinstate: partial(members_logic.reinstate, needs=_MEMBERS),
    members.SetKeys: members_logic.set_keys,
    members.SetEndpoints: members_logic.set_endpoints,
    members.SetRole: partial(members_logic.set_role, needs=_MEMBERS),
    members.Leave: partial(members_logic.leave, needs=_MEMBERS),
    members.Appoint: partial(members_logic.appoint, needs=_MEMBERS),
    members.Dismiss: members_logic.dismiss,
    members.SuspendPerson: members_logic.suspend_person,
    members.SetPersonKey: partial(members_logic.set_person_key, needs=_MEMBERS),
    streams.RenewPermit: partial(streams_logic.renew_permit, needs=_STREAMS),
    streams.RevokePermit: partial(streams_logic.revoke_permit, needs=_STREAMS),
    streams.RotateKey: partial(streams_logic.rotate_key, needs=_STREAMS),
    streams.NewEpoch: partial(streams_logic.new_epoch, needs=_STREAMS),
    streams.SetCustodians: partial(streams_logic.set_custodians, needs=_STREAMS),
    streams.AddController: partial(streams_logic.add_controller, needs=_STREAMS),
    streams.RemoveController: streams_logic.remove_controller,
    streams.Close: streams_logic.close,
    records.Register: partial(records_logic.register, needs=_RECORDS),
    records.Supersede: partial(records_logic.supersede, needs=_RECORDS),
    records.Retract: records_logic.retract,
    records.Reseal: partial(records_logic.reseal, needs=_RECORDS),
    records.Erase: partial(records_logic.erase, needs=_RECORDS),
    records.Attest: partial(records_logic.attest, needs=_RECORDS),
    consent.Grant: partial(consent_logic.grant, needs=_CONSENT),
    consent.Narrow: partial(consent_logic.narrow, needs=_CONSENT),
    consent.Extend: partial(consent_logic.extend, needs=_CONSENT),
    consent.Revoke: partial(consent_logic.revoke, needs=_CONSENT),
    consent.Redelegate: partial(consent_logic.redelegate, needs=_CONSENT),
    consent.Offer: partial(consent_offers.offer, needs=_CONSENT),
    consent.Accept: partial(consent_offers.accept, needs=_CONSENT),
    consent.Decline: partial(consent_offers.decline, needs=_CONSENT),
    access.Request: partial(access_logic.request, needs=_ACCESS),
    access.Close: access_logic.close,
    access.Report: partial(access_logic.report, needs=_ACCESS),
    access.BreakGlass: partial(access_emergency.break_glass, needs=_ACCESS),
    access.Review: partial(access_emergency.review, needs=_ACCESS),
    access.Dispute: partial(access_disputes.dispute, needs=_ACCESS),
    access.Answer: access_disputes.answer,
    policy.Adopt: partial(policy_logic.adopt, needs=_MEMBERS),
    policy.Retire: partial(policy_logic.retire, needs=_MEMBERS),
    policy.Approve: partial(policy_approvals.approve, needs=_POLICY),
    policy.Withdraw: partial(policy_approvals.withdraw, needs=_POLICY),
    network.SetParams: partial(network_logic.set_params, needs=_NETWORK),
    network.SetAuthorities: partial(network_logic.set_authorities, needs=_NETWORK),
    network.SetValidators: partial(network_validators.set_validators, needs=_NETWORK),
    network.RotateValidator: partial(network_validators.rotate, needs=_NETWORK),
    network.Brake: partial(network_logic.pull_brake, needs=_NETWORK),
    network.EndBrake: partial(network_logic.end_brake, needs=_NETWORK),
    network.Upgrade: partial(network_logic.upgrade, needs=_NETWORK),
    network.CancelUpgrade: partial(network_logic.cancel_upgrade, needs=_NETWORK),
    network.Convert: partial(network_conversion.convert, needs=_NETWORK),
    network.CancelConvert: partial(network_conversion.cancel, needs=_NETWORK),
}

MESSAGES: Final[Any] = reduce(or_, _HANDLERS)
"""Every message there is."""

FREE: Final = (consent.Revoke, streams.RevokePermit, records.Erase)
"""What costs a sponsor nothing: taking back and erasing must always get through."""

FIRST_RULES: Final[Count] = 1
MIGRATIONS: Final[Mapping[Count, network_logic.Migration]] = {}
"""By version of the rules, what brings the state to it. These rules are version 1, the first."""


class Genesis(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first state of a network, agreed on by its founders."""

    chain: str
    time: Seconds
    params: network.Params
    authorities: network.Authorities
    members: list[members.Admit]
    regulations: list[policy.PolicySet]
    validators: list[network.Validator] = []


class Contracts:
    """The application that the kernel runs."""

    messages: Any = MESSAGES

    def __init__(self, migrations: Mapping[Count, network_logic.Migration] = MIGRATIONS) -> None:
        """``migrations``: by version of the rules, what brings the state to it."""
        self._migrations: Final = migrations

    def genesis(self, state: View, document: bytes) -> None:
        """Write the founders' state: parameters, regulations, members. Raises BadInput codec.NN, contracts.01."""
        first = codec.decode_as(document, Genesis)
        try:
            network_logic.check_params(first.params)
            PARAMS.put(state, first.params)
            policy_logic.adopt_at_genesis(state, first.regulations)
            for member in first.members:
                members_logic.admit_at(state, member, chain=first.chain, height=0, needs=_MEMBERS)
            network_logic.put_authorities(state, first.authorities, _NETWORK)
            network_validators.put_validators(state, first.validators, _NETWORK)
        except Refused as error:
            raise BadInput(BAD_GENESIS, error.code) from error

    def params(self, reader: Reader) -> Params:
        """The kernel's part of the parameters."""
        now, converted = network_queries.params(reader), network_queries.conversion(reader)
        return Params(
            tx_ttl_s=now.tx_ttl_s,
            max_tx_bytes=now.max_tx_bytes,
            max_tx_messages=now.max_tx_messages,
            max_block_bytes=now.max_block_bytes,
            quota_messages=now.quota,
            quota_window_s=now.quota_window_s,
            kept_heights=now.kept_heights,
            retain_blocks=now.retain_blocks,
            last_height=0 if converted is None else converted.height,
            unknown_from=self._unknown_from(network_queries.rules(reader)),
        )

    def knows(self, version: Count) -> bool:
        """Whether these are rules that this program has."""
        return version == FIRST_RULES or version in self._migrations

    def migrate(self, state: View, version: Count) -> None:
        """Turn a state into that of a version of the rules. Raises Unavailable network.10 when they are not here."""
        network_logic.bring_to(state, self._migrations, version)

    def _unknown_from(self, rules: Rules) -> Height:
        """The first height at which rules count that it does not have, 0 where it has all that are decided."""
        if not self.knows(rules.version):
            return 1
        return rules.height if rules.following is not None and not self.knows(rules.following) else 0

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
        """Give a message to its handler. Raises Unavailable network.10 where this software ends."""
        network_logic.migrate(ctx, self._migrations)
        brake = network_queries.brake(ctx.state, ctx.time)
        if brake is not None and brake.scope == "all" and not isinstance(message, (*FREE, network.EndBrake)):
            raise Refused(BRAKE_ON)
        _HANDLERS[type(message)](ctx, message)

    def misbehaved(self, ctx: Context, found: Misbehaviour) -> None:
        """A validator that signed what it must not is removed. Raises Unavailable network.10, as ``handle`` does."""
        network_logic.migrate(ctx, self._migrations)
        network_validators.equivocated(ctx, found)

    def validators(self, reader: Reader) -> list[Validator]:
        """Who is to order blocks, in ascending order of keys."""
        return [Validator(each.key, each.power) for each in network_queries.validators(reader)]
