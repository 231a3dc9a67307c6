"""What the policy contract keeps: which versions count from when to when, their texts, and who has which approvals."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh.contracts.policy.messages import PolicySetId
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Code, Count, CountryCode, Digest, Height, Seconds

__all__ = [
    "APPROVALS",
    "CALENDAR",
    "TEXTS",
    "VERSIONS",
    "Approval",
    "Approvals",
    "Calendar",
    "Text",
    "Version",
    "is_in_force",
]


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One version of a policy set. It counts from height ``starts`` up to, not including, ``ends``."""

    set: PolicySetId
    version: Count
    jurisdictions: list[CountryCode]
    text: Digest
    """SHA-256 of the text in UTF-8."""
    starts: Height
    ends: Height | None = None


class Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The versions that are in force or waiting, ordered by set and version: all that a decision reads."""

    versions: list[Version]


class Text(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The text of a version, kept as long as the ledger so that old decisions can be explained."""

    text: str


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a competent body has approved of a member. It counts up to, not including, ``until``."""

    approval: Code
    until: Seconds


class Approvals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member's approvals, ordered by code, each code once."""

    entries: list[Approval]


APPROVALS: Final = Table(b"policy/approval/", Approvals)
"""By the member's DID."""
CALENDAR: Final = Table(b"policy/calendar/", Calendar)
"""One record, without key parts."""
TEXTS: Final = Table(b"policy/text/", Text)
"""By digest of the text (32 bytes)."""
VERSIONS: Final = CountedList(b"policy/version/", Version)
"""By the set's name: every version there has been; the index is the version's number."""


def is_in_force(version: Version, height: Height) -> bool:
    """Whether a version counts at a height."""
    return version.starts <= height and (version.ends is None or height < version.ends)
