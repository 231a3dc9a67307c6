"""What the policy contract keeps: which versions count from when to when, and their texts."""

from __future__ import annotations

from typing import Final

import msgspec

from caremesh.contracts.policy.messages import PolicySetId
from caremesh.ledger.state import CountedList, Table
from caremesh.types import Count, CountryCode, Digest, Height

__all__ = ["CALENDAR", "TEXTS", "VERSIONS", "Calendar", "Text", "Version", "is_in_force"]


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


CALENDAR: Final = Table(b"policy/calendar/", Calendar)
"""One record, without key parts."""
TEXTS: Final = Table(b"policy/text/", Text)
"""By digest of the text (32 bytes)."""
VERSIONS: Final = CountedList(b"policy/version/", Version)
"""By the set's name: every version there has been; the index is the version's number."""


def is_in_force(version: Version, height: Height) -> bool:
    """Whether a version counts at a height."""
    return version.starts <= height and (version.ends is None or height < version.ends)
