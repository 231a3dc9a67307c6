"""Mutation testing: which changes of the code would no test notice?

    python -m tools.mutants [--only src/caremesh/codec.py …] [--budget MINUTES] [--resume] [--quick] [--slow] [--jobs N]

mutmut changes one thing at a time in a copy of the tree (build/mutants/tree) and runs the room's own fast unit and
property tests that reach it: a room whose faults only another room's tests notice is not tested. A surviving mutant is
a missing test or a needless line; the few that change nothing anyone could observe are explained in
docs/reference/mutants.md (see mutants_explained.py). Writes build/mutants.json: per module the counts, and every
survivor with its explanation or null. Exit code 1 when less than 90 % of the mutants tried are killed or explained, or
when an explanation of a module that was tried whole is of no survivor; 2 when nothing could be tried.

``--resume`` tries again what the last run did not kill, and what has changed since; ``--quick`` leaves out the second
trial of survivors that a test reaches after everything was imported. Both are for work on the tests, not for a figure.
``--slow`` runs the room's slow tests too: for what only real servers reach.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from tools.mutants_explained import Mutant, explanations, idle_explanations, reason, source_of

COPIED: Final = ("tests", "tools", "bench", "vectors", "docs", "web/src")
ROOMS: Final = ("codec.py", "ledger", "consensus", "contracts", "sealing", "crypto", "custodian", "gateway", "wallet")
MUTMUT: Final = str(Path(sys.executable).with_name("mutmut").absolute())
TREE: Final = Path("build/mutants/tree")
RESULT: Final = Path("build/mutants.json")
EXPLAINED: Final = Path("docs/reference/mutants.md")
GOAL_PERCENT: Final = 90
ALIVE: Final = frozenset({"survived", "no tests", "suspicious"})
KILLED: Final = frozenset({"killed", "timeout", "segfault", "caught by type check"})
KILLING_CODES: Final = frozenset({1, 3, 37})  # pytest failed, or found an error; timeouts are tried again
FRESH_LIMIT_S: Final = 120
NICENESS: Final = 10
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
"""Where the tests' folders are when it is there: nothing that they sync has to outlive them."""
PYTEST: Final = (
    "-p",
    "no:xdist",
    "--ignore=tests/unit/house",
    "--hypothesis-seed=0",
    "--hypothesis-profile=mutants",
)
DIFFS: Final = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps({name: get_diff_for_mutant(name) for name in json.load(sys.stdin)}))
"""
CONFIGURATION: Final = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = {patterns}
also_copy = {others}
use_git_change_detection = false
timeout_multiplier = 4
timeout_constant = 5
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {arguments}
"""


IMPORTED: Final = """
import json, sys
import pytest
seen = set()
def saw(frame, event, _):
    if event == "call" and frame.f_code.co_name.endswith("__mutmut_orig"):
        seen.add(frame.f_globals["__name__"] + "." + frame.f_code.co_name.removesuffix("__mutmut_orig"))
sys.setprofile(saw)
pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *sys.argv[2:]])
sys.setprofile(None)
with open(sys.argv[1], "w") as out:
    json.dump(sorted(seen), out)
"""


def own_tests(paths: list[Path]) -> list[str]:
    """The test folders named after the rooms or after each contract; all tests when there are none."""
    names: set[str] = set()
    for path in paths:
        room = path.relative_to("src/caremesh").with_suffix("").parts
        names.update(room)
        if path == Path("src/caremesh/contracts"):
            names.update(child.name for child in path.iterdir() if child.is_dir())
    folders = [str(Path("tests", kind, name)) for kind in ("unit", "property") for name in sorted(names)]
    return [folder for folder in folders if Path(folder).is_dir()] or ["tests/unit", "tests/property"]


def lay_out(paths: list[Path], *, resume: bool) -> None:
    """A copy of what the tests need, with mutmut told what to change; files that did not change stay as they are."""
    if not resume:
        shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True, exist_ok=True)
    others = [folder for folder in COPIED if Path(folder).exists()]
    for folder in ("src", *others):
        copy(Path(folder), TREE / folder)
        if folder != "src":
            copy(Path(folder), TREE / "mutants" / folder)
    for name in ("README.md", "LICENSE"):
        shutil.copy(name, TREE)
    patterns = [f"{path}/*" if path.is_dir() else str(path) for path in paths]
    configuration = CONFIGURATION.format(
        patterns=json.dumps(patterns),
        others=json.dumps(others),
        tests=json.dumps(own_tests(paths)),
        arguments=json.dumps(PYTEST),
    )
    (TREE / "pyproject.toml").write_text(Path("pyproject.toml").read_text("utf-8") + configuration, "utf-8")
    (TREE / "mutants/mutmut-stats.json").unlink(missing_ok=True)  # the tests may be others now
    for copied in (TREE / "mutants/src").rglob("*.py"):
        if "__mutmut_" not in copied.read_text("utf-8"):
            copied.unlink()  # mutmut takes what a run for other files copied for what it has mutated
    for kept in (TREE / "mutants").rglob("*.meta"):
        forget_survivors(kept)


def copy(source: Path, target: Path) -> None:
    """Make a folder equal to another; a file that is equal already is not touched."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    if target.exists():
        there = {path.relative_to(target) for path in target.rglob("*") if path.is_file()}
        for path in there - wanted:
            (target / path).unlink()
    for path in wanted:
        content, place = (source / path).read_bytes(), target / path
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def forget_survivors(kept: Path) -> None:
    """Let mutmut try again what its file of results says was not killed."""
    results = json.loads(kept.read_text("utf-8"))
    codes = results["exit_code_by_key"]
    results["exit_code_by_key"] = {name: code if code in KILLING_CODES else None for name, code in codes.items()}
    kept.write_text(json.dumps(results), "utf-8")


def run(budget_s: int | None, log: Path, jobs: int) -> bool:
    """Run mutmut within the budget. False when the time was up before every mutant was tried."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [MUTMUT, "run", "--max-children", str(jobs)],
            cwd=TREE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(budget_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            return False
    return True


def mutmut(*arguments: str) -> str:
    """What mutmut prints, asked in the tree."""
    command = [MUTMUT, *arguments]
    return subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False).stdout


def statuses() -> dict[str, str]:
    """Every mutant's name and status: killed, survived, timeout, no tests, not checked, …"""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines())
    return {name: status for name, colon, status in lines if colon}


def describe(names: list[str]) -> dict[str, Mutant]:
    """The mutants behind the names, from their diffs; lines that belong together are joined by a space."""
    run = subprocess.run(
        [sys.executable, "-c", DIFFS], cwd=TREE, input=json.dumps(names), capture_output=True, text=True, check=True
    )
    return {name: _read_diff(name, diff) for name, diff in json.loads(run.stdout).items()}


def _read_diff(name: str, diff: str) -> Mutant:
    lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    was, becomes = (" ".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(function_of(name), was, becomes)


def function_of(name: str) -> str:
    """``caremesh.codec._path`` for ``caremesh.codec.x__path__mutmut_3``; methods as ``module.Class.method``."""
    module, _, mangled = name.rpartition(".")
    function = mangled.partition("__mutmut_")[0].removeprefix("x_").replace("xǁ", "").replace("ǁ", ".")
    return f"{module}.{function}"


def try_afresh(name: str, tests: list[str]) -> str:
    """The status of one mutant in a process of its own, where it is switched on before anything is imported."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *PYTEST, *tests]
    environment = {**os.environ, "MUTANT_UNDER_TEST": name, "PYTHONPATH": "src"}
    try:
        run = subprocess.run(
            command, cwd=TREE / "mutants", env=environment, capture_output=True, check=False, timeout=FRESH_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    return "killed" if run.returncode else "survived"


def run_at_import(tests: list[str]) -> set[str]:
    """The functions that run while the tests are collected, as mutmut mangles their names."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "imported.json")
        environment = {**os.environ, "MUTANT_UNDER_TEST": "", "PYTHONPATH": "src"}
        command = [sys.executable, "-c", IMPORTED, str(found), *PYTEST, *tests]
        subprocess.run(command, cwd=TREE / "mutants", env=environment, capture_output=True, check=False)
        return set(json.loads(found.read_text("utf-8")))


def second_trial(names: list[str], jobs: int) -> dict[str, str]:
    """Try each mutant afresh with the tests of its own room. Raises RuntimeError when those fail without any mutant.

    mutmut forks after everything was imported, and knows which tests reach a function only from calls made inside of
    tests: what runs at import, or while a test module is loaded, it takes for surviving.
    """
    tests = {name: tuple(own_tests([source_of(name)])) for name in names}
    with ThreadPoolExecutor(jobs) as pool:
        for control in sorted(set(tests.values())):
            if try_afresh("", list(control)) != "survived":
                raise RuntimeError(f"without any mutant, these tests fail or there are none: {control}")
        return dict(zip(names, pool.map(lambda name: try_afresh(name, list(tests[name])), names), strict=True))


def summary(found: dict[str, str], survivors: dict[str, Mutant], why: dict[Mutant, str]) -> dict[str, dict[str, Any]]:
    """Per module: counts by status, and the survivors with their explanation."""
    modules: dict[str, dict[str, Any]] = {}
    for name, status in sorted(found.items()):
        module = modules.setdefault(name.rpartition(".")[0], {"counts": Counter(), "survivors": []})
        module["counts"][status] += 1
        if name in survivors:
            mutant = survivors[name]
            module["survivors"].append(
                {"id": name, **mutant._asdict(), "status": status, "explained": reason(mutant, why)}
            )
    for module in modules.values():
        counts = module["counts"]
        module["tried"] = counts.total() - counts["not checked"]
        module["killed"] = sum(counts[status] for status in KILLED)
        module["explained"] = sum(survivor["explained"] is not None for survivor in module["survivors"])
    return modules


def percent(part: int, whole: int) -> int:
    """Whole percent, rounded down."""
    return 100 * part // whole if whole else 0


def show(modules: dict[str, dict[str, Any]], console: Console) -> int:
    """Print a row per module and the unexplained survivors. Returns the whole percentage killed or explained."""
    table = Table(Column("module", overflow="fold"), "mutants", "tried", "killed", "explained", "survived", "settled")
    tried = settled = 0
    for name, module in modules.items():
        done = module["killed"] + module["explained"]
        tried, settled = tried + module["tried"], settled + done
        left = len(module["survivors"]) - module["explained"]
        cells = (module["counts"].total(), module["tried"], module["killed"], module["explained"], left)
        table.add_row(name.removeprefix("caremesh."), *map(str, cells), f"{percent(done, module['tried'])} %")
    for module in modules.values():
        for survivor in module["survivors"]:
            if survivor["explained"] is None:
                console.print(f"{survivor['function']} ({survivor['status']})", style="bold", highlight=False)
                console.print(f"  - {survivor['was']}\n  + {survivor['becomes']}", markup=False, highlight=False)
    console.print(table)
    return percent(settled, tried)


def _remove_leftovers() -> None:
    """What runs that were killed have left in memory: gigabytes, which nobody else frees."""
    for folder in MEMORY.glob("mutants-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Lay out, run, explain, write, show."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants")
    parser.add_argument("--only", nargs="+", help="files or folders below src/caremesh")
    parser.add_argument("--budget", type=int, help="minutes, after which the rest stays untried")
    parser.add_argument("--resume", action="store_true", help="keep what the last run killed")
    parser.add_argument("--quick", action="store_true", help="no second trial where only an import could matter")
    parser.add_argument("--slow", action="store_true", help="the room's slow tests too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    arguments = parser.parse_args()
    chosen = [Path(path) for path in arguments.only or [f"src/caremesh/{room}" for room in ROOMS]]
    console = Console(soft_wrap=True)
    missing = [path for path in chosen if not path.exists()]
    if missing:
        console.print(f"There is no {missing[0]}.")
        return 2
    os.nice(NICENESS)
    os.environ["PYTEST_ADDOPTS"] = f"-m '{'not long' if arguments.slow else 'not slow and not long'}'"
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        _remove_leftovers()
        scratch = tempfile.mkdtemp(prefix=f"mutants-{os.getpid()}-", dir=MEMORY)
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        os.environ["TMPDIR"] = scratch
    lay_out(chosen, resume=arguments.resume)
    log = RESULT.with_name("mutants.log")
    with console.status("mutants …"):
        whole = run(arguments.budget * 60 if arguments.budget else None, log, arguments.jobs)
        found = statuses()
        untouched = "Unable to force test failures" in log.read_text("utf-8", "replace")  # all of it runs at import
        if untouched:
            found |= second_trial(list(found), arguments.jobs)
        elif whole:
            alive = [name for name, status in found.items() if status in ALIVE]
            if arguments.quick:
                early = run_at_import(own_tests(chosen))
                alive = [name for name in alive if found[name] == "no tests" or name.partition("__mutmut_")[0] in early]
            found |= second_trial(alive, arguments.jobs)
        survivors = describe([name for name, status in found.items() if status in ALIVE])
    if not set(found.values()) - {"not checked"}:
        console.print(f"No mutant was tried; {log} says why:", log.read_text("utf-8", "replace")[-2000:], markup=False)
        return 2
    why = explanations(EXPLAINED.read_text("utf-8")) if EXPLAINED.exists() else {}
    modules = summary(found, survivors, why)
    RESULT.write_text(json.dumps({"complete": whole, "modules": modules}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    score = show(modules, console)
    idle = idle_explanations(why, survivors.values(), found) if whole else []
    for mutant in idle:
        console.print(f"{EXPLAINED}: no such survivor any more: {mutant.function}: {mutant.was}", markup=False)
    console.print(
        f"{score} % killed or explained (goal {GOAL_PERCENT} %){'' if whole else ', not all were tried'}; {RESULT}"
    )
    return 0 if score >= GOAL_PERCENT and not idle else 1


if __name__ == "__main__":
    sys.exit(main())
