"""Evidence: which tests hold up which promise, with which seeds, against which faults.

``pytest --promises build/promises.json`` writes it (`make promises`). A test tells what it did through ``evidence``:

    @pytest.mark.promise("P6")
    def test_a_changed_block_is_named(evidence: Evidence) -> None:
        evidence.fault("block changed on disk")

A test that takes ``seed`` runs once per seed, 0 to ``--seeds`` − 1; the seed stands in its name, so that
``pytest 'path::test[seed=7]' --seeds 8`` replays it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

# How long an example takes depends on the machine, so no test fails for it. Mutants need no small example.
settings.register_profile("caremesh", deadline=None)
settings.register_profile("mutants", deadline=None, database=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("caremesh")

PROMISES = tuple(f"P{number}" for number in range(1, 11))
COLLECTED = pytest.StashKey[dict[str, dict[str, Any]]]()


class Evidence:
    """What one test reports of itself. It reaches `build/promises.json`, and nothing of it decides the outcome."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def seed(self, seed: int) -> None:
        """A seed that this test ran with."""
        self._properties.append(("seed", seed))

    def fault(self, what: str, times: int = 1) -> None:
        """A fault that this test injected: what, in a few words, and how many times."""
        self._properties.append(("fault", [what, times]))

    def say(self, what: str) -> None:
        """How this test was run, where that depends on the machine; the summary says it."""
        self._properties.append(("said", what))


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Where a test says which seeds it tried and which faults it injected."""
    return Evidence(request.node.user_properties)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("caremesh")
    group.addoption("--promises", type=Path, default=None, help="write the evidence for each promise to this file")
    group.addoption("--seeds", type=int, default=3, help="run each test that takes `seed` with this many seeds")
    group.addoption("--idle", type=float, default=120.0, help="minutes for which validators have nothing to do")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = range(metafunc.config.getoption("seeds"))
        metafunc.parametrize("seed", seeds, ids=[f"seed={seed}" for seed in seeds])


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:  # noqa: ARG001
    """Long bytes do not become names of tests: every worker needs the same names, random bytes or not."""
    return argname if isinstance(val, bytes) and len(val) > 8 else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--hypothesis-profile") == "mutants":  # named one by one, in the order of a set
        # quick ones first
        items.sort(key=lambda item: ("property" in item.path.parts, item.path, item.location[1] or 0))
    for item in items:
        for mark in item.iter_markers("promise"):
            unknown = [name for name in mark.args if name not in PROMISES]
            if unknown or not mark.args:
                raise pytest.UsageError(f"{item.nodeid}: promise{mark.args} is not one of {', '.join(PROMISES)}")
            item.user_properties.extend(("promise", name) for name in mark.args)
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "seed" in callspec.params:
            item.user_properties.append(("seed", callspec.params["seed"]))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COLLECTED] = {}


class _Collector:
    """Gathers the reports of all workers; only the process that started them writes."""

    def __init__(self, tests: dict[str, dict[str, Any]]) -> None:
        self.tests = tests

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties = list(report.user_properties)
        promises = sorted({str(value) for name, value in properties if name == "promise"})
        if not promises or (report.when != "call" and report.passed):
            return
        faults: dict[str, int] = {}
        for name, value in properties:
            if name == "fault" and isinstance(value, list | tuple):
                faults[value[0]] = faults.get(value[0], 0) + value[1]
        self.tests[report.nodeid] = {
            "outcome": "error" if report.failed and report.when != "call" else report.outcome,
            "promises": promises,
            "seconds": round(report.duration, 3),
            "seeds": sorted({value for name, value in properties if name == "seed" and isinstance(value, int)}),
            "faults": dict(sorted(faults.items())),
        }


@pytest.fixture(scope="session", autouse=True)
def _quiet_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the home of whoever runs it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "CAREMESH_HOME", "CAREMESH_PASSPHRASE"):
        patch.delenv(name, raising=False)
    yield
    patch.undo()


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Collector(session.config.stash[COLLECTED]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    said = {
        (report.nodeid.partition("::")[0], str(value))
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "said"
    }
    for file, what in sorted(said):
        terminalreporter.write_line(f"{file}: {what}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path: Path | None = session.config.getoption("promises")
    if path is None or hasattr(session.config, "workerinput"):
        return
    tests = session.config.stash[COLLECTED]
    evidence = {
        promise: {
            "tests": (held := {name: test for name, test in sorted(tests.items()) if promise in test["promises"]}),
            "outcomes": _tally(test["outcome"] for test in held.values()),
            "seeds": sorted({seed for test in held.values() for seed in test["seeds"]}),
            "faults": _sum(test["faults"] for test in held.values()),
        }
        for promise in PROMISES
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evidence, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _tally(outcomes: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome] = counts.get(outcome, 0) + 1
    return dict(sorted(counts.items()))


def _sum(parts: Iterator[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))
