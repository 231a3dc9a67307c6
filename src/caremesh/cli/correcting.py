"""``caremesh correct``, ``retract`` and ``rotate-key``: what members do to records and keys of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caremesh.cli.desks import opened_desk
from caremesh.cli.output import AsJson, Home, console, print_json
from caremesh.cli.words import CATEGORY

CORRECT = """Import one corrected FHIR resource in the place of its earlier version.

The earlier one stays readable where a consent names it, and nowhere else.

Example: [bold]caremesh correct condition.json[/bold]
"""
RETRACT = """Say that a segment was entered in error; or erase it under a legal duty, by its code.

Example: [bold]caremesh retract p1 conditions 0[/bold], or with [bold]--duty GDPR:17.1.e[/bold]
"""
ROTATE = """Change the key of a member that grants are made to: they open again when patients delegate anew.

Example: [bold]caremesh rotate-key --as practice[/bold]
"""
Member = Annotated[str, typer.Option("--as", help="The member that imported it.")]


def correct(
    home: Home,
    file: Annotated[Path, typer.Argument(help="One resource, JSON.")],
    member: Member = "hospital",
    as_json: AsJson = False,
) -> None:
    """Correct one record."""
    from caremesh.errors import BadInput
    from caremesh.source.errors import UNREADABLE

    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(UNREADABLE, file.name) from error
    with opened_desk(home, member, quiet=as_json) as desk:
        number = desk.correct(data)
    if as_json:
        print_json({"segment": number})
    else:
        console().print(f"Corrected: segment {number} takes the place of the one before.")


def retract(
    home: Home,
    patient: Annotated[str, typer.Argument(help="The member's own id of the patient.")],
    category: Annotated[str, typer.Argument(help="laboratory, medications, …", callback=CATEGORY)],
    segment: Annotated[int, typer.Argument(min=0, help="The segment's number.")],
    duty: Annotated[str, typer.Option(help="Erase it, under this legal duty.")] = "",
    member: Member = "hospital",
    as_json: AsJson = False,
) -> None:
    """Retract or erase."""
    with opened_desk(home, member, quiet=as_json) as desk:
        desk.retract(patient, category, segment, duty or None)
    done = "erased" if duty else "retracted"
    if as_json:
        print_json({"category": category, "segment": segment, "status": done})
    else:
        console().print(f"Segment {segment} of {category} is {done}.")


def rotate_key(
    home: Home,
    member: Annotated[str, typer.Option("--as", help="The member whose key it is.")] = "practice",
    as_json: AsJson = False,
) -> None:
    """Change the key of a member that grants are made to."""
    with opened_desk(home, member, quiet=as_json) as desk:
        name = desk.rotate_key()
    if as_json:
        print_json({"member": name})
    else:
        console().print(f"{name} has another key. Patients delegate anew: caremesh wallet redelegate")
