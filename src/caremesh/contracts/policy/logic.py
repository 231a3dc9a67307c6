"""Regulations come into force and go out of force, at a height, by a quorum of the authorities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from caremesh.contracts.policy.acceptance import accept
from caremesh.contracts.policy.errors import (
    BAD_JURISDICTION,
    NAME_TAKEN,
    NOT_AUTHORISED,
    NOT_IN_FORCE,
    SAME_TEXT,
    TOO_EARLY,
)
from caremesh.contracts.policy.messages import Adopt, PolicySet, Retire
from caremesh.contracts.policy.state import CALENDAR, TEXTS, VERSIONS, Calendar, Text, Version
from caremesh.crypto.hashes import sha256
from caremesh.errors import Refused
from caremesh.ledger.application import Context
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Signer
from caremesh.types import Height

__all__ = ["Needs", "adopt", "adopt_at_genesis", "retire"]


RESERVED: Final = "policy"
"""Answers cite ``policy/no-set`` where no set speaks."""


class Needs(Protocol):
    """What this contract needs of others."""

    def is_quorum(self, reader: Reader, signers: Sequence[Signer], /) -> bool:
        """Whether enough of the network's authorities are among the signers, under their current keys."""
        ...


def adopt(ctx: Context, msg: Adopt, needs: Needs) -> None:
    """Put a version of a set into force at a later height; what was to count from then on no longer does."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(NOT_AUTHORISED)
    if msg.effective <= ctx.height:
        raise Refused(TOO_EARLY)
    _check_name_and_places(msg.rules)
    digest = sha256(msg.rules.text.encode())
    last = _last(_calendar(ctx.state), msg.rules.set)
    if last is not None and (last.text, last.jurisdictions, last.ends) == (digest, msg.rules.jurisdictions, None):
        raise Refused(SAME_TEXT)
    rules = msg.rules
    accept(rules.text, rules.access, rules.grant, rules.tests)

    _end(ctx.state, rules.set, ctx.height, msg.effective)
    number = _begin(ctx.state, rules, digest, msg.effective)
    ctx.emit("policy/adopted", set=rules.set, version=number, effective=msg.effective)


def retire(ctx: Context, msg: Retire, needs: Needs) -> None:
    """Take a set out of force at a later height; a version that was to begin by then or later never does."""
    if not needs.is_quorum(ctx.state, ctx.signers):
        raise Refused(NOT_AUTHORISED)
    if msg.effective <= ctx.height:
        raise Refused(TOO_EARLY)
    last = _last(_calendar(ctx.state), msg.set)
    if last is None or (last.ends is not None and last.ends <= msg.effective):
        raise Refused(NOT_IN_FORCE)

    _end(ctx.state, msg.set, ctx.height, msg.effective)
    ctx.emit("policy/retired", set=msg.set, effective=msg.effective)


def adopt_at_genesis(state: View, sets: Sequence[PolicySet]) -> None:
    """Put the genesis document's sets into force from height 0. The same checks hold as later on."""
    for rules in sets:
        _check_name_and_places(rules)
        if _last(_calendar(state), rules.set) is not None:
            raise Refused(SAME_TEXT, rules.set)
        accept(rules.text, rules.access, rules.grant, rules.tests)
        _begin(state, rules, sha256(rules.text.encode()), 0)


def _check_name_and_places(rules: PolicySet) -> None:
    if rules.set == RESERVED:
        raise Refused(NAME_TAKEN)
    if any(first >= second for first, second in zip(rules.jurisdictions, rules.jurisdictions[1:], strict=False)):
        raise Refused(BAD_JURISDICTION)


def _calendar(reader: Reader) -> list[Version]:
    stored = CALENDAR.get(reader)
    return [] if stored is None else stored.versions


def _last(versions: Sequence[Version], name: str) -> Version | None:
    """The newest version of a set that is in force or waiting."""
    found = [version for version in versions if version.set == name]
    return found[-1] if found else None


def _begin(state: View, rules: PolicySet, digest: bytes, starts: Height) -> int:
    """Add a version and return its number."""
    owner = rules.set.encode()
    number = VERSIONS.bounds(state, owner)[1]
    version = Version(set=rules.set, version=number, jurisdictions=rules.jurisdictions, text=digest, starts=starts)
    VERSIONS.append(state, version, owner)
    TEXTS.put(state, Text(rules.text), digest)
    calendar = [*_calendar(state), version]
    CALENDAR.put(state, Calendar(sorted(calendar, key=lambda each: (each.set, each.version))))
    return number


def _end(state: View, name: str, height: Height, ends: Height) -> None:
    """No version of a set counts from ``ends`` on. Versions that are over at ``height`` leave the calendar."""
    kept: list[Version] = []
    for version in _calendar(state):
        now = version
        if version.set == name and (version.ends is None or version.ends > ends):
            now = msgspec.structs.replace(version, ends=max(ends, version.starts))
            VERSIONS.put(state, now.version, now, name.encode())
        if now.ends is None or (now.ends > height and now.ends > now.starts):
            kept.append(now)
    CALENDAR.put(state, Calendar(kept))
