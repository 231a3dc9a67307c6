"""The words that commands take: categories, purposes, templates, types. An unknown one is refused before anything is
opened, with its place and the choices. It is not repeated: what somebody typed may be anybody's name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Final, TypeVar

import typer

from caremesh.errors import BadInput

T = TypeVar("T", str, list[str], None)
_MOST_TOLD: Final = 60
_NEAREST: Final = 5


def only(what: str, choices: Callable[[], Collection[str]]) -> Callable[[typer.Context, T], T]:
    """A callback for ``typer.Option`` and ``typer.Argument``: each word is one of these. ``what``: what a word is.

    ``choices`` is called when there is something to check. Raises BadInput cli.12.
    """

    def check(context: typer.Context, given: T) -> T:
        words: list[str] = [given] if isinstance(given, str) else list(given or [])
        if not context.resilient_parsing:
            _check(what, [word for word in words if word], choices)
        return given

    return check


def check_categories(given: Collection[str]) -> None:
    """For categories inside a longer word, as ``laboratory=0,2``. Raises BadInput cli.12."""
    _check("category", given, _categories)


def _check(what: str, given: Collection[str], choices: Callable[[], Collection[str]]) -> None:
    from caremesh.cli.errors import UNKNOWN_WORD

    known = choices() if given else ()
    for number, word in enumerate(given, 1):
        if word not in known:
            raise BadInput(UNKNOWN_WORD, f"{what} {number}; {_told(word, known)}")


def _categories() -> Collection[str]:
    """The kinds of data."""
    from caremesh.fhir.categories import ALL

    return ALL


def _purposes() -> Collection[str]:
    """What records may be used for: HL7 v3 PurposeOfUse, GA4GH DUO."""
    from caremesh.contracts.policy.vocabulary import PURPOSES

    return PURPOSES


def _legal_bases() -> Collection[str]:
    """What the law lets a request rely on."""
    from caremesh.contracts.policy.vocabulary import LEGAL_BASES

    return LEGAL_BASES


def _member_roles() -> Collection[str]:
    """What an organisation can be on a network."""
    from caremesh.contracts.policy.vocabulary import MEMBER_ROLES

    return MEMBER_ROLES


def _templates() -> Collection[str]:
    """What people mean when they say "my practice"."""
    from caremesh.wallet.templates import TEMPLATES

    return [known.name for known in TEMPLATES]


def _resource_types() -> Collection[str]:
    """The resource types of FHIR R4."""
    from caremesh.fhir import definitions

    every = definitions.structure()["types"].items()
    return [name for name, one in every if one["kind"] == "resource" and not one["abstract"]]


def _told(word: str, known: Collection[str]) -> str:
    if len(known) <= _MOST_TOLD:
        return f"one of: {', '.join(sorted(known))}"
    return f"one of {len(known)}, the nearest: {', '.join(get_close_matches(word, known, _NEAREST, cutoff=0))}"


CATEGORY: Final = only("category", _categories)
PURPOSE: Final = only("purpose", _purposes)
TEMPLATE: Final = only("template", _templates)
LEGAL_BASIS: Final = only("legal basis", _legal_bases)
RESOURCE_TYPE: Final = only("type", _resource_types)
ROLE: Final = only("role", _member_roles)
