"""``caremesh import``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caremesh.cli.desks import is_node, opened_desk
from caremesh.cli.output import (
    AsJson,
    Home,
    ProfilesFolder,
    console,
    error_fields,
    fail,
    print_json,
    print_table,
    progress,
)
from caremesh.cli.wallet import WalletPath, open_person

if TYPE_CHECKING:
    from caremesh.node.at_desk import MemberDesk
    from caremesh.node.desk import Desk
    from caremesh.source.importer import ImportReport, Progress, Source

HELP = """Import FHIR R4: bundles, NDJSON or single resources, plain or gzip. Validate, classify, seal, store, register.

The patient's wallet enrols with the member first, when it has not yet; at a node (its home as [bold]--home[/bold])
patients come by invitation. The same file twice changes nothing. Hospitals and practitioners that the records name come
first, into the member's signed directory. Profiles that records declare are checked where their packages are installed.
Leaves with 3 when anything was refused.

Example: [bold]caremesh import sample[/bold] (the sample patient), or [bold]caremesh import hospitals.json
bundle.json.gz[/bold]
"""
REFUSED = 3
_MOST_ROWS = 20


def import_(
    home: Home,
    files: Annotated[list[str], typer.Argument(help="Files, in this order; or the word sample.")],
    member: Annotated[str, typer.Option("--as", help="The member that imports.")] = "hospital",
    wallet: WalletPath = None,
    profiles: ProfilesFolder = None,
    as_json: AsJson = False,
) -> None:
    """Import files, one after the other; stop at the first of which nothing can be imported."""
    from caremesh.source.importer import NotImported

    try:
        if is_node(home):
            report = _at_node(home, files, quiet=as_json)
        else:
            report = _in_mesh(home, files, member, wallet, profiles, quiet=as_json)
    except NotImported as error:
        if as_json:
            import msgspec

            print_json(error_fields(error) | {"refused": msgspec.to_builtins(error.report.refused)})
        else:
            _tell_refused(error.report)
            fail(error, as_json=False)
        raise typer.Exit(error.exit_code) from error
    _tell(report, as_json=as_json)
    if report.refused:
        raise typer.Exit(REFUSED)


def _at_node(home: Path, files: list[str], *, quiet: bool) -> ImportReport:
    """At the desk of the node whose home this is. Its patients come by invitation."""
    from caremesh.source.importer import ImportReport

    report = ImportReport()
    with opened_desk(home, "", quiet=quiet) as desk, progress("Importing", quiet=quiet):
        for content in _contents(files):
            report = report.plus(content.at(desk))
    return report


def _in_mesh(
    home: Path, files: list[str], member: str, wallet: Path | None, profiles: Path | None, *, quiet: bool
) -> ImportReport:
    """By a member of the mesh in this process; the wallet enrols first."""
    from caremesh.node.mesh import LocalMesh
    from caremesh.node.profiles import FOLDER, checking
    from caremesh.source.importer import ImportReport

    report = ImportReport()
    check = checking(profiles or home / FOLDER)
    with LocalMesh(home / "mesh") as mesh, progress("Importing", quiet=quiet) as bar:

        def show(doing: str, done: int, total: int) -> None:
            if bar is not None:
                bar.update(bar.task_ids[0], description=doing, completed=done, total=total or None)

        source = mesh.member(member).source(mesh, check)
        for content in _contents(files):
            for patient in content.patients():
                if not source.is_enrolled(patient):
                    open_person(mesh, home, wallet).enrol(member, patient)
            report = report.plus(content.into(source, show))
    return report


class _Document:
    """A bundle or a single resource, in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def patients(self) -> list[str]:
        from caremesh.fhir.bundle import patients
        from caremesh.fhir.entries import split

        found = list(dict.fromkeys(patients(split(self._data).entries)))
        return found if len(found) == 1 else []

    def into(self, source: Source, show: Progress) -> ImportReport:
        return source.import_bundle(self._data, show)

    def at(self, desk: Desk | MemberDesk) -> ImportReport:
        return desk.import_file(bytes(self._data))


class _Lines:
    """NDJSON, read as it comes, twice: once to see whose it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def patients(self) -> list[str]:
        from caremesh.fhir.bundle import patients
        from caremesh.fhir.entries import lines
        from caremesh.source.files import chunks
        from caremesh.source.importer import MAX_LINE_BYTES

        found = list(dict.fromkeys(patients(lines(chunks(self._path), MAX_LINE_BYTES))))
        return found if len(found) == 1 else []

    def into(self, source: Source, show: Progress) -> ImportReport:
        from caremesh.source.files import chunks

        return source.import_lines(chunks(self._path), show)

    def at(self, desk: Desk | MemberDesk) -> ImportReport:
        from caremesh.source.files import chunks, whole

        return desk.import_file(bytes(whole(chunks(self._path))), lines=True)


def _contents(files: list[str]) -> Iterator[_Document | _Lines]:
    from caremesh.fhir import samples
    from caremesh.source.files import chunks, is_lines, whole

    for name in files:
        if name == "sample":
            yield from map(_Document, (*samples.directory(), samples.patient()))
        elif is_lines(Path(name)):
            yield _Lines(Path(name))
        else:
            yield _Document(whole(chunks(Path(name))))


def _tell(report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(report))
        return
    if report.records:
        print_table(
            "Imported", ["category", "records "], [[name, str(count)] for name, count in report.records.items()]
        )
    total = sum(report.records.values())
    console().print(f"{total} records in {report.segments} sealed segments, {report.unchanged} there already.")
    if report.directory:
        console().print(f"{report.directory} entries for the directory.")
    if report.settled:
        console().print(f"{report.settled} segments of an interrupted import were registered.")
    if report.waiting:
        console().print(
            f"{report.waiting} segments are stored and wait to be registered: too few members can be reached to hold"
            " their blocks. Nothing is lost; the next import finishes it."
        )
    if report.outside:
        console().print(f"{report.outside} references lead to records that are not here; they stay as they are.")
    if report.not_checked:
        first, count = report.not_checked[0], len(report.not_checked)
        console().print(f"[dim]{count} kinds of check were not made (--json lists them), the first: {first}[/dim]")
    _tell_refused(report)


def _tell_refused(report: ImportReport) -> None:
    """A table of what was refused and why."""
    if not report.refused:
        return
    rows = [
        [refusal.place, refusal.type, refusal.code, "; ".join([refusal.sentence, *map(_issue, refusal.issues)])]
        for refusal in report.refused[:_MOST_ROWS]
    ]
    print_table(f"Refused: {len(report.refused)}", ["where", "type", "code", "why"], rows)
    if len(report.refused) > _MOST_ROWS:
        console().print(f"and {len(report.refused) - _MOST_ROWS} more; --json lists all.")


def _issue(issue: dict[str, object]) -> str:
    where = issue.get("expression")
    return f"{where[0] if isinstance(where, list) and where else ''} {issue.get('diagnostics', '')}".strip()
