"""Who belongs to the mesh, and who acts for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from caremesh.contracts.members import errors, messages
from caremesh.contracts.members.state import ALL, APPOINTMENTS, MEMBERS, Appointment, Member, appointment_key
from caremesh.crypto import signatures
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Signer
from caremesh.types import Code, Did, Height, Multikey

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

    def enrol_member(self, state: View, did: Did, key: Multikey, height: Height, /) -> None:
        """Register the DID of a new member. Raises Refused."""
        ...

    def is_practitioner(self, reader: Reader, did: Did, /) -> bool:
        """Whether a DID is registered as a practitioner's and active."""
        ...


def admit(ctx: Context, msg: messages.Admit, needs: Needs) -> None:
    """The authorities let an organisation in."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(errors.NO_QUORUM)
    admit_at(ctx.state, msg, ctx.height, needs)

    ctx.emit("members/admitted", member=msg.member)


def admit_at(state: View, msg: messages.Admit, height: Height, needs: Needs) -> None:
    """Write a new member; used by ``admit`` and at genesis."""
    if MEMBERS.get(state, msg.member.encode()) is not None:
        raise Refused(errors.ALREADY_MEMBER)
    _check_roles(msg.roles)
    _check_keys(msg.keys)

    needs.enrol_member(state, msg.member, msg.key, height)
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

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, status="suspended"), msg.member.encode())
    ctx.emit("members/suspended", member=msg.member)


def reinstate(ctx: Context, msg: messages.Reinstate, needs: Needs) -> None:
    """The authorities let a suspended member act again; one that left is admitted anew under another DID."""
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


def leave(ctx: Context, msg: messages.Leave) -> None:
    """A member goes, and does not come back under this DID."""
    member = _own(ctx, msg.member)

    MEMBERS.put(ctx.state, msgspec.structs.replace(member, status="left"), msg.member.encode())
    ctx.emit("members/left", member=msg.member)


def appoint(ctx: Context, msg: messages.Appoint, needs: Needs) -> None:
    """The sponsoring member says that a practitioner acts for it."""
    if not needs.is_practitioner(ctx.state, msg.practitioner):
        raise Refused(errors.NOT_A_PRACTITIONER)
    if not msg.roles or len(set(msg.roles)) != len(msg.roles):
        raise Refused(errors.UNKNOWN_ROLE)
    if msg.licensed_until <= ctx.time:
        raise Refused(errors.LICENCE_OVER)

    appointment = Appointment(
        practitioner=msg.practitioner,
        member=ctx.sponsor,
        roles=msg.roles,
        licensed_until=msg.licensed_until,
        status="active",
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


def _set_status(ctx: Context, practitioner: Did, status: str) -> None:
    key = appointment_key(practitioner, ctx.sponsor)
    appointment = APPOINTMENTS.get(ctx.state, key)
    if appointment is None or appointment.status == "dismissed":
        raise Refused(errors.NOT_APPOINTED)
    if appointment.status == status:
        raise Refused(errors.SAME_STATE)
    APPOINTMENTS.put(ctx.state, msgspec.structs.replace(appointment, status=status), key)


def _with_quorum(ctx: Context, did: Did, needs: Needs) -> Member:
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(errors.NO_QUORUM)
    return _member(ctx.state, did)


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
    if keys.receiving[0] not in (2, 3):
        raise Refused(errors.BAD_KEY)


def _check_roles(roles: list[Code]) -> None:
    if len(set(roles)) != len(roles) or not ROLES.issuperset(roles):
        raise Refused(errors.UNKNOWN_ROLE)
