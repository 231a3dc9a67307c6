"""A subject grants, and takes back."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from caremesh.contracts.consent import errors
from caremesh.contracts.consent.messages import Conditions, Grant, Revoke, Scope
from caremesh.contracts.consent.queries import consent_id, is_active, of_stream
from caremesh.contracts.consent.state import CONSENTS, OF_STREAM, Consent
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.ledger.state import Reader
from caremesh.types import (
    DAY_S,
    Code,
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

MAX_PERIOD_S: Final[dict[Code, Seconds]] = {"TREAT": 3_653 * DAY_S, "HRESCH": 3_653 * DAY_S, "HPAYMT": 731 * DAY_S}
"""How long a purpose may be granted for; ``DEFAULT_MAX_PERIOD_S`` for those not named."""
DEFAULT_MAX_PERIOD_S: Final[Seconds] = 366 * DAY_S


class StreamLike(Protocol):
    """What this contract needs to know of a stream."""

    @property
    def id(self) -> StreamId: ...
    @property
    def key(self) -> Multikey: ...
    @property
    def source(self) -> Did: ...
    @property
    def epoch(self) -> Count: ...
    @property
    def custodians(self) -> list[Did]: ...


class MemberLike(Protocol):
    """What this contract needs to know of a member."""

    @property
    def roles(self) -> list[Code]: ...
    @property
    def jurisdiction(self) -> CountryCode: ...
    @property
    def status(self) -> str: ...


class Needs(Protocol):
    """What this contract needs of others."""

    def permitted(self, ctx: Context, permit: SignedPermit, /) -> StreamLike:
        """The stream of a valid permit, opened or renewed by it. Raises Refused."""
        ...

    def stream(self, reader: Reader, stream: StreamId, /) -> StreamLike | None:
        """An open stream, or None."""
        ...

    def segment_count(self, reader: Reader, stream: StreamId, /) -> Count:
        """How many segments a stream has ever had."""
        ...

    def member(self, reader: Reader, did: Did, /) -> MemberLike | None:
        """A member, or None."""
        ...

    def receiving_key(self, reader: Reader, did: Did, /) -> ReencryptionKey | None:
        """The key that grants to a member are made to."""
        ...

    def brake_on(self, reader: Reader, at: Seconds, /) -> bool:
        """Whether the emergency brake is on."""
        ...

    def purpose_is_known(self, code: Code, /) -> bool:
        """Whether the regulations can speak of a purpose."""
        ...

    def action_is_known(self, code: Code, /) -> bool:
        """Whether the regulations can speak of an action."""
        ...

    def may_grant(
        self,
        reader: Reader,
        /,
        *,
        height: Height,
        at: Seconds,
        action: Code,
        purpose: Code,
        member_roles: list[Code],
        source_jurisdiction: CountryCode,
        grantee_jurisdiction: CountryCode,
        explicit: bool,
        entire: bool,
        starts: Seconds,
        ends: Seconds,
    ) -> tuple[bool, list[str]]:
        """Whether the regulations permit the grant, and which policies decide."""
        ...


def grant(ctx: Context, msg: Grant, needs: Needs) -> None:  # noqa: PLR0912 - one branch per rule reads as the rules do
    """The subject allows a member what the message says, as far as the law lets them."""
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if needs.brake_on(ctx.state, ctx.time):
        raise Refused(errors.BRAKE_ON)
    stream = needs.permitted(ctx, msg.permit) if msg.permit is not None else needs.stream(ctx.state, msg.stream)
    if stream is None:
        raise Refused(errors.INVALID_PATIENT)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    if not ctx.signed_by(stream.key):
        raise Refused(errors.WRONG_KEY)
    if msg.from_ % DAY_S or msg.until % DAY_S:
        raise Refused(errors.NOT_WHOLE_DAYS)
    if msg.until <= msg.from_ or msg.until <= ctx.time:
        raise Refused(errors.EMPTY_PERIOD)
    _check_codes(msg, needs)
    if any(
        msg.until - max(msg.from_, ctx.time) > MAX_PERIOD_S.get(code, DEFAULT_MAX_PERIOD_S) for code in msg.purposes
    ):
        raise Refused(errors.PERIOD_TOO_LONG)
    _check_scope(ctx, msg.stream, msg.scope, needs)
    grantee = needs.member(ctx.state, msg.grantee)
    if grantee is None:
        raise Refused(errors.UNKNOWN_GRANTEE)
    if grantee.status != "active":
        raise Refused(errors.GRANTEE_SUSPENDED)
    if msg.grantee in stream.custodians:
        raise Refused(errors.GRANTEE_IS_CUSTODIAN)
    if msg.epoch != stream.epoch:
        raise Refused(errors.WRONG_EPOCH)
    if msg.receiving_key != needs.receiving_key(ctx.state, msg.grantee):
        raise Refused(errors.WRONG_RECEIVING_KEY)
    if msg.verifying_key[0] not in (2, 3):
        raise Refused(errors.BAD_KEY)
    if [entry.custodian for entry in msg.fragments] != stream.custodians:
        raise Refused(errors.WRONG_CUSTODIANS)
    if msg.conditions is not None and msg.conditions.max_receipts == 0:
        raise Refused(errors.BAD_CONDITIONS)
    identity = consent_id(msg.stream, msg.salt)
    if CONSENTS.get(ctx.state, identity) is not None:
        raise Refused(errors.SALT_REUSED)
    same = _same(ctx, msg)
    if same is not None:
        raise Refused(errors.ALREADY_HAS_ACCESS, same.id.hex())
    policies = _check_law(ctx, msg, stream, grantee, needs)

    consent = Consent(
        id=identity,
        stream=msg.stream,
        source=stream.source,
        grantee=msg.grantee,
        scope=msg.scope,
        actions=msg.actions,
        purposes=msg.purposes,
        starts=msg.from_,
        ends=msg.until,
        epoch=msg.epoch,
        receiving_key=msg.receiving_key,
        verifying_key=msg.verifying_key,
        fragments=msg.fragments,
        explicit=msg.explicit,
        granted=ctx.height,
        policies=policies,
        status="granted",
        conditions=msg.conditions or Conditions(),
    )
    CONSENTS.put(ctx.state, consent, identity)
    OF_STREAM.append(ctx.state, identity, msg.stream)
    ctx.emit("consent/granted", consent=identity, stream=msg.stream, grantee=msg.grantee)


def revoke(ctx: Context, msg: Revoke, needs: Needs) -> None:
    """The subject takes a consent back. Nothing but the subject's key is asked for: not quota, brake or law."""
    consent = CONSENTS.get(ctx.state, msg.consent)
    if consent is None:
        raise Refused(errors.UNKNOWN_CONSENT)
    stream = needs.stream(ctx.state, consent.stream)
    if stream is None or not ctx.signed_by(stream.key):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if consent.status == "revoked":
        raise Refused(errors.ALREADY_REVOKED)

    CONSENTS.put(ctx.state, msgspec.structs.replace(consent, status="revoked"), msg.consent)
    ctx.emit("consent/revoked", consent=msg.consent, stream=consent.stream, grantee=consent.grantee)


def _check_codes(msg: Grant, needs: Needs) -> None:
    purposes, actions = msg.purposes, msg.actions
    if not purposes or len(set(purposes)) != len(purposes) or not all(map(needs.purpose_is_known, purposes)):
        raise Refused(errors.UNKNOWN_PURPOSE)
    if not actions or len(set(actions)) != len(actions) or not all(map(needs.action_is_known, actions)):
        raise Refused(errors.UNKNOWN_ACTION)


def _check_scope(ctx: Context, stream: StreamId, scope: Scope, needs: Needs) -> None:
    """Listed segments exist, in ascending order; an existing scope ends at a height that is there."""
    if scope.kind == "listed":
        count = needs.segment_count(ctx.state, stream)
        ascending = scope.segments == sorted(set(scope.segments))
        if not scope.segments or not ascending or scope.segments[-1] >= count or scope.height:
            raise Refused(errors.BAD_SCOPE)
    elif scope.segments or (scope.kind == "future" and scope.height) or scope.height > ctx.height:
        raise Refused(errors.BAD_SCOPE)


def _same(ctx: Context, msg: Grant) -> Consent | None:
    """A consent in force or to come that overlaps in grantee, purpose, action, time and segments."""
    for consent in of_stream(ctx.state, msg.stream):
        if (
            consent.grantee == msg.grantee
            and (is_active(consent, ctx.time) or (consent.status == "granted" and ctx.time < consent.starts))
            and consent.starts < msg.until
            and msg.from_ < consent.ends
            and set(consent.purposes).intersection(msg.purposes)
            and set(consent.actions).intersection(msg.actions)
            and (consent.scope.kind != "listed" or msg.scope.kind != "listed" or _overlap(consent.scope, msg.scope))
        ):
            return consent
    return None


def _overlap(one: Scope, other: Scope) -> bool:
    return bool(set(one.segments).intersection(other.segments))


def _check_law(ctx: Context, msg: Grant, stream: StreamLike, grantee: MemberLike, needs: Needs) -> list[str]:
    """Every pair of action and purpose is asked; all must be permitted. Returns the policies cited, sorted."""
    source = needs.member(ctx.state, stream.source)
    cited: list[str] = []
    for action in msg.actions:
        for purpose in msg.purposes:
            permit, policies = needs.may_grant(
                ctx.state,
                height=ctx.height,
                at=ctx.time,
                action=action,
                purpose=purpose,
                member_roles=sorted(grantee.roles),
                source_jurisdiction=source.jurisdiction if source is not None else "ZZ",
                grantee_jurisdiction=grantee.jurisdiction,
                explicit=msg.explicit,
                entire=msg.scope.kind != "listed",
                starts=msg.from_,
                ends=msg.until,
            )
            if not permit:
                raise Refused(errors.NOT_PERMITTED, ", ".join(policies))
            cited += policies
    return sorted(set(cited))
