"""Terms that people mean when they say "my practice": purposes, actions and a period, to be looked at before granting.

Purposes are codes of HL7 v3 PurposeOfUse. Periods are whole days from the day of granting on, in UTC.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from caremesh.errors import BadInput
from caremesh.types import DAY_S, Code, Seconds
from caremesh.wallet.errors import UNKNOWN_TEMPLATE


class Template(Struct, frozen=True, kw_only=True):
    """What a share of this kind allows. ``days``: length of the period. ``future``: records still to come, too."""

    name: Code
    sentence: str
    purposes: list[Code]
    actions: list[Code]
    days: int
    future: bool


TEMPLATES: Final = (
    Template(
        name="my-practice",
        sentence="My practice may read what is there and what comes, to treat me and coordinate my care, for a year.",
        purposes=["COC", "TREAT"],
        actions=["read"],
        days=365,
        future=True,
    ),
    Template(
        name="one-visit",
        sentence="For a visit: read what is there and what comes, to treat me, for two days.",
        purposes=["TREAT"],
        actions=["read"],
        days=2,
        future=True,
    ),
    Template(
        name="second-opinion",
        sentence="For a second opinion: read what is there now, to treat me, for thirty days.",
        purposes=["TREAT"],
        actions=["read"],
        days=30,
        future=False,
    ),
    Template(
        name="insurer",
        sentence="My insurer may read what is there now, to decide about payment, for thirty days.",
        purposes=["HPAYMT"],
        actions=["read"],
        days=30,
        future=False,
    ),
    Template(
        name="study",
        sentence="A study may compute on what is there and what comes, for research, for a year; only results leave.",
        purposes=["HRESCH"],
        actions=["compute"],
        days=365,
        future=True,
    ),
)


def template(name: str) -> Template:
    """The template of this name. Raises BadInput wallet.15."""
    for known in TEMPLATES:
        if known.name == name:
            return known
    raise BadInput(UNKNOWN_TEMPLATE, ", ".join(known.name for known in TEMPLATES))


def period(now: Seconds, days: int) -> tuple[Seconds, Seconds]:
    """(from, until) of ``days`` whole days, today (UTC) the first of them. ``until`` is the first second after."""
    start = now // DAY_S * DAY_S
    return start, start + days * DAY_S
