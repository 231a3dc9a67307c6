"""``caremesh read``: what is shared with a member, as a table, a plot, or FHIR."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from caremesh.cli.desks import is_node, opened_desk
from caremesh.cli.errors import NOT_A_DAY
from caremesh.cli.output import AsJson, Home, console, identity, print_table, progress
from caremesh.cli.wallet import opened_mesh
from caremesh.cli.words import CATEGORY, LEGAL_BASIS, PURPOSE, RESOURCE_TYPE
from caremesh.errors import BadInput

if TYPE_CHECKING:
    from caremesh.contracts.access.state import Receipt
    from caremesh.fhir.directory import DirectoryEntry
    from caremesh.fhir.labs import LabRow
    from caremesh.fhir.selecting import Filter, Selected
    from caremesh.gateway.opening import Opened
    from caremesh.types import Did

HELP = """Read what is shared with a member: a receipt from the ledger, two of three custodians, the records.

Example: [bold]caremesh read laboratory[/bold], [bold]caremesh read laboratory --code 4548-4 --show plot[/bold], or
[bold]caremesh read laboratory --json[/bold] for a FHIR Bundle
"""
Types = Annotated[list[str], typer.Option("--type", help="Only resources of this type.", callback=RESOURCE_TYPE)]
Bases = Annotated[list[str], typer.Option(help="Legal basis relied on.", callback=LEGAL_BASIS)]
_PLOT_WIDTH: Final = 64
_PLOT_HEIGHT: Final = 12
_MOST_PLOTS: Final = 6
_FEWEST_POINTS: Final = 3


class Shape(StrEnum):
    """How records are shown."""

    TABLE = "table"
    PLOT = "plot"
    FHIR = "fhir"
    BUNDLE = "bundle"


def read(
    home: Home,
    categories: Annotated[list[str], typer.Argument(help="laboratory, medications, conditions, …", callback=CATEGORY)],
    type_: Types = [],  # noqa: B006
    code: Annotated[list[str], typer.Option(help="Only with this code, or system|code.")] = [],  # noqa: B006
    since: Annotated[str, typer.Option(help="From this day on, YYYY-MM-DD.")] = "",
    until: Annotated[str, typer.Option(help="Up to and including this day.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Older versions too.")] = False,
    directory: Annotated[
        bool, typer.Option("--directory", help="The hospitals and practitioners that the records name, too.")
    ] = False,
    shape: Annotated[Shape, typer.Option("--show", help="How to show them.")] = Shape.TABLE,
    share: Annotated[str, typer.Option(help="Which share is meant, when several patients share this.")] = "",
    member: Annotated[str, typer.Option("--as", help="The member that reads.")] = "practice",
    purpose: Annotated[str, typer.Option(help="What for: TREAT, HPAYMT, …", callback=PURPOSE)] = "TREAT",
    basis: Bases = ["HIPAA:164.506.c.2"],  # noqa: B006
    releases: Annotated[
        Path | None, typer.Option(help="Keep what the custodians signed in this file, for the patient's audit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read what is shared."""
    from caremesh.blobs.durable import write_durably
    from caremesh.fhir.references import references
    from caremesh.fhir.selecting import Filter, select
    from caremesh.node import evidence
    from caremesh.sealing.custody import keep_releases

    wanted = Filter(types=type_, codes=code, since=_day(since), until=_day(until), history=history)
    shape = Shape.BUNDLE if as_json else shape
    named = identity(share, "share") if share else None
    quiet = shape is not Shape.TABLE
    with ExitStack() as stack:
        if is_node(home):
            mesh, desk = None, stack.enter_context(opened_desk(home, member, quiet=quiet))
        else:
            mesh = stack.enter_context(opened_mesh(home, quiet=quiet))
            desk = mesh.desk(member)
        stack.enter_context(progress("Asking, gathering, opening", quiet=quiet))
        receipts = [desk.ask(category, purpose, basis, named) for category in categories]
        opened = [desk.open(receipt) for receipt in receipts]
        if mesh is not None:
            mesh.anchor_logs()
        if releases is not None:
            write_durably(releases, keep_releases([signed for each in opened for signed in each.signed]))
        claims = [fault.claim for each in opened for fault in each.faults if fault.claim is not None]
        files = evidence.keep(claims, desk.evidence(claims), home / "evidence")
        names = desk.names()
        told = [_told(names, receipt, each) for receipt, each in zip(receipts, opened, strict=True)]
        records = select((row for each in opened for row in _records(each)), wanted)
        if directory:
            named_there = dict.fromkeys(reference for row in records for _, reference in references(row.json))
            records += map(_as_record, desk.directory(receipts, list(named_there)))
    _show(", ".join(categories), records, shape, wanted)
    if shape in {Shape.TABLE, Shape.PLOT}:
        console().print("\n".join(told))
        for path in files:
            console().print(f"[yellow]{path} shows it: `caremesh evidence verify`.[/yellow]")


def _as_record(entry: DirectoryEntry) -> Selected:
    import msgspec

    from caremesh.fhir.selecting import Selected

    return Selected(
        type=entry.type,
        id=entry.id,
        version=entry.version,
        last_updated="",
        data=entry.data,
        json=msgspec.json.decode(entry.data),
    )


def _told(names: Mapping[Did, str], receipt: Receipt, opened: Opened) -> str:
    """Who released how much, under which receipt, and who did not do their part."""
    released_by = " and ".join(names.get(did, did) for did in opened.released_by)
    lines = [f"{len(opened.records)} records, released by {released_by} under receipt {receipt.id.hex()[:16]}…"]
    lines += [
        f"[yellow]{names.get(fault.custodian, fault.custodian)} did not do its part: {fault.error.code}[/yellow]"
        for fault in opened.faults
    ]
    lines += [f"[yellow]A damaged block was passed over: {error.place}[/yellow]" for error in opened.damaged]
    return "\n".join(lines)


def _records(opened: Opened) -> list[Selected]:
    import msgspec

    from caremesh.fhir.selecting import Selected

    return [
        Selected(
            type=record.resource_type,
            id=record.id,
            version=record.version,
            last_updated=record.last_updated,
            data=record.data,
            json=msgspec.json.decode(record.data),
        )
        for record in opened.records
    ]


def _show(title: str, records: Sequence[Selected], shape: Shape, wanted: Filter) -> None:
    from caremesh.fhir.labs import lab_rows
    from caremesh.fhir.selecting import as_bundle, day_range

    if shape is Shape.BUNDLE:
        _write(*as_bundle(records), b"\n")
        return
    if shape is Shape.FHIR:
        _write(*(row.data + b"\n" for row in records))
        return
    rows = [row for row in lab_rows([row.json for row in records]) if _has(row, wanted)]
    if shape is Shape.PLOT:
        _plot(rows)
    elif rows:
        table = [[row.date, row.name, row.value, row.unit, row.reference, row.flag] for row in rows]
        print_table(title, ["date", "test", "value ", "unit", "reference", "flag"], table)
    else:
        print_table(
            title, ["type", "what", "date"], [[row.type, _what(row.json), day_range(row.json)[0]] for row in records]
        )


def _has(row: LabRow, wanted: Filter) -> bool:
    """Of a record with several values (a panel, blood pressure), those that were asked for."""
    codes = {code.rpartition("|")[2] for code in wanted.codes}
    return not codes or row.code in codes or bool(codes & set(row.panel))


def _plot(rows: Sequence[LabRow]) -> None:
    """One plot for each series of numbers, those with most points first."""
    import plotille

    series: dict[tuple[str, str], list[LabRow]] = {}
    for row in rows:
        if row.number is not None and row.date:
            series.setdefault((row.name, row.unit), []).append(row)
    drawn = sorted((points for points in series.values() if len(points) >= _FEWEST_POINTS), key=len, reverse=True)
    for points in drawn[:_MOST_PLOTS]:
        figure = plotille.Figure()
        figure.width, figure.height = _PLOT_WIDTH, _PLOT_HEIGHT
        figure.color_mode = "names"
        figure.x_label, figure.y_label = "date", points[0].unit or "value"
        figure.register_label_formatter(float, _number)
        ordered = sorted(points, key=lambda row: row.date)
        figure.plot([_when(row.date) for row in ordered], [row.number for row in ordered], lc=None)
        typer.echo(f"\n{points[0].name}\n{figure.show()}")
    if not drawn:
        typer.echo("There is no series of at least three numbers to plot.")
    elif len(drawn) > _MOST_PLOTS:
        typer.echo(f"\n{len(drawn) - _MOST_PLOTS} more series; choose with --code.")


def _number(value: float, chars: int, delta: float, left: bool = False) -> str:  # noqa: ARG001 - plotille's signature
    text = f"{value:.4g}"
    return text.ljust(chars) if left else text.rjust(chars)


def _when(day: str) -> Any:
    from datetime import UTC, datetime

    return datetime.strptime((day + "-01-01")[:10], "%Y-%m-%d").replace(tzinfo=UTC)


def _what(resource: dict[str, Any]) -> str:
    """What a resource is about, in its own words."""
    for name in ("code", "medicationCodeableConcept", "vaccineCode", "type", "category"):
        value = resource.get(name)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, dict):
            coding = (value.get("coding") or [{}])[0]
            text = value.get("text") or coding.get("display")
            if text:
                return str(text)
    return ""


def _day(text: str) -> str:
    """Raises BadInput cli.NN for what is not a day."""
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError as error:
        raise BadInput(NOT_A_DAY) from error


def _write(*pieces: bytes) -> None:
    """The very bytes, on standard output."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
