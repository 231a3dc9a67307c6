"""``caremesh policy``: a request in, words and an exit code out."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.contracts.policy.library import shipped
from caremesh.errors import BadInput

RUNNER = CliRunner()


def example(ask: str = "access", **changes: Any) -> dict[str, Any]:
    result = RUNNER.invoke(app, ["policy", "example", ask])
    assert result.exit_code == 0
    given = json.loads(result.stdout) | changes
    return {name: value for name, value in given.items() if value is not None}


def explained(request: Any, *words: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["policy", "explain", "-", *words], input=json.dumps(request))
    return result.exit_code, result.stdout


def test_a_permit_cites_every_set(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(example()))
    result = RUNNER.invoke(app, ["policy", "explain", str(file)])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == [
        "Permitted. Every set in force allows it:",
        "  hipaa/506-c-2: A health care provider treats the individual. [45 CFR 164.506(c)(2)]",
    ]
    assert len(result.stdout.splitlines()) == 4


def test_a_denial_says_what_stands_against_it_and_what_does_not() -> None:
    code, said = explained(example(purpose="HMARKT"))
    assert code == 4
    assert said.splitlines() == [
        "Denied. What stands against it:",
        "  hipaa/no-permit: Nothing in this set allows it.",
        "  iso22600/no-permit: Nothing in this set allows it.",
        "house (version 0) permits it:",
        "  house/access: What no house rule forbids, the house allows. [House rules 1]",
    ]


def test_a_grant_is_asked_for_like_an_access() -> None:
    code, said = explained(example("grant"))
    assert (code, "house/grant" in said) == (0, True)


def test_programs_get_each_sets_answer() -> None:
    code, said = explained(example(asserted=True, purpose="ETREAT"), "--json")
    answer = json.loads(said)
    assert (code, answer["permit"], answer["not_understood"]) == (4, False, [])
    assert "house/asserted-purpose" in answer["policies"]
    assert [entry["set"] for entry in answer["sets"]] == ["hipaa", "house", "iso22600"]
    house = answer["sets"][1]
    assert (house["permit"], house["version"]) == (False, 0)
    assert house["reasons"][0] == {
        "policy": "house/asserted-purpose",
        "effect": "forbid",
        "legal": "House rules 2",
        "sentence": house["reasons"][0]["sentence"],
    }


def test_codes_that_no_policy_knows_are_named() -> None:
    code, said = explained(example(purpose="NOSUCH", member_roles=["king"]))
    assert code == 4
    assert "No policy knows a code in: member_roles, purpose." in said
    assert json.loads(explained(example(action="steal"), "--json")[1])["not_understood"] == ["action"]


def test_a_place_without_law() -> None:
    code, said = explained(example(source_jurisdiction="AQ"))
    assert (code, "policy/no-set" in said) == (4, True)
    answer = json.loads(explained(example(source_jurisdiction="AQ"), "--json")[1])
    assert (answer["policies"], answer["sets"]) == (["policy/no-set"], [])


def test_the_height_of_the_file_does_not_matter() -> None:
    assert explained(example(height=99))[0] == 0


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        ([], "ask: access or grant"),
        ({}, "ask: access or grant"),
        ({"ask": ["access"]}, "ask: access or grant"),
        (example(at=None, ends=None), "missing: at, ends"),
        (example(name="Jane"), "there are fields that no request has"),
        (example(at="Jane"), "at"),
        (example(source_jurisdiction="Jane"), "source_jurisdiction"),
        (example(member_roles=[1]), "member_roles[0]"),
    ],
)
def test_what_is_no_request_is_named_and_not_repeated(request_: Any, place: str) -> None:
    result = RUNNER.invoke(app, ["policy", "explain", "-"], input=json.dumps(request_))
    assert isinstance(result.exception, BadInput)
    assert (result.exception.code, result.exception.place) == ("cli.05", place)
    assert "Jane" not in str(result.exception)


@pytest.mark.parametrize(("data", "code"), [(b"not json", "cli.05"), (b"\xff", "cli.05"), (b"[" * 100_000, "cli.05")])
def test_what_is_no_json(data: bytes, code: str) -> None:
    result = RUNNER.invoke(app, ["policy", "explain", "-"], input=data)
    assert isinstance(result.exception, BadInput)
    assert result.exception.code == code


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["policy", "explain", str(tmp_path / "missing.json")])
    assert isinstance(result.exception, BadInput)
    assert (result.exception.code, result.exception.place) == ("cli.01", "missing.json")


def test_without_a_mesh_there_is_no_ledger_to_ask(tmp_path: Path) -> None:
    words = ["policy", "explain", "-", "--ledger", "--home", str(tmp_path)]
    result = RUNNER.invoke(app, words, input=json.dumps(example()))
    assert isinstance(result.exception, BadInput)
    assert result.exception.code == "cli.04"


def test_the_example_is_a_set_that_is_shipped() -> None:
    assert example()["legal_basis"] == shipped("hipaa")[0].access.legal_basis
    assert example("grant")["ask"] == "grant"
