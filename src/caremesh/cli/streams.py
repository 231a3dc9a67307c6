"""``caremesh wallet``: what is in one's streams. New epoch, drop a record, erase, certificate, index."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from caremesh.cli.output import AsJson, Home, console, print_json, print_table, progress
from caremesh.cli.wallet import WalletPath, open_person, opened_ways
from caremesh.cli.words import CATEGORY

if TYPE_CHECKING:
    from caremesh.ledger.light import LightClient
    from caremesh.sealing.certificate import Certificate
    from caremesh.wallet.erase import Confirmations
    from caremesh.wallet.ways import Ways

Category = Annotated[str, typer.Argument(help="laboratory, medications, conditions, …", callback=CATEGORY)]
Segment = Annotated[int, typer.Argument(min=0, help="The segment's number, as `wallet records` prints it.")]
Source = Annotated[str, typer.Option("--from", help="The member that wrote it, when there are several.")]

_ENOUGH: Final = "Nobody can open it any more"
_TOO_FEW: Final = "Too few have confirmed: it may still be opened"


def records(
    home: Home, category: Category, source: Source = "", wallet: WalletPath = None, as_json: AsJson = False
) -> None:
    """One's own records of a category, segment by segment, opened with one's own key.

    Example: caremesh wallet records conditions
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        rows = [
            {"segment": index, "type": record.resource_type, "id": record.id, "version": record.version}
            for index, record in person.records(category, source)
        ]
    if as_json:
        print_json(rows)
        return
    print_table(category, ["segment ", "type", "id", "version"], [[*map(str, row.values())] for row in rows])


def new_epoch(home: Home, category: Category, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """A new reading key for a category: whoever had the old one opens nothing that comes later.

    What is there is sealed to the new key, and what is shared stays shared.

    Example: caremesh wallet new-epoch laboratory
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        person.new_epoch(category)
        due = [held for entry in person.shares() for held in entry.consents if held.status == "to be delegated anew"]
    if as_json:
        print_json({"category": category, "to_be_delegated_anew": [held.consent.hex() for held in due]})
    else:
        console().print(f"A new epoch of {category} has begun. Consents still to be delegated anew: {len(due)}.")


def drop(
    home: Home,
    category: Category,
    segment: Segment,
    record: Annotated[list[str], typer.Argument(metavar="TYPE/ID...", help="The records: Condition/123")],
    source: Source = "",
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Take single records out of a segment: what stays is sealed anew, the old blocks are destroyed.

    Example: caremesh wallet drop conditions 0 Condition/123
    """
    from caremesh.wallet.reseal import Record

    named = [Record(*text.split("/", 1)) for text in record if "/" in text]
    if len(named) != len(record):
        raise typer.BadParameter("write TYPE/ID")
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        open_person(mesh, home, wallet).drop(category, segment, named, source)
    if as_json:
        print_json({"category": category, "segment": segment, "dropped": record})
    else:
        console().print(f"Segment {segment} of {category} is sealed anew without {', '.join(record)}.")


def erase(
    home: Home,
    category: Category,
    segment: Segment,
    source: Source = "",
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Forget a segment for good. Who kept something of it confirms; the certificate shows it to anybody, offline.

    Waits some seconds for those whose copies of the ledger are behind, and names who has not confirmed then.

    Example: caremesh wallet erase conditions 0
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        with _asking(quiet=as_json) as heard:
            made, found = person.erase(category, segment, source, heard)
        _tell(mesh, home, made, found, _again(category, segment, source), as_json=as_json)


def certificate(
    home: Home,
    category: Category,
    segment: Segment,
    source: Source = "",
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Ask again who has confirmed that an erased segment is gone, and write the certificate anew.

    Example: caremesh wallet certificate conditions 0
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        with _asking(quiet=as_json) as heard:
            made, found = person.certificate(category, segment, source, heard)
        _tell(mesh, home, made, found, _again(category, segment, source), as_json=as_json)


def keep(home: Home, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Leave what is still to be left: fragments with custodians, and the wallet's encrypted index with three members.

    Every act does this by itself; this is for when one of them was away.

    Example: caremesh wallet keep
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        fragments = [{"member": mesh.name_of(entry.custodian), "code": entry.code} for entry in person.deposit_again()]
        indexes = [{"member": mesh.name_of(did), "code": code} for did, code in person.keep()]
    if as_json:
        print_json({"fragments_missing": fragments, "index_missing": indexes})
        return
    for what, rows in (("a fragment", fragments), ("the index", indexes)):
        for row in rows:
            console().print(f"[yellow]{row['member']} has not taken {what}: {row['code']}[/yellow]")
    if not indexes:
        console().print("Three members keep your index; none of them can read it. The 24 words bring it back.")


def shown(data: bytes, trusted: Callable[[str], LightClient]) -> dict[str, Any]:
    """What a certificate file shows, checked against the founding validators alone. Raises Tampered."""
    import time

    from caremesh.sealing import certificate as certificates

    said = certificates.read(data)
    found = certificates.verify(said, trusted(said.chain), int(time.time()))
    return {
        "erased": f"segment {found.segment} of stream {found.stream.hex()}",
        "unreadable": found.unreadable,
        "confirmed": [{"member": entry.member, "kept": entry.kept, "at": entry.at} for entry in found.confirmed],
        "custodians_missing": found.missing,
        "source": found.source,
        "source_confirmed": found.source_confirmed,
        "by_duty": found.by_duty,
        "read_by": found.read_by,
        "height": found.height,
        "time": found.time,
    }


def tell_shown(found: dict[str, Any]) -> None:
    """The same for people."""
    at = datetime.fromtimestamp(found["time"], UTC).isoformat(sep=" ")
    console().print(f"Erased: {found['erased']}.")
    for entry in found["confirmed"]:
        console().print(f"  {entry['member']} keeps no {entry['kept']} of it any more")
    for did in found["custodians_missing"]:
        console().print(f"  [yellow]{did} has not confirmed[/yellow]")
    enough = _ENOUGH if found["unreadable"] else _TOO_FEW
    console().print(f"{enough}, by the ledger at height {found['height']} ({at}).")
    console().print(f"Had it opened before, and may have kept it: {', '.join(found['read_by']) or 'nobody'}.")
    console().print("Not the mesh's to erase: backups until their end of life, and the source's own statutory record.")


def add_to(app: typer.Typer) -> None:
    """Give the group these commands."""
    for command in (records, new_epoch, drop, erase, certificate, keep):
        app.command(command.__name__.replace("_", "-"))(command)


@contextmanager
def _asking(*, quiet: bool) -> Iterator[Callable[[Confirmations], None]]:
    """Shows of how many members it is known."""
    with progress("Asking who kept something of it", quiet=quiet) as bar:

        def heard(found: Confirmations) -> None:
            if bar is not None:
                bar.update(bar.task_ids[0], completed=found.asked - len(found.faults), total=found.asked)

        yield heard


def _again(category: str, segment: int, source: str) -> str:
    """The command that completes a certificate."""
    words = ["caremesh", "wallet", "certificate", category, str(segment), *(["--from", source] if source else [])]
    return shlex.join(words)


def _tell(mesh: Ways, home: Path, made: Certificate, found: Confirmations, again: str, *, as_json: bool) -> None:
    from caremesh.node import erasures

    path = erasures.write(made, home / "certificates")
    faults = [{"member": mesh.name_of(did), "code": code} for did, code in found.faults]
    if as_json:
        print_json(
            {
                "certificate": str(path),
                "confirmations": len(found.signed),
                "unreadable": found.unreadable,
                "faults": faults,
                "to_complete": again if faults else "",
            }
        )
        return
    console().print(f"Erased. {_ENOUGH if found.unreadable else _TOO_FEW}.")
    console().print(f"{len(found.signed)} confirmations are in {path}.", soft_wrap=True)
    for row in faults:
        console().print(f"[yellow]{row['member']} has not confirmed yet: {row['code']}[/yellow]")
    if faults:
        console().print(f"To complete the certificate later: {again}", soft_wrap=True)
    console().print(f"To check it anywhere: caremesh evidence verify {path}", soft_wrap=True)
