"""What every command shares: where things are, tables, JSON, progress, and how an error is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caremesh.errors import CareMeshError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

HOME_VARIABLE = "CAREMESH_HOME"
PROFILES_VARIABLE = "CAREMESH_PROFILES"
PASSPHRASE_VARIABLE = "CAREMESH_PASSPHRASE"  # noqa: S105 - the name of a variable

Home = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar=HOME_VARIABLE,
        help="Folder of the mesh on this machine.",
        show_default="~/.local/share/caremesh",
        default_factory=lambda: Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")) / "caremesh",
    ),
]
ProfilesFolder = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        envvar=PROFILES_VARIABLE,
        help="Folder of packages of FHIR profiles (*.tgz).",
        show_default="profiles in the folder of the mesh",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def existing_mesh(home: Path) -> Path:
    """The folder of the mesh under ``home``. Raises BadInput when there is none."""
    from caremesh.cli.errors import NO_MESH
    from caremesh.errors import BadInput

    if not (home / "mesh" / "founding.cbor").exists():
        raise BadInput(NO_MESH, str(home))
    return home / "mesh"


def console() -> Console:
    """The terminal, for people."""
    from rich.console import Console

    return Console(highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table for people; columns whose title ends in a blank are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.strip(), justify="right" if column.endswith(" ") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


@contextmanager
def progress(label: str, *, quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on standard error for what may take over a second; silent with ``quiet`` or off a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(label, total=None)
        yield bar


def passphrase(*, confirm: bool = False) -> str:
    """The wallet's passphrase: from the environment, or asked for without an echo."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given
    answer: str = typer.prompt("Passphrase of the wallet", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


def identity(text: str, what: str) -> bytes:
    """An id that someone typed. Raises a usage error naming ``what`` it is of."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter(f"a {what}'s id is hexadecimal") from error


def fail(error: CareMeshError, *, as_json: bool) -> None:
    """Tell an error: code, sentence, place, cure, and the page that explains its exit code."""
    if as_json:
        print_json(error_fields(error))
        return
    typer.secho(f"{error.code}: {error.error.sentence}", fg=typer.colors.RED, err=True)
    if error.place:
        typer.echo(f"  where       {error.place}", err=True)
    if error.error.cure:
        typer.echo(f"  what to do  {error.error.cure}", err=True)
    typer.echo(f"  more        {_page(error)}", err=True)


def error_fields(error: CareMeshError) -> dict[str, Any]:
    """An error for programs."""
    return {
        "error": error.code,
        "sentence": error.error.sentence,
        "place": error.place,
        "cure": error.error.cure,
        "exit_code": error.exit_code,
        "page": _page(error),
    }


def _page(error: CareMeshError) -> str:
    return f"docs/reference/exit-codes/{error.exit_code}.md"
