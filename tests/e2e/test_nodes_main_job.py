"""The main job over five nodes of several processes each, on loopback: the very steps of one process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from caremesh.testing.far_world import far
from caremesh.testing.main_job import MainJob, Step, Story

PROMISES = {
    "Five members keep one ledger": "P7",
    "A physician of the practice asks for the laboratory results": "P2",
    "A light client checks it, trusting one header only": "P4",
    "The patient sees who looked": "P2",
    "Another category": "P2",
    "A tampered block at one member": "P6",
    "Tampered blocks everywhere": "P6",
    "A custodian that lies": "P6",
    "Revoked between receipt and release": "P3",
    "Revoked": "P3",
    "Expired": "P3",
    "An old receipt": "P3",
}
OTHERS = (
    "The patient makes a wallet and enrols with the hospital",
    "The hospital imports the patient's records",
    "The patient shares laboratory and medications with the practice",
    "Custodians re-encrypt, the practice opens",
    "Another purpose",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("far")


@pytest.fixture(scope="module")
def story(folder: Path) -> Story:
    return MainJob(folder, world=far).run()


def step(story: Story, title: str) -> Step:
    return next(step for step in story.steps if step.title == title)


@pytest.mark.slow
@pytest.mark.parametrize(
    "title",
    [
        *(pytest.param(title, marks=pytest.mark.promise(promise)) for title, promise in PROMISES.items()),
        *OTHERS,
    ],
)
def test_every_step_comes_out_as_promised_over_the_network(story: Story, title: str) -> None:
    found = step(story, title)
    assert found.kept, found.answer


@pytest.mark.slow
def test_no_step_is_left_out_over_the_network(story: Story) -> None:
    assert {found.title for found in story.steps} == {*PROMISES, *OTHERS}


@pytest.mark.slow
def test_no_process_of_a_node_is_left(story: Story, folder: Path) -> None:
    assert story.kept
    for line in Path("/proc").iterdir():
        if line.name.isdigit() and line.name != str(os.getpid()):
            try:
                words = (line / "cmdline").read_bytes()
            except OSError:
                continue
            assert os.fsencode(folder) not in words or b"caremesh.testing.bent" not in words


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_no_log_of_a_node_holds_a_fault_or_a_name_that_nobody_gave_a_field(story: Story, folder: Path) -> None:
    assert story.kept
    for path in sorted((folder / "mesh").glob("*/log")):
        for line in path.read_text("utf-8").splitlines():
            assert line.startswith("{"), line
            assert '"fault"' not in line, line
            assert '"left_out"' not in line, line
