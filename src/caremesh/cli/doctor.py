"""``caremesh doctor``: look for the likeliest faults, and say what to do."""

from __future__ import annotations

import typer

from caremesh.cli.output import AsJson, Home, ProfilesFolder, console, print_json, print_table

HELP = """Look for the likeliest faults of this installation and its mesh or node, and say what to do about each.

Leaves with 1 if something is wrong.

Example: [bold]caremesh doctor[/bold]
"""


def doctor(home: Home, profiles: ProfilesFolder = None, as_json: AsJson = False) -> None:
    """Run all checks."""
    from caremesh.node.diagnosis import common, diagnose
    from caremesh.node.joining import ADMISSION_FILE
    from caremesh.node.node_diagnosis import diagnose_node

    if (home / ADMISSION_FILE).exists():
        findings = [*common(home, profiles), *diagnose_node(home)]
    else:
        findings = diagnose(home, profiles)
    if as_json:
        print_json([{"check": f.check, "ok": f.ok, "found": f.found, "cure": f.cure} for f in findings])
    else:
        rows = [
            [f.check, "[green]ok[/green]" if f.ok else "[red]wrong[/red]", f.found, "" if f.ok else f.cure]
            for f in findings
        ]
        print_table("caremesh doctor", ["check", "", "found", "what to do"], rows)
        wrong = sum(not f.ok for f in findings)
        console().print("Nothing is wrong." if not wrong else f"{wrong} thing{'s are' if wrong > 1 else ' is'} wrong.")
    if not all(f.ok for f in findings):
        raise typer.Exit(1)
