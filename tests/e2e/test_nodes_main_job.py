"""The main job over five nodes of several processes each, on loopback: the very steps of one process."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.client import wire
from caremesh.fhir import samples
from caremesh.node import founding
from caremesh.node.running import LEDGER
from caremesh.testing.far_world import far
from caremesh.testing.main_job import MainJob, Step, Story
from tests.support.canaries import Needles, personal
from tests.support.collector import Collector, Got, collecting

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
def collector() -> Iterator[Collector]:
    """Where all nodes send their traces."""
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def story(folder: Path, collector: Collector) -> Story:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAREMESH_TRACES_ENDPOINT", collector.url)
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


CLIENT, SERVER = 3, 2


def above(spans: dict[str, Got], span: Got) -> Got:
    return spans[span.parent]


@pytest.mark.slow
def test_a_trace_goes_from_the_desk_to_the_process_of_the_custodian_that_writes(
    story: Story, collector: Collector
) -> None:
    assert story.kept
    spans = {span.id: span for span in collector.spans()}
    names = {"custody.release": "releases", "custody.releases": "release-batches"}
    releases = [s for s in spans.values() if s.name in names and (s.part, s.kind) == ("ledger", SERVER)]
    asked_by_others = [s for s in releases if above(spans, above(spans, s)).parent]
    assert len(asked_by_others) >= 4
    for written in asked_by_others:
        asks = f"POST /custody/v1/{names[written.name]}"
        handed = above(spans, written)
        served = above(spans, handed)
        asked = above(spans, served)
        assert (handed.name, handed.kind, handed.part) == (asks, CLIENT, "api")
        assert (served.name, served.kind, served.part) == (written.name, SERVER, "api")
        assert (asked.name, asked.kind, asked.part) == (asks, CLIENT, "ledger")
        assert written.member == handed.member == served.member != asked.member
        assert (asked.said["caremesh.peer"], served.said["caremesh.caller"]) == (served.member, "member")
        assert not asked.parent
        [(_, wanted)] = asked.links
        assert (spans[wanted].name.split(".")[0], spans[wanted].member) == ("desk", asked.member)
    codes = {span.said.get("caremesh.code", "") for span in releases}
    assert {code.partition(".")[0] for code in codes} == {"", "custodian"}


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_a_trace_ties_nothing_together_between_members(story: Story, collector: Collector) -> None:
    """What two members have of one trace is one request; a custodian's traces are one request each."""
    assert story.kept
    spans = collector.spans()
    by_trace: dict[str, list[Got]] = {}
    for span in spans:
        by_trace.setdefault(span.trace, []).append(span)
    crossing = [found for found in by_trace.values() if len({span.member for span in found}) > 1]
    assert len(crossing) > 20
    for found in crossing:
        assert len({span.member for span in found}) == 2
        assert Counter((span.kind, span.part) for span in found if not span.parent) == {(CLIENT, "ledger"): 1}
        assert sum(span.kind == SERVER and span.part == "api" for span in found) <= 1
    linked = {trace for span in spans for trace, _ in span.links}
    for trace in linked:  # what was asked for stays with whoever was asked for it
        assert len({span.member for span in by_trace.get(trace, [])}) <= 1


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_nothing_personal_and_no_stream_is_in_any_trace(story: Story, folder: Path, collector: Collector) -> None:
    assert story.kept
    said = b"".join(collector.bodies)
    assert len(said) > 50_000
    wanted = personal(json.loads(samples.patient()))
    assert len(wanted) > 1_000
    home = folder / "mesh" / "hospital"
    known = founding.load(home)
    assert known is not None
    replica = known.replica(home / LEDGER, lambda: int(time.time()))
    try:
        values = {
            value
            for _, event in replica.subscribe()
            for value in event.attributes.values()
            if isinstance(value, bytes) and len(value) > 8
        }
    finally:
        replica.close()
    assert len(values) > 15
    spelled = {text for value in values for text in spellings(value)}
    assert Needles(wanted | spelled).found(said) == set()
    assert not [value for value in values if value in said]
    words = {"http.route", "http.request.method", "http.response.status_code"}
    mine = {"service.name", "service.version", "caremesh.member", "caremesh.part"}
    ours = {"caremesh.caller", "caremesh.code", "caremesh.peer"}
    form = {"trace_id", "span_id", "trace_state", "parent_span_id", "name", "kind", "flags", "attributes", "links"}
    form |= {"start_time_unix_nano", "end_time_unix_nano", "status"}
    assert set().union(*(span.fields for span in collector.spans())) <= words | mine | ours | form


def spellings(value: bytes) -> set[str]:
    return {value.hex(), wire.text_of(value)}
