"""The main job over five members in one process, on real records, and everything that must not work."""

import pytest

from caremesh.testing.main_job import MainJob, Step, Story


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return MainJob(tmp_path_factory.mktemp("mesh")).run()


def step(story: Story, title: str) -> Step:
    return next(step for step in story.steps if step.title == title)


@pytest.mark.slow
@pytest.mark.parametrize(
    "title",
    [
        pytest.param("Five members keep one ledger", marks=pytest.mark.promise("P7")),
        "The patient makes a wallet and enrols with the hospital",
        "The hospital imports the patient's records",
        "The patient shares laboratory and medications with the practice",
        pytest.param("A physician of the practice asks for the laboratory results", marks=pytest.mark.promise("P2")),
        "Custodians re-encrypt, the practice opens",
        pytest.param("A light client checks it, trusting one header only", marks=pytest.mark.promise("P4")),
        pytest.param("The patient sees who looked", marks=pytest.mark.promise("P2")),
        "Another purpose",
        pytest.param("Another category", marks=pytest.mark.promise("P2")),
        pytest.param("A tampered block at one member", marks=pytest.mark.promise("P6")),
        pytest.param("Tampered blocks everywhere", marks=pytest.mark.promise("P6")),
        pytest.param("A custodian that lies", marks=[pytest.mark.promise("P6"), pytest.mark.promise("P10")]),
        pytest.param("Revoked between receipt and release", marks=pytest.mark.promise("P3")),
        pytest.param("Revoked", marks=pytest.mark.promise("P3")),
        pytest.param("Expired", marks=pytest.mark.promise("P3")),
        pytest.param("An old receipt", marks=pytest.mark.promise("P3")),
    ],
)
def test_every_step_comes_out_as_promised(story: Story, title: str) -> None:
    found = step(story, title)
    assert found.kept, found.answer


@pytest.mark.slow
def test_no_step_is_left_out_of_the_list_above(story: Story) -> None:
    listed = next(mark for mark in test_every_step_comes_out_as_promised.pytestmark if mark.name == "parametrize")
    titles = [getattr(entry, "values", (entry,))[0] for entry in listed.args[1]]
    assert [found.title for found in story.steps] == titles
    assert story.kept


@pytest.mark.slow
def test_what_was_opened_is_a_table_with_units(story: Story) -> None:
    opened = step(story, "Custodians re-encrypt, the practice opens")
    assert opened.columns == ["date", "test", "value ", "unit"]
    assert len(opened.rows) == 12
    assert any(row[3] for row in opened.rows)
