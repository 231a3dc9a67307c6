"""Why some mutants may live: the rows of docs/reference/mutants.md.

A row is of one change: function, the line before, the line after, why no test can tell. A row whose function is ``*``
is of a kind of change, wherever it is made: what is replaced once in a line, by what, and why.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Mutant(NamedTuple):
    """What was changed: the function, the line before and the line after."""

    function: str
    was: str
    becomes: str


def explanations(page: str) -> dict[Mutant, str]:
    """The rows of docs/reference/mutants.md: function, line before, line after, why no test can tell."""
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip().strip("`").replace("\\|", "|") for cell in line.replace("\\|", "\0").split("|")]
        cells = [cell.replace("\0", "|") for cell in cells]
        if len(cells) == 6 and (cells[1] == "*" or cells[1].startswith("caremesh.")):
            rows[Mutant(*cells[1:4])] = cells[4]
    return rows


def reason(mutant: Mutant, why: dict[Mutant, str]) -> str | None:
    """The explanation of a survivor: its own, or that of its kind (a row whose function is ``*``), or None."""
    kinds = (text for row, text in why.items() if row.function == "*" and _is_of_kind(mutant, row))
    return why.get(mutant) or next(kinds, None)


def _is_of_kind(mutant: Mutant, row: Mutant) -> bool:
    pieces = mutant.was.split(row.was)
    changed = (row.was.join(pieces[:at]) + row.becomes + row.was.join(pieces[at:]) for at in range(1, len(pieces)))
    return mutant.becomes in changed


def idle_explanations(why: Iterable[Mutant], survivors: Iterable[Mutant], tried: Iterable[str]) -> list[Mutant]:
    """Explanations, of the modules that were tried, that no survivor needs."""
    modules = {source_of(name) for name in tried}
    idle = set(why) - set(survivors)
    return sorted(mutant for mutant in idle if file_of(mutant.function) in modules)


def file_of(function: str) -> Path | None:
    """The file that a function or method named with dots is in; None when its module has gone."""
    parts = function.split(".")
    for end in range(len(parts) - 1, 0, -1):
        path = Path("src", *parts[:end])
        if path.is_dir():
            return path / "__init__.py"
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
    return None


def source_of(name: str) -> Path:
    """The file of a mutant."""
    module = name.rpartition(".")[0] if "ǁ" not in name else name.partition("ǁ")[0].rpartition(".")[0]
    path = Path("src", *module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
