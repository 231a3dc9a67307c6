"""The policy sets that come with the project, for genesis documents, demos and tests.

They are package data beside this module. Nothing in the state machine reads them: a set counts only once its text is
in the genesis document or in a ``policy/adopt`` message.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

import msgspec

from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.messages import PolicySet
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.types import CountryCode

__all__ = ["SHIPPED", "shipped"]

SHIPPED: Final = ("ehds", "gdpr", "hipaa", "house", "iso22600")


class _Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file beside a set's text."""

    id: str
    title: str
    jurisdictions: list[CountryCode]
    access: AccessRequest
    grant: GrantRequest
    tests: list[PolicyTest]


def shipped(*names: str) -> list[PolicySet]:
    """The named sets, or all of them, with their tests."""
    return [_read(name) for name in names or SHIPPED]


def _read(name: str) -> PolicySet:
    folder = files(__package__).joinpath("sets")
    beside = msgspec.json.decode(folder.joinpath(f"{name}.json").read_bytes(), type=_Beside)
    return PolicySet(
        set=beside.id,
        jurisdictions=beside.jurisdictions,
        text=folder.joinpath(f"{name}.cedar").read_text("utf-8"),
        access=beside.access,
        grant=beside.grant,
        tests=beside.tests,
    )
