"""The dashboard by Grafana's own word: the types of its schema, as the TypeScript compiler reads them.

Grafana itself is in no registry that a build can rely on. ``@grafana/schema`` is what its source calls a dashboard, a
panel and the options of each kind of panel.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.alerting import DASHBOARD, ROOT

WEB: Final = ROOT / "web"
SCHEMA: Final = "@grafana/schema"
OPTIONS: Final = f"{SCHEMA}/dist/esm/raw/composable/%s/panelcfg/x/%s_types.gen"
KINDS: Final = {"stat": "StatPanelCfg", "timeseries": "TimeSeriesPanelCfg"}
TYPES: Final = """\
// What a file may say of a structure: any part of it, and words for names.
type Said<T> = T extends string ? `${T}` : T extends (infer U)[] ? Said<U>[]
  : T extends object ? { [K in keyof T]?: Said<T[K]> } : T;
// What Grafana's source of data for Prometheus adds to a query.
type Query = DataQuery & { expr: string; legendFormat?: string };
"""

pytestmark = pytest.mark.slow


def refused(dashboards: Sequence[dict[str, Any]], folder: Path) -> list[list[str]]:
    """What the compiler has against each dashboard."""
    lines = [f'import type {{ Dashboard, DataQuery, Panel, VariableModel }} from "{SCHEMA}";']
    lines += [f'import type * as {kind} from "{OPTIONS % (kind, name)}";' for kind, name in KINDS.items()]
    lines += TYPES.splitlines()
    ends = [len(lines)]

    def is_a(kind: str, value: Any) -> None:
        lines.append(f"export const v{len(lines)}: {kind} = {json.dumps(value)};")

    for dashboard in dashboards:
        is_a("Dashboard", dashboard)
        for variable in dashboard["templating"]["list"]:
            is_a("VariableModel", variable)
        for panel in dashboard["panels"]:
            is_a("Panel", panel)
            is_a(f"Said<{panel['type']}.Options>", panel["options"])
            if panel["type"] == "timeseries":
                is_a("Said<timeseries.FieldConfig>", panel["fieldConfig"]["defaults"].get("custom", {}))
            for target in panel["targets"]:
                is_a("Query", target)
        ends.append(len(lines))
    (folder / "node_modules").symlink_to(WEB / "node_modules")
    (folder / "dashboard.ts").write_text("\n".join(lines), "utf-8")
    compiler = WEB / "node_modules" / ".bin" / "tsc"
    words = "--noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext --target es2022"
    command = [str(compiler), *words.split(), "dashboard.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 2), done.stdout + done.stderr
    said = [
        (int(at), text) for at, text in re.findall(r"^dashboard\.ts\((\d+),\d+\): (.*)$", done.stdout, re.MULTILINE)
    ]
    assert bool(said) == bool(done.returncode), done.stdout
    assert all(at > ends[0] for at, _ in said), "what is imported is there"
    return [[text for at, text in said if first < at <= last] for first, last in pairwise(ends)]


def test_grafanas_schema_takes_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert {panel["type"] for panel in dashboard["panels"]} == set(KINDS)
    assert refused([dashboard], tmp_path) == [[]]


FAULTS: Final[dict[str, Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], Any]]] = {
    "a dashboard's field": lambda whole, _, __: whole.update(refreshes="30s"),
    "a kind of variable": lambda whole, _, __: whole["templating"]["list"][0].update(type="a source of data"),
    "a place without a width": lambda _, stat, __: stat.update(gridPos={"x": 0}),
    "an option of a number": lambda _, stat, __: stat["options"]["reduceOptions"].update(calculation=["last"]),
    "an option of a line": lambda _, __, line: line["options"]["legend"].update(displayMode="long"),
    "a style of lines": lambda _, __, line: line["fieldConfig"]["defaults"].update(custom={"drawStyle": "pencil"}),
    "a question that asks nothing": lambda _, stat, __: stat["targets"][0].pop("expr"),
}


def test_what_it_does_not_take_is_noticed(tmp_path: Path) -> None:
    """Nothing is taken unread: one fault of each kind, each in a dashboard of its own."""
    made = []
    for fault in FAULTS.values():
        dashboard = json.loads(DASHBOARD.read_text("utf-8"))
        stat, line = (next(each for each in dashboard["panels"] if each["type"] == kind) for kind in KINDS)
        dashboard["panels"] = [stat, line]
        fault(dashboard, stat, line)
        made.append(dashboard)
    said = refused(made, tmp_path)
    assert [name for name, found in zip(FAULTS, said, strict=True) if not found] == []
