"""A subject grants, changes what it granted, and takes it back."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh.contracts.consent import errors
from caremesh.contracts.consent.messages import (
    Conditions,
    Extend,
    FragmentCommitment,
    Grant,
    Narrow,
    OfferId,
    Redelegate,
    Revoke,
    Scope,
)
from caremesh.contracts.consent.needs import Needs, StreamLike
from caremesh.contracts.consent.queries import (
    consent_id,
    covers,
    ended_by,
    is_custodian_of_any,
    is_over,
    standing,
)
from caremesh.contracts.consent.state import CONSENTS, OF_STREAM, STANDING, Consent
from caremesh.errors import Refused
from caremesh.ledger.machine import Context
from caremesh.types import DAY_S, Code, ConsentId, Count, Did, ReencryptionKey, Seconds, StreamId

MAX_PERIOD_S: Final[dict[Code, Seconds]] = {"TREAT": 3_653 * DAY_S, "HRESCH": 3_653 * DAY_S, "HPAYMT": 731 * DAY_S}
"""How long a purpose may be granted for; ``DEFAULT_MAX_PERIOD_S`` for those not named."""
DEFAULT_MAX_PERIOD_S: Final[Seconds] = 366 * DAY_S
MAX_STANDING: Final = 128
"""Consents of a stream that are neither revoked nor over: each new one is compared with all of them."""
MAX_AGED: Final = 4
"""How many consents that are over for longer than audits last leave the state with each new one."""


def grant(ctx: Context, msg: Grant, needs: Needs, offer: OfferId | None = None) -> None:
    """The subject allows a member what the message says, as far as the law lets them."""
    stream = needs.permitted(ctx, msg.permit) if msg.permit is not None else known_stream(ctx, msg.stream, needs)
    if stream.id != msg.stream:
        raise Refused(errors.OTHER_STREAM)
    _check_giving(ctx, stream, needs)
    if msg.from_ % DAY_S:
        raise Refused(errors.NOT_WHOLE_DAYS)
    check_codes(msg.actions, msg.purposes, needs)
    _check_scope(ctx, msg.stream, msg.scope, needs)
    _check_grantee(ctx, msg.grantee, stream, needs)
    _check_delegation(ctx, stream, msg.grantee, msg.epoch, msg.receiving_key, msg.verifying_key, msg.fragments, needs)
    if msg.conditions is not None and msg.conditions.max_receipts == 0:
        raise Refused(errors.BAD_CONDITIONS)
    identity = consent_id(msg.stream, msg.salt)
    if CONSENTS.get(ctx.state, identity) is not None:
        raise Refused(errors.SALT_REUSED)
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
        policies=[],
        status="granted",
        threshold=stream.threshold,
        conditions=msg.conditions or Conditions(),
        offer=offer,
    )
    others = standing(ctx.state, msg.stream, ctx.time)
    policies = _check_terms(ctx, consent, others, needs)
    if len(others) >= MAX_STANDING:
        raise Refused(errors.TOO_MANY)

    _age_out(ctx, msg.stream, needs)
    CONSENTS.put(ctx.state, msgspec.structs.replace(consent, policies=policies), identity)
    OF_STREAM.append(ctx.state, identity, msg.stream)
    STANDING.put(ctx.state, [*(entry.id for entry in others), identity], msg.stream)
    ctx.emit("consent/granted", consent=identity, stream=msg.stream, grantee=msg.grantee)


def extend(ctx: Context, msg: Extend, needs: Needs) -> None:
    """The subject allows the same for longer, under the same checks as a grant."""
    consent, stream = _in_force(ctx, msg.consent, needs)
    _check_giving(ctx, stream, needs)
    if msg.until <= consent.ends:
        raise Refused(errors.NOT_LONGER)
    _check_grantee(ctx, consent.grantee, stream, needs)
    longer = msgspec.structs.replace(consent, ends=msg.until)
    policies = _check_terms(ctx, longer, standing(ctx.state, stream.id, ctx.time), needs)

    CONSENTS.put(ctx.state, msgspec.structs.replace(longer, policies=policies), consent.id)
    ctx.emit("consent/extended", consent=consent.id, stream=consent.stream, grantee=consent.grantee)


def redelegate(ctx: Context, msg: Redelegate, needs: Needs) -> None:
    """New fragments for a consent in force, under the same checks as at its grant."""
    consent, stream = _in_force(ctx, msg.consent, needs)
    _check_giving(ctx, stream, needs)
    _check_grantee(ctx, consent.grantee, stream, needs)
    _check_delegation(
        ctx, stream, consent.grantee, msg.epoch, msg.receiving_key, msg.verifying_key, msg.fragments, needs
    )
    if msg.verifying_key == consent.verifying_key or msg.fragments == consent.fragments:
        raise Refused(errors.SAME_FRAGMENTS)
    delegated = msgspec.structs.replace(
        consent,
        epoch=msg.epoch,
        receiving_key=msg.receiving_key,
        verifying_key=msg.verifying_key,
        fragments=msg.fragments,
        threshold=stream.threshold,
    )
    policies = _check_terms(ctx, delegated, standing(ctx.state, stream.id, ctx.time), needs)

    CONSENTS.put(ctx.state, msgspec.structs.replace(delegated, policies=policies), consent.id)
    ctx.emit("consent/redelegated", consent=consent.id, stream=consent.stream, grantee=consent.grantee)


def narrow(ctx: Context, msg: Narrow, needs: Needs) -> None:
    """The subject takes a part back. Like revoking, it asks for the subject's key and nothing else."""
    consent, _ = _in_force(ctx, msg.consent, needs)
    _check_taking(ctx, consent, needs)
    narrower = msgspec.structs.replace(
        consent,
        scope=consent.scope if msg.scope is None else msg.scope,
        actions=consent.actions if msg.actions is None else msg.actions,
        purposes=consent.purposes if msg.purposes is None else msg.purposes,
        ends=consent.ends if msg.until is None else msg.until,
    )
    if narrower == consent or not _lies_within(ctx, narrower, consent, needs):
        raise Refused(errors.NOT_NARROWER)
    check_codes(narrower.actions, narrower.purposes, needs)
    _check_period(ctx, narrower)

    CONSENTS.put(ctx.state, narrower, consent.id)
    ctx.emit("consent/narrowed", consent=consent.id, stream=consent.stream, grantee=consent.grantee)


def revoke(ctx: Context, msg: Revoke, needs: Needs) -> None:
    """The subject takes a consent back. Nothing but the subject's key is asked for: not quota, brake or law."""
    consent = _known(ctx, msg.consent)
    _check_taking(ctx, consent, needs)
    if consent.status == "revoked":
        raise Refused(errors.ALREADY_REVOKED)

    revoked = msgspec.structs.replace(consent, status="revoked", revoked=ctx.time - ctx.time % DAY_S)
    CONSENTS.put(ctx.state, revoked, msg.consent)
    others = [entry.id for entry in standing(ctx.state, consent.stream, ctx.time)]
    STANDING.put(ctx.state, others, consent.stream)
    ctx.emit("consent/revoked", consent=msg.consent, stream=consent.stream, grantee=consent.grantee)


def check_codes(actions: list[Code], purposes: list[Code], needs: Needs) -> None:
    """Raises Refused consent.08, consent.13."""
    if not purposes or len(set(purposes)) != len(purposes) or not all(map(needs.purpose_is_known, purposes)):
        raise Refused(errors.UNKNOWN_PURPOSE)
    if not actions or len(set(actions)) != len(actions) or not all(map(needs.action_is_known, actions)):
        raise Refused(errors.UNKNOWN_ACTION)


def known_stream(ctx: Context, identity: StreamId, needs: Needs) -> StreamLike:
    """An open stream. Raises Refused consent.01."""
    stream = needs.stream(ctx.state, identity)
    if stream is None:
        raise Refused(errors.INVALID_PATIENT)
    return stream


def _known(ctx: Context, identity: ConsentId) -> Consent:
    consent = CONSENTS.get(ctx.state, identity)
    if consent is None:
        raise Refused(errors.UNKNOWN_CONSENT)
    return consent


def _in_force(ctx: Context, identity: ConsentId, needs: Needs) -> tuple[Consent, StreamLike]:
    """A consent that is neither revoked nor over, and its stream."""
    consent = _known(ctx, identity)
    if consent.status == "revoked":
        raise Refused(errors.ALREADY_REVOKED)
    if is_over(consent, ctx.time):
        raise Refused(errors.NOT_IN_FORCE)
    return consent, known_stream(ctx, consent.stream, needs)


def _check_giving(ctx: Context, stream: StreamLike, needs: Needs) -> None:
    """What gives something is signed by the subject, alone, while the brake is off and the stream open."""
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)
    if needs.brake_on(ctx.state, ctx.time):
        raise Refused(errors.BRAKE_ON)
    if not needs.signed_for(ctx, stream.id, "grant"):
        raise Refused(errors.WRONG_KEY)
    if stream.closed:
        raise Refused(errors.CLOSED)


def _check_taking(ctx: Context, consent: Consent, needs: Needs) -> None:
    """What takes something back is signed by the subject, alone."""
    if not needs.signed_for(ctx, consent.stream, "revoke"):
        raise Refused(errors.WRONG_KEY)
    if not ctx.alone:
        raise Refused(errors.NOT_ALONE)


def _check_grantee(ctx: Context, did: Did, stream: StreamLike, needs: Needs) -> None:
    """An active member that is no custodian of the stream, nor of a consent that an earlier set still serves."""
    status = needs.standing(ctx.state, did)
    if status is None:
        raise Refused(errors.UNKNOWN_GRANTEE)
    if status != "active":
        raise Refused(errors.GRANTEE_SUSPENDED)
    if did in stream.custodians or is_custodian_of_any(ctx.state, stream.id, did, ctx.time):
        raise Refused(errors.GRANTEE_IS_CUSTODIAN)


def _check_delegation(
    ctx: Context,
    stream: StreamLike,
    grantee: Did,
    epoch: Count,
    receiving_key: ReencryptionKey,
    verifying_key: ReencryptionKey,
    fragments: list[FragmentCommitment],
    needs: Needs,
) -> None:
    """The fragments are for this epoch, the grantee's key, and each custodian of the stream."""
    if epoch != stream.epoch:
        raise Refused(errors.WRONG_EPOCH)
    if receiving_key != needs.receiving_key(ctx.state, grantee):
        raise Refused(errors.WRONG_RECEIVING_KEY)
    if verifying_key[0] not in (2, 3):
        raise Refused(errors.BAD_KEY)
    if [entry.custodian for entry in fragments] != stream.custodians:
        raise Refused(errors.WRONG_CUSTODIANS)


def _check_scope(ctx: Context, stream: StreamId, scope: Scope, needs: Needs) -> None:
    """Listed segments are there, in ascending order; an existing scope ends at a height that is there."""
    if scope.kind == "listed":
        named = [needs.segment(ctx.state, stream, index) for index in scope.segments]
        there = all(segment is not None and segment.status != "erased" for segment in named)
        if not scope.segments or scope.segments != sorted(set(scope.segments)) or not there or scope.height:
            raise Refused(errors.BAD_SCOPE)
    elif scope.segments or (scope.kind == "future" and scope.height) or scope.height > ctx.height:
        raise Refused(errors.BAD_SCOPE)


def _check_period(ctx: Context, consent: Consent) -> None:
    """Whole days, not empty, not over, and not longer than each purpose bears."""
    if consent.ends % DAY_S:
        raise Refused(errors.NOT_WHOLE_DAYS)
    if consent.ends <= consent.starts or consent.ends <= ctx.time:
        raise Refused(errors.EMPTY_PERIOD)
    length = consent.ends - max(consent.starts, ctx.time)
    if any(length > MAX_PERIOD_S.get(code, DEFAULT_MAX_PERIOD_S) for code in consent.purposes):
        raise Refused(errors.PERIOD_TOO_LONG)


def _check_terms(ctx: Context, consent: Consent, others: list[Consent], needs: Needs) -> list[str]:
    """The period is possible, nothing that stands covers the same, and the law permits it. Returns the policies cited.

    ``others``: the consents of its stream that stand.
    """
    _check_period(ctx, consent)
    same = _same(consent, others)
    if same is not None:
        raise Refused(errors.ALREADY_HAS_ACCESS, same.id.hex())
    cited: list[str] = []
    for action in consent.actions:
        for purpose in consent.purposes:
            permit, policies = needs.may_grant(
                ctx.state,
                height=ctx.height,
                at=ctx.time,
                action=action,
                purpose=purpose,
                source=consent.source,
                grantee=consent.grantee,
                explicit=consent.explicit,
                entire=consent.scope.kind != "listed",
                starts=consent.starts,
                ends=consent.ends,
            )
            if not permit:
                raise Refused(errors.NOT_PERMITTED, ", ".join(policies))
            cited += policies
    return sorted(set(cited))


def _same(new: Consent, others: list[Consent]) -> Consent | None:
    """Another consent, in force or to come, that overlaps in grantee, purpose, action, time and segments."""
    for consent in others:
        if (
            consent.id != new.id
            and consent.grantee == new.grantee
            and consent.starts < new.ends
            and new.starts < consent.ends
            and set(consent.purposes).intersection(new.purposes)
            and set(consent.actions).intersection(new.actions)
            and (
                consent.scope.kind != "listed"
                or new.scope.kind != "listed"
                or set(consent.scope.segments).intersection(new.scope.segments)
            )
        ):
            return consent
    return None


def _lies_within(ctx: Context, new: Consent, old: Consent, needs: Needs) -> bool:
    """Whether one consent allows nothing that the other does not."""
    return (
        set(new.actions).issubset(old.actions)
        and set(new.purposes).issubset(old.purposes)
        and new.ends <= old.ends
        and _scope_within(ctx, new, old, needs)
    )


def _scope_within(ctx: Context, new: Consent, old: Consent, needs: Needs) -> bool:
    """Future contains existing, and both contain the lists of what they cover now.

    A superseded segment is covered by lists alone, so a list made of another scope cannot name one.
    """
    if new.scope == old.scope:
        return True
    _check_scope(ctx, new.stream, new.scope, needs)
    if new.scope.kind == "listed":
        named = [(index, needs.segment(ctx.state, new.stream, index)) for index in new.scope.segments]
        return all(segment is not None and covers(old, index, segment) for index, segment in named)
    if new.scope.kind == "existing":
        return old.scope.kind == "future" or (old.scope.kind == "existing" and new.scope.height <= old.scope.height)
    return False


def _age_out(ctx: Context, stream: StreamId, needs: Needs) -> None:
    """Consents at the head of the list that have been over for longer than audits last leave the state."""
    before = ctx.time - needs.audit_s(ctx.state)
    for _ in range(MAX_AGED):
        oldest = OF_STREAM.get(ctx.state, OF_STREAM.bounds(ctx.state, stream)[0], stream)
        consent = None if oldest is None else CONSENTS.get(ctx.state, oldest)
        if consent is None or not ended_by(consent, before):
            return
        CONSENTS.delete(ctx.state, consent.id)
        OF_STREAM.drop_first(ctx.state, stream)
