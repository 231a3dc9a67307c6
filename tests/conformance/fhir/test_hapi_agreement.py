"""Our verdicts beside those of the HAPI validator, which are kept with the examples."""

from __future__ import annotations

import pytest

from caremesh.fhir.validation import validate
from tools import fhir_agreement as agreement
from tools.fhir_examples import is_held_out, kept
from tools.fhir_mutants import FAULTS
from tools.fhir_verdicts import SOURCES, all_mutants, verdicts

pytestmark = pytest.mark.slow


def test_every_example_has_a_verdict() -> None:
    said = verdicts()
    for source in SOURCES:
        assert said[source].keys() == kept(source).keys()
    assert said["mutants"].keys() == {mutant.name for mutant in all_mutants()}


def test_a_quarter_was_set_aside_by_a_hash_of_names() -> None:
    names = list(kept("r4"))
    assert len(names) > 1_000
    assert 0.2 < sum(map(is_held_out, names)) / len(names) < 0.3


def test_curated_agreement_over_all_examples() -> None:
    found = [one for source in SOURCES for one in agreement.compare(source)]
    assert agreement.curated(found).total > 1_700
    assert agreement.curated(found).value >= 0.98
    assert agreement.false_alarms(found).value <= 0.005


def test_curated_agreement_on_examples_set_aside() -> None:
    found = agreement.compare("r4", held_out=True)
    assert agreement.curated(found).total > 200
    assert agreement.curated(found).value >= 0.97


def test_every_difference_has_a_rule_that_decides() -> None:
    """Also: nothing is listed that is no difference any more."""
    left = {one.name for source in SOURCES for one in agreement.differences(agreement.compare(source))}
    assert left == set(agreement.DECIDED)


def test_excluded_messages_are_ones_that_occur() -> None:
    said = {error[0] for source in SOURCES for errors in verdicts()[source].values() for error in errors}
    assert set(agreement.EXCLUDED) <= said


def test_mutants_are_caught() -> None:
    caught = {kind: [0, 0] for kind in FAULTS}
    for mutant in all_mutants():
        caught[mutant.kind][0] += not validate(mutant.resource).valid
        caught[mutant.kind][1] += 1
    assert all(total >= 250 for _, total in caught.values()), caught
    assert all(number / total >= 0.99 for number, total in caught.values()), caught


def test_a_mutant_is_refused_for_its_fault_not_for_its_example() -> None:
    for mutant in all_mutants()[::25]:
        source, _, name = mutant.name.split("/", 2)[2].partition("/")
        assert validate(kept(source)[name]).valid


def test_what_hapi_refuses_among_mutants_so_do_we() -> None:
    said = verdicts()["mutants"]
    for mutant in all_mutants():
        if any(error[0] not in agreement.EXCLUDED for error in said[mutant.name]):
            assert not validate(mutant.resource).valid, mutant.name


def test_the_page_is_what_was_measured() -> None:
    assert agreement.PAGE.read_text("utf-8") == agreement.page()
