"""``caremesh import`` and ``caremesh read``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from caremesh.cli.output import AsJson, Home, console, print_json, print_table, progress

READ_HELP = """Read what is shared with a member: a receipt from the ledger, two of three custodians, the records.

Example: [bold]caremesh read laboratory[/bold], or [bold]caremesh read laboratory --json[/bold] for a FHIR Bundle
"""


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
