"""``caremesh demo``: the main job on a sample patient, told step by step."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caremesh.cli.output import AsJson, console, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from caremesh.testing.main_job import Step
    from caremesh.testing.world import World

PROMISE_BROKEN = 10

HELP = """Run the main job on a sample patient: import, share, ask, open, prove, audit, revoke; then what must not work.

Leaves with 0 only if every step came out as promised, else with 10.

With [bold]--nodes 5[/bold] each member is a node of its own on loopback; else all are in this process. With
[bold]--cometbft PROGRAM[/bold] besides, all five order the blocks together.

Example: [bold]caremesh demo[/bold], or for programs [bold]caremesh demo --json[/bold]
"""
Nodes = Annotated[
    int | None, typer.Option(min=5, max=5, help="5: every member in processes of its own.", show_default="none")
]
Program = Annotated[
    Path | None,
    typer.Option("--cometbft", help="With --nodes: the CometBFT that orders blocks.", show_default="the regulator's"),
]


def demo(nodes: Nodes = None, cometbft: Program = None, as_json: AsJson = False) -> None:
    """Run the main job in a temporary folder, tell it, and judge it."""
    from caremesh.testing.main_job import MainJob
    from caremesh.testing.near_world import near

    with tempfile.TemporaryDirectory(prefix="caremesh-demo-") as folder:
        number = 0

        def tell(step: Step) -> None:
            nonlocal number
            number += 1
            if not as_json:
                _tell(number, step)

        world: Callable[[Path], AbstractContextManager[World]] = near
        if nodes:
            from functools import partial

            from caremesh.testing.far_world import far

            world = partial(far, cometbft=cometbft)
        story = MainJob(Path(folder), tell, world).run()
    if as_json:
        import msgspec

        print_json({"kept": story.kept, "steps": msgspec.to_builtins(story.steps)})
    else:
        _judge(story.steps)
    if not story.kept:
        raise typer.Exit(PROMISE_BROKEN)


def _tell(number: int, step: Step) -> None:
    from rich.markup import escape

    if number == 1:
        console().print("\n[bold]CareMesh: a patient controls who reads their records, and can prove who did.[/bold]\n")
    mark = "[green]✓[/green]" if step.kept else "[red]✗ PROMISE BROKEN[/red]"
    label = "[yellow]must not work[/yellow]  " if step.kind == "refusal" else ""
    console().print(f"[bold]{number:>2}. {label}{escape(step.title)}[/bold]  [dim]{1_000 * step.seconds:,.0f} ms[/dim]")
    console().print(f"    [dim]{escape(step.asked)}[/dim]")
    console().print(f"    {mark} {escape(step.answer)}\n")
    if step.rows:
        print_table("", step.columns, step.rows)


def _judge(steps: list[Step]) -> None:
    broken = [step.title for step in steps if not step.kept]
    total_s = sum(step.seconds for step in steps)
    refusals = sum(step.kind == "refusal" for step in steps)
    if broken:
        console().print(f"[red bold]{len(broken)} promises broken:[/red bold] {', '.join(broken)}")
    else:
        console().print(
            f"[green bold]Every promise kept:[/green bold] {len(steps) - refusals} steps done, "
            f"{refusals} attempts refused or survived, {total_s:.1f} s."
        )
    console().print("[dim]Next: caremesh wallet create, then docs/tutorials/first-share.md.[/dim]")
