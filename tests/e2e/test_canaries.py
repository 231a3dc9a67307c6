"""No canary, and no text of thirteen patients, in what a mesh keeps, says or complains of outside a patient's hands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from caremesh.fhir import samples
from tests.support import synthea
from tests.support.canaries import Needles, leaks, personal, plant
from tests.support.told import Told, as_json, check

pytestmark = [pytest.mark.slow, pytest.mark.promise("P1")]

FEWEST_KINDS = 120


@pytest.fixture(scope="module")
def canaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, dict[str, str]]:
    bundle = as_json(samples.patient())
    planted = plant(bundle)
    return Told(tmp_path_factory.mktemp("canaries"), [bundle], samples.directory()), planted


@pytest.fixture(scope="module")
def thirteen(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """One whole patient and the particulars of twelve; all of them whole are in the long simulation."""
    names = list(synthea.sizes())
    whole = [as_json(data) for data in synthea.read(*names[:1])]
    others = [as_json(data) for data in synthea.read(*names[1:])]
    for bundle in others:
        bundle["entry"] = [e for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient"]
    return Told(tmp_path_factory.mktemp("thirteen"), whole + others, synthea.directory())


def test_no_canary_in_any_kind_of_field_gets_out(canaries: tuple[Told, dict[str, str]]) -> None:
    told, planted = canaries
    kinds = Counter(planted.values())
    assert len(kinds) >= FEWEST_KINDS, sorted(kinds)
    assert all(len(canary) >= 12 for canary in planted)
    check(told, set(planted))


def test_no_name_address_identifier_or_text_of_thirteen_patients_gets_out(thirteen: Told) -> None:
    assert len(thirteen.bundles) == 13
    wanted = set().union(*map(personal, thirteen.bundles))
    assert len(wanted) > 1_000
    check(thirteen, wanted)


def test_the_search_finds_what_is_there(canaries: tuple[Told, dict[str, str]], tmp_path: Path) -> None:
    """A canary in the middle of a file, an event or a directory is found: the search is not blind."""
    _, planted = canaries
    canary = sorted(planted)[len(planted) // 2]
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "data.mdb").write_bytes(bytes(5_000) + canary.encode() + bytes(5_000))
    (tmp_path / "data.mdb").write_bytes(b"x" * 4_095 + canary.encode())
    found = leaks(tmp_path, Needles(planted), b"nothing is listed")
    assert found == {"data.mdb": [canary], "directory/data.mdb": [canary]}
    assert leaks(tmp_path, Needles(planted), canary.encode()) == {"data.mdb": [canary]}
    assert Needles(planted).without(canary.encode()).found(canary.encode()) == set()
