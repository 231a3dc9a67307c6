"""Words that nobody knows are refused before anything is opened, everywhere in one way, and are not repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from caremesh.cli import words
from caremesh.cli.main import app
from caremesh.errors import BadInput

WORD = "jane-doe"
"""What somebody typed: it may be anybody's name."""
SHARE = "3f0c"
ASKED = {
    ("wallet", "share", "laboratory", WORD): ("category 2", "medications"),
    ("wallet", "preview", WORD): ("category 1", "medications"),
    ("wallet", "share", "laboratory", "--purpose", "TREAT", "--purpose", WORD): ("purpose 2", "HPAYMT"),
    ("wallet", "share", "laboratory", "--template", WORD): ("template 1", "one-visit"),
    ("wallet", "share", "laboratory", "--segments", f"{WORD}=0"): ("category 1", "medications"),
    ("wallet", "narrow", SHARE, "--only", WORD): ("category 1", "medications"),
    ("wallet", "narrow", SHARE, "--purpose", WORD): ("purpose 1", "HPAYMT"),
    ("wallet", "narrow", SHARE, "--segments", f"{WORD}=0"): ("category 1", "medications"),
    ("wallet", "records", WORD): ("category 1", "medications"),
    ("wallet", "new-epoch", WORD): ("category 1", "medications"),
    ("wallet", "drop", WORD, "0", "Condition/1"): ("category 1", "medications"),
    ("wallet", "erase", WORD, "0"): ("category 1", "medications"),
    ("wallet", "certificate", WORD, "0"): ("category 1", "medications"),
    ("retract", "p1", WORD, "0"): ("category 1", "medications"),
    ("ask", WORD, "--why", "because"): ("category 1", "medications"),
    ("ask", "laboratory", "--why", "because", "--purpose", WORD): ("purpose 1", "HPAYMT"),
    ("read", WORD): ("category 1", "medications"),
    ("read", "laboratory", "--purpose", WORD): ("purpose 1", "HPAYMT"),
    ("read", "laboratory", "--basis", WORD): ("legal basis 1", "GDPR:9.2.h"),
    ("read", "laboratory", "--type", "observation"): ("type 1", "Observation"),
    ("init", "--network", "n", "--name", "n", "--country", "US", "--address", "https://a:1", "--role", WORD): (
        "role 1",
        "payer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("said", ASKED, ids=" ".join)
def test_a_word_that_nobody_knows_is_refused_with_its_place_and_the_choices(
    said: tuple[str, ...], tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, said, env={"CAREMESH_HOME": str(tmp_path / "home")})
    assert isinstance(done.exception, BadInput), done.output
    assert done.exception.code == "cli.12"
    at, choice = ASKED[said]
    assert done.exception.place.startswith(f"{at}; one of")
    assert choice in done.exception.place
    assert WORD not in str(done.exception)
    assert not (tmp_path / "home").exists()


def test_no_command_takes_such_a_word_without_looking_at_it() -> None:
    """Every parameter that is named like one of them has the check."""
    named = {"categories", "category", "purpose", "template", "type_", "basis", "role", "segments", "only"}
    found = [(path, name) for path, name, checked in _parameters(get_command(app), ()) if name in named and not checked]
    assert found == []
    assert {name for _, name, _ in _parameters(get_command(app), ())} >= named


def test_known_words_pass_and_so_does_nothing() -> None:
    context = typer.Context(click.Command("any"))
    for check, given in (
        (words.CATEGORY, ["laboratory", "hiv"]),
        (words.PURPOSE, "DUO:0000042"),
        (words.TEMPLATE, "insurer"),
        (words.TEMPLATE, ""),
        (words.LEGAL_BASIS, ["GDPR:9.2.h"]),
        (words.RESOURCE_TYPE, ["Observation"]),
        (words.ROLE, []),
    ):
        assert check(context, given) == given  # type: ignore[operator]


def test_a_shell_that_completes_a_line_is_not_refused() -> None:
    context = typer.Context(click.Command("any"), resilient_parsing=True)
    assert words.CATEGORY(context, [WORD]) == [WORD]


@pytest.mark.parametrize("abstract", ["Resource", "DomainResource", "Quantity"])
def test_only_what_a_record_can_be_is_a_type(abstract: str) -> None:
    with pytest.raises(BadInput, match=r"cli\.12"):
        words.RESOURCE_TYPE(typer.Context(click.Command("any")), [abstract])


def _parameters(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], str, bool]]:
    if hasattr(command, "commands"):
        return [found for name, inner in command.commands.items() for found in _parameters(inner, (*path, name))]
    return [(path, each.name, each.callback is not None) for each in command.params]
