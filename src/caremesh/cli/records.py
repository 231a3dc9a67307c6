"""``caremesh import`` and ``caremesh read``."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Annotated, Any

import typer

from caremesh.cli.output import AsJson, Home, console, print_json, print_table, progress
from caremesh.cli.wallet import WalletPath, open_person

IMPORT_HELP = """Import a FHIR R4 bundle (JSON or gzip) of one patient: classify, seal, store, register.

The patient's wallet enrols with the member first, when it has not yet. The same bundle twice changes nothing.

Example: [bold]caremesh import sample[/bold] (the sample patient), or [bold]caremesh import bundle.json[/bold]
"""
READ_HELP = """Read what is shared with a member: a receipt from the ledger, two of three custodians, the records.

Example: [bold]caremesh read laboratory[/bold], or [bold]caremesh read laboratory --json[/bold] for a FHIR Bundle
"""
_GZIP_MAGIC = b"\x1f\x8b"


def import_(
    home: Home,
    file: Annotated[str, typer.Argument(help="The bundle, or the word sample.")],
    member: Annotated[str, typer.Option("--as", help="The member that imports.")] = "hospital",
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Import a bundle."""
    from caremesh.fhir.bundle import read_bundle
    from caremesh.node.mesh import LocalMesh

    data = _read(file)
    bundle = read_bundle(data)
    patient = bundle.patient.id if bundle.patient is not None else ""
    with LocalMesh(home / "mesh") as mesh:
        source = mesh.member(member).source(mesh)
        if not source.is_enrolled(patient):
            open_person(mesh, home, wallet).enrol(member, patient)
        with progress("Importing", quiet=as_json) as bar:

            def show(doing: str, done: int, total: int) -> None:
                if bar is not None:
                    bar.update(bar.task_ids[0], description=doing, completed=done, total=total)

            report = source.import_bundle(data, show)
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


def read(
    home: Home,
    category: Annotated[str, typer.Argument(help="laboratory, medications, conditions, …")],
    member: Annotated[str, typer.Option("--as", help="The member that reads.")] = "practice",
    purpose: Annotated[str, typer.Option(help="What for: TREAT, HPAYMT, …")] = "TREAT",
    basis: Annotated[list[str], typer.Option(help="Legal basis relied on.")] = ["HIPAA:164.506.c.2"],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Read what is shared."""
    import msgspec

    from caremesh.gateway.ask import Asked
    from caremesh.node import evidence
    from caremesh.node.founding import CHAIN
    from caremesh.node.mesh import LocalMesh

    with LocalMesh(home / "mesh") as mesh, progress("Asking, gathering, opening", quiet=as_json):
        gateway = mesh.member(member).gateway(mesh)
        who = mesh.member(member).home.practitioner(CHAIN)
        shared = gateway.shared(category)
        receipt = gateway.ask(Asked(shared.consent, "read", purpose, basis), who)
        opened = gateway.open(receipt, who)
        mesh.anchor_logs()
        released_by = [mesh.name_of(did) for did in opened.released_by]
        claims = [fault.claim for fault in opened.faults if fault.claim is not None]
        files = evidence.write(mesh, claims, home / "evidence")
    resources: list[dict[str, Any]] = [msgspec.json.decode(record.data) for record in opened.records]
    if as_json:
        print_json({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": r} for r in resources]})
        return
    _show(category, resources)
    console().print(
        f"{len(resources)} records, released by {' and '.join(released_by)} under receipt {receipt.id.hex()[:16]}…"
    )
    for fault in opened.faults:
        console().print(f"[yellow]{fault.custodian} did not do its part: {fault.error.code}[/yellow]")
    for path in files:
        console().print(f"[yellow]{path} shows it: `caremesh evidence verify`.[/yellow]")
    for error in opened.damaged:
        console().print(f"[yellow]A damaged block was passed over: {error.place}[/yellow]")


def _show(category: str, resources: list[dict[str, Any]]) -> None:
    from caremesh.fhir.labs import lab_rows

    rows = lab_rows(resources)
    if rows:
        table = [[row.date, row.name, row.value, row.unit, row.reference, row.flag] for row in rows]
        print_table(category, ["date", "test", "value ", "unit", "reference", "flag"], table)
        return
    print_table(category, ["type", "what", "date"], [[r["resourceType"], _what(r), _date(r)] for r in resources])


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


def _date(resource: dict[str, Any]) -> str:
    names = ("effectiveDateTime", "authoredOn", "onsetDateTime", "recordedDate", "occurrenceDateTime", "date", "issued")
    return next((str(resource[name])[:10] for name in names if name in resource), "")


def _read(file: str) -> bytes:
    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput
    from caremesh.fhir import samples

    if file == "sample":
        return samples.patient()
    try:
        data = Path(file).read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP_MAGIC) else data
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise BadInput(NOT_READABLE) from error
