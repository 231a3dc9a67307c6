"""A contract's README says what its code says."""

import pytest

from tools.contract_readmes import CONTRACTS, ROOT, written

HEADINGS = ["Purpose", "State", "Invariants", "Messages", "Errors", "Events", "Queries"]


@pytest.mark.parametrize("name", CONTRACTS)
def test_tables_are_those_of_the_code(name: str) -> None:
    assert (ROOT / name / "README.md").read_text() == written(name), "run python -m tools.contract_readmes"


@pytest.mark.parametrize("name", CONTRACTS)
def test_headings_are_fixed(name: str) -> None:
    lines = (ROOT / name / "README.md").read_text().splitlines()
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_has_the_six_files(name: str) -> None:
    needed = {"README.md", "messages.py", "state.py", "logic.py", "queries.py", "errors.py"}
    assert needed <= {path.name for path in (ROOT / name).iterdir()}
