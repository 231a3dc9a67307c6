"""Alert rules as Prometheus itself reads and evaluates them: a small program over its packages, built once.

Pages of ``/metrics`` become series as if they had been scraped: one for a while, then another.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from tools.go_programs import FOLDER, go_command

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = Path(__file__).parent / "alerts"
RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "caremesh.json"
SCRAPED: Final = {"instance": "127.0.0.1:9443", "job": "caremesh"}
EVERY_S, BEFORE_S, SINCE_S = 15, 1_800, 240
"""Scraped so often; the first page for so long, then the second one."""
_BUILD_S: Final = 900
_LARGE: Final = 1e300
"""Stands for infinity, which JSON has no word for."""


class Said(NamedTuple):
    """``errors``: of rules and expressions; ``names``: of metrics, by expression; ``firing``: alert → how many."""

    errors: list[str]
    names: dict[str, list[str]]
    firing: dict[str, int]


@cache
def program() -> Path:
    """Built when it is not there yet; of several processes that ask at once, one builds."""
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCE.iterdir()))).hexdigest()[:12]
    made = FOLDER / f"alerts-{version}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock-alerts").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            # Tests have a HOME of their own; Go's caches are in the real one, so that the next clone builds in seconds.
            home = {"HOME": pwd.getpwuid(os.getuid()).pw_dir}
            environment = {**os.environ, **home, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
            beside = made.with_suffix(".new")
            subprocess.run(
                [go_command(), "build", "-o", str(beside), "."],
                cwd=SOURCE,
                env=environment,
                check=True,
                timeout=_BUILD_S,
            )
            beside.replace(made)
    return made


def ask(before: str = "", after: str = "", expressions: list[str] | None = None, rules: Path = RULES) -> Said:
    """What the rules come to over two pages, at the end of the second; and which metrics expressions name."""
    question = {
        "rules": str(rules),
        "expressions": expressions or [],
        "series": _series(before, after),
        "at": BEFORE_S + SINCE_S,
    }
    done = subprocess.run([str(program())], input=json.dumps(question), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return Said(said["errors"], {name: found or [] for name, found in said["names"].items()}, said["firing"])


def fires(before: str, after: str) -> set[str]:
    """The alerts that are on after the second page has been there for a while."""
    said = ask(before, after)
    assert not said.errors
    return {alert for alert, count in said.firing.items() if count}


def samples(page: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Every sample of a page: labels with the name → value."""
    return {
        tuple(sorted({"__name__": sample.name, **sample.labels}.items())): min(sample.value, _LARGE)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def names(page: str) -> set[str]:
    """The names of its series, as expressions use them."""
    return {dict(labels)["__name__"] for labels in samples(page)}


def _series(before: str, after: str) -> list[dict[str, Any]]:
    first, second = samples(before), samples(after)
    made = []
    for labels in sorted({*first, *second}):
        rows = [[at, first[labels]] for at in range(0, BEFORE_S, EVERY_S) if labels in first]
        rows += [[at, second[labels]] for at in range(BEFORE_S, BEFORE_S + SINCE_S + 1, EVERY_S) if labels in second]
        made.append({"labels": {**SCRAPED, **dict(labels)}, "samples": rows})
    return made
