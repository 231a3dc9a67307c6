"""Run the benches and write build/bench/results.json: numbers that anyone can measure again.

    python -m bench [--only AREA] [--page]

A bench is a module beside this one with ``run() -> list[dict]``. Each dictionary has ``id`` (starts with the area:
``ledger.``, ``import.`` …), ``value``, ``unit``, ``goal``, ``better`` ("higher" or "lower"), ``baseline`` (what a ratio
divides by, measured in the same run, or None) and ``samples``. Machine facts and the commit are added here.
With ``--page`` docs/reference/benchmarks.md is written from the results.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from caremesh.node.process import spare_the_collector

HERE: Final = Path(__file__).parent
RESULTS: Final = Path("build/bench/results.json")
PAGE: Final = Path("docs/reference/benchmarks.md")
FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "id": (str,),
    "value": (int, float),
    "unit": (str,),
    "better": (str,),
    "samples": (list, int),
}
OPTIONAL: Final = ("goal", "baseline")


def machine() -> dict[str, Any]:
    """Facts of this machine that a reader needs to judge the numbers."""
    processor = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = models[0] if models else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": processor or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that was measured, with ``+`` when the tree differs from it."""
    run = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def modules() -> list[str]:
    """Names of the bench modules, in order."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def check(result: dict[str, Any], module: str) -> dict[str, Any]:
    """The result, if it has every field. Raises ValueError naming module and field."""
    wrong = [field for field, kind in FIELDS.items() if not isinstance(result.get(field), kind)]
    if wrong:
        raise ValueError(f"bench/{module}.py: {result.get('id')!r}: missing or of the wrong kind: {', '.join(wrong)}")
    if result["better"] not in {"higher", "lower"}:
        raise ValueError(f"bench/{module}.py: {result['id']!r}: better is 'higher' or 'lower'")
    return {**dict.fromkeys(OPTIONAL), **result}


def measure(only: str, console: Console) -> list[dict[str, Any]]:
    """Run the benches whose area starts with ``only``; a module is an area, or lists its own in ``AREAS``."""
    spare_the_collector()  # as every process of ours does
    facts, at = machine(), commit()
    results: list[dict[str, Any]] = []
    for name in modules():
        module = importlib.import_module(f"bench.{name}")
        if not hasattr(module, "run"):
            continue
        areas: tuple[str, ...] = getattr(module, "AREAS", (name,))
        if only and not any(area.startswith(only) or only.startswith(f"{area}.") for area in areas):
            continue
        with console.status(f"bench/{name}.py …"):
            found = [check(result, name) for result in module.run()]
        results += [{**result, "machine": facts, "commit": at} for result in found if result["id"].startswith(only)]
    return results


def reached(result: dict[str, Any]) -> str:
    """``yes``, ``no`` or ``–`` (no goal)."""
    if result["goal"] is None:
        return "–"
    ahead = result["value"] >= result["goal"] if result["better"] == "higher" else result["value"] <= result["goal"]
    return "yes" if ahead else "no"


def number(value: float | None) -> str:
    """Three significant digits, without an exponent; whole numbers from a thousand up."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def row(result: dict[str, Any]) -> list[str]:
    """The cells of one result, for people."""
    samples = result["samples"]
    goal = "–" if result["goal"] is None else f"{'≥' if result['better'] == 'higher' else '≤'} {number(result['goal'])}"
    ratio = "–" if not result["goal"] else f"{result['value'] / result['goal']:.2f}"
    baseline = result["baseline"]
    shown = number(baseline) if isinstance(baseline, int | float) else "–" if baseline is None else str(baseline)
    count = str(len(samples) if isinstance(samples, list) else samples)
    return [result["id"], number(result["value"]), result["unit"], goal, ratio, reached(result), shown, count]


HEADINGS: Final = ("id", "value", "unit", "goal", "value ÷ goal", "reached", "baseline", "samples")


def page(results: list[dict[str, Any]]) -> str:
    """The reference page, in Markdown."""
    facts, at = (results[0]["machine"], results[0]["commit"]) if results else (machine(), commit())
    measured = (
        f"Measured at commit `{at}` on {facts['processor'] or facts['architecture']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, {facts['system']}, Python {facts['python']}."
    )
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench PAGE=1`. Ratios are taken within one run, so they hold on other machines better",
        "than absolute times do. The same numbers, with every sample, are in `build/bench/results.json`.",
        "",
        measured,
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
        *("| " + " | ".join([f"`{cells[0]}`", *cells[1:]]) + " |" for cells in map(row, results)),
    ]
    return "\n".join(lines) + "\n"


WIDTH: Final = 170
"""Of the table, in letters, where nobody says how wide the page is: ids and units are read whole."""


def main() -> int:
    """Measure, write, show. Exit code 2 when nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--only", default="", help="an area, or the beginning of an id")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE} too")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    results = measure(arguments.only, console)
    if not results:
        console.print(f"No bench begins with {arguments.only!r}. There are: {', '.join(modules()) or 'none'}.")
        return 2
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
    table = Table(*HEADINGS)
    for result in results:
        table.add_row(*row(result))
    console.print(table)
    console.print(str(RESULTS))
    if arguments.page:
        PAGE.write_text(page(results), "utf-8")
        console.print(str(PAGE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
