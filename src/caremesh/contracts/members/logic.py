"""Who belongs to the mesh, and who acts for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from caremesh.contracts.members import errors, messages
from caremesh.contracts.members.state import (
    ALL,
    APPOINTMENTS,
    MEMBERS,
    PERSON_KEYS,
    Appointment,
    Member,
    appointment_key,
)
from caremesh.crypto import signatures
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Signer
from caremesh.types import DAY_S, Code, Did, Height, Multikey, ReencryptionKey

ROLES: Final = frozenset(
    {
        "provider", "payer", "researcher", "laboratory", "custodian",
        "emergency-service", "regulator", "credential-issuer",
    }
)  # fmt: skip


class Needs(Protocol):
    """What this contract needs of others."""

    def is_quorum(self, reader: Reader, signers: Sequence[Signer], /) -> bool:
        """Whether enough of the network's authorities are among the signers, under their current keys."""
        ...

    def enrol_member(self, state: View, did: Did, key: Multikey, /, *, chain: str, height: Height) -> None:
        """Register the DID of a new member. Raises Refused."""
        ...

    def quorum_without(self, reader: Reader, did: Did, /) -> bool:
        """Whether the network's authorities could still decide if this member were none of them."""
        ...

    def drop_validators(self, ctx: Context, did: Did, /) -> None:
        """Take away from a member that no longer acts what orders blocks for it."""
        ...

    def practitioner_key(self, reader: Reader, did: Did, /) -> Multikey | None:
        """The key that acts now for a practitioner's DID; None when there is no such practitioner."""
        ...

    def is_functional_role(self, role: Code, /) -> bool:
        """Whether the regulations know a role in which a practitioner acts."""
        ...


def admit(ctx: Context, msg: messages.Admit, needs: Needs) -> None:
    """The authorities let an organisation in."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(errors.NO_QUORUM)
    admit_at(ctx.state, msg, chain=ctx.chain, height=ctx.height, needs=needs)

    ctx.emit("members/admitted", member=msg.member)


def admit_at(state: View, msg: messages.Admit, *, chain: str, height: Height, needs: Needs) -> None:
    """Write a new member; used by ``admit`` and at genesis."""
    if MEMBERS.get(state, msg.member.encode()) is not None:
        raise Refused(errors.ALREADY_MEMBER)
    _check_roles(msg.roles)
    _check_keys(msg.keys)

    needs.enrol_member(state, msg.member, msg.key, chain=chain, height=height)
    member = Member(
        did=msg.member,
        name=msg.name,
        roles=msg.roles,
        jurisdiction=msg.jurisdiction,
        keys=msg.keys,
        endpoints=msg.endpoints,
        admitted=height,
        status="active",
    )
    MEMBERS.put(state, member, msg.member.encode())
    ALL.append(state, msg.member, b"")


def suspend(ctx: Context, msg: messages.Suspend, needs: Needs) -> None:
    """The authorities stop a member at once: no receipt, no registration, no release to it."""
    member = _with_quorum(ctx, msg.member, needs)
    if member.status != "active":
        raise Refused(errors.SAME_STATE)
    if not needs.quorum_without(ctx.state, msg.member):
        raise Refused(errors.TOO_FEW_AUTHORITIES)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, status="suspended"), msg.member.encode())
    ctx.emit("members/suspended", member=msg.member)
    needs.drop_validators(ctx, msg.member)


def reinstate(ctx: Context, msg: messages.Reinstate, needs: Needs) -> None:
    """The authorities let a suspended member act again, but order no blocks until they say so.

    One that left is admitted anew under another DID.
    """
    member = _with_quorum(ctx, msg.member, needs)
    if member.status != "suspended":
        raise Refused(errors.SAME_STATE)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, status="active"), msg.member.encode())
    ctx.emit("members/reinstated", member=msg.member)


def set_keys(ctx: Context, msg: messages.SetKeys) -> None:
    """A member replaces what it is reached by. Grants made to the old receiving key are delegated anew."""
    member = _own(ctx, msg.member)
    _check_keys(msg.keys)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, keys=msg.keys), msg.member.encode())
    ctx.emit("members/keys-set", member=msg.member)


def set_endpoints(ctx: Context, msg: messages.SetEndpoints) -> None:
    """A member says where its node is."""
    member = _own(ctx, msg.member)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, endpoints=msg.endpoints), msg.member.encode())
    ctx.emit("members/endpoints-set", member=msg.member)


def set_role(ctx: Context, msg: messages.SetRole, needs: Needs) -> None:
    """The authorities say what a member is; what it was granted before is judged by its new roles."""
    member = _with_quorum(ctx, msg.member, needs)
    _check_roles(msg.roles)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, roles=msg.roles), msg.member.encode())
    ctx.emit("members/role-set", member=msg.member)


def leave(ctx: Context, msg: messages.Leave, needs: Needs) -> None:
    """A member goes, and does not come back under this DID."""
    member = _own(ctx, msg.member)
    if not needs.quorum_without(ctx.state, msg.member):
        raise Refused(errors.TOO_FEW_AUTHORITIES)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, status="left"), msg.member.encode())
    ctx.emit("members/left", member=msg.member)
    needs.drop_validators(ctx, msg.member)


def appoint(ctx: Context, msg: messages.Appoint, needs: Needs) -> None:
    """The sponsoring member says that a practitioner acts for it. It lifts no suspension: suspend-person does."""
    if needs.practitioner_key(ctx.state, msg.practitioner) is None:
        raise Refused(errors.NOT_A_PRACTITIONER)
    if not msg.roles or len(set(msg.roles)) != len(msg.roles) or not all(map(needs.is_functional_role, msg.roles)):
        raise Refused(errors.UNKNOWN_ROLE)
    if msg.licensed_until <= ctx.time or msg.licensed_until % DAY_S:
        raise Refused(errors.LICENCE_OVER)

    before = APPOINTMENTS.get(ctx.state, appointment_key(msg.practitioner, ctx.sponsor))
    appointment = Appointment(
        practitioner=msg.practitioner,
        member=ctx.sponsor,
        roles=msg.roles,
        licensed_until=msg.licensed_until,
        status="suspended" if before is not None and before.status == "suspended" else "active",
    )
    APPOINTMENTS.put(ctx.state, appointment, appointment_key(msg.practitioner, ctx.sponsor))
    ctx.emit("members/appointed", practitioner=msg.practitioner, member=ctx.sponsor)


def dismiss(ctx: Context, msg: messages.Dismiss) -> None:
    """The sponsoring member ends an appointment."""
    _set_status(ctx, msg.practitioner, "dismissed")
    ctx.emit("members/dismissed", practitioner=msg.practitioner, member=ctx.sponsor)


def suspend_person(ctx: Context, msg: messages.SuspendPerson) -> None:
    """The sponsoring member stops one of its practitioners at once, or lets them act again."""
    _set_status(ctx, msg.practitioner, "suspended" if msg.suspended else "active")
    ctx.emit("members/person-suspended", practitioner=msg.practitioner, suspended=int(msg.suspended))


def set_person_key(ctx: Context, msg: messages.SetPersonKey, needs: Needs) -> None:
    """A practitioner whom the sponsoring member has appointed says which key, if any, opens what is theirs alone."""
    key = needs.practitioner_key(ctx.state, msg.practitioner)
    if key is None:
        raise Refused(errors.NOT_A_PRACTITIONER)
    if not ctx.signed_by(key, msg.practitioner):
        raise Refused(errors.WRONG_PERSON)
    _appointment(ctx, msg.practitioner)
    _check_receiving(msg.receiving)

    if msg.receiving is None:
        PERSON_KEYS.delete(ctx.state, msg.practitioner.encode())
    else:
        PERSON_KEYS.put(ctx.state, msg.receiving, msg.practitioner.encode())
    ctx.emit("members/person-key-set", practitioner=msg.practitioner)


def _set_status(ctx: Context, practitioner: Did, status: str) -> None:
    appointment = _appointment(ctx, practitioner)
    if appointment.status == status:
        raise Refused(errors.SAME_STATE)

    changed = msgspec.structs.replace(appointment, status=status)
    APPOINTMENTS.put(ctx.state, changed, appointment_key(practitioner, ctx.sponsor))


def _appointment(ctx: Context, practitioner: Did) -> Appointment:
    appointment = APPOINTMENTS.get(ctx.state, appointment_key(practitioner, ctx.sponsor))
    if appointment is None or appointment.status == "dismissed":
        raise Refused(errors.NOT_APPOINTED)
    return appointment


def _with_quorum(ctx: Context, did: Did, needs: Needs) -> Member:
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(errors.NO_QUORUM)
    member = _member(ctx.state, did)
    if member.status == "left":
        raise Refused(errors.SUSPENDED)
    return member


def _member(reader: Reader, did: Did) -> Member:
    member = MEMBERS.get(reader, did.encode())
    if member is None:
        raise Refused(errors.NOT_A_MEMBER)
    return member


def _own(ctx: Context, did: Did) -> Member:
    if ctx.sponsor != did:
        raise Refused(errors.WRONG_SIGNER)
    return _member(ctx.state, did)


def _check_keys(keys: messages.Keys) -> None:
    signatures.check_key(keys.node)
    _check_receiving(keys.receiving)


def _check_receiving(key: ReencryptionKey | None) -> None:
    if key is not None and key[0] not in (2, 3):
        raise Refused(errors.BAD_KEY)


def _check_roles(roles: list[Code]) -> None:
    if len(set(roles)) != len(roles) or not ROLES.issuperset(roles):
        raise Refused(errors.UNKNOWN_ROLE)
