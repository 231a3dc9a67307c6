"""``caremesh invite`` at the front desk, and ``caremesh wallet join`` for whom it invites."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caremesh.cli.desks import opened_desk
from caremesh.cli.output import AsJson, Home, console, existing_mesh, passphrase, print_json, print_table
from caremesh.cli.wallet import WalletPath, opened_mesh, show_phrase, wallet_path

if TYPE_CHECKING:
    from caremesh.sealing.invitation import Invitation
    from caremesh.wallet.kept_network import KeptNetwork

HELP = """Invite one patient: a code that their wallet enrols with, once. Shows a link and a QR code.

Make sure who stands before you first: whoever uses the code gets this patient's records.

Example: [bold]caremesh invite P-1001[/bold]
"""


def invite(
    home: Home,
    patient: Annotated[str, typer.Argument(help="Your own id of the patient; not part of the link.")] = "",
    member: Annotated[str, typer.Option("--as", help="The member that invites, on a mesh of your own.")] = "hospital",
    days: Annotated[int, typer.Option(min=1, max=90, help="For how many days the code counts.")] = 14,
    again: Annotated[
        bool, typer.Option("--again", help="The patient has a wallet here already: let the new one take its place.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Show what became of invitations.")] = False,
    end: Annotated[str, typer.Option(metavar="INVITATION", help="Let an invitation count no more.")] = "",
    as_json: AsJson = False,
) -> None:
    """Invite a patient, or look at invitations."""
    from caremesh.cli.output import identity
    from caremesh.sealing.invitation import link

    now = int(time.time())
    with opened_desk(home, member, quiet=as_json) as desk:
        if end:
            desk.end_invitation(identity(end, "invitation"))
        if listed or end:
            _list([_row(known, now) for known in desk.invitations(patient)], as_json=as_json)
            return
        if not patient:
            raise typer.BadParameter("name the patient by your own id")
        made = desk.invite(patient, days * 86_400, again=again)
        until = _day(now + days * 86_400)
    if as_json:
        print_json({"patient": patient, "invitation": made.id.hex(), "link": link(made), "counts_until": until})
        return
    console().print(f"For [bold]{patient}[/bold] alone, once, until {until}. Hand it to nobody else.\n")
    sys.stdout.write(_qr(link(made)) + "\n")
    console().print(link(made), soft_wrap=True)
    console().print(
        "\nAfterwards `caremesh invite --list` shows who has joined: compare the six digits with the wallet's."
    )


def join(
    home: Home,
    link: Annotated[str, typer.Argument(help="The invitation: caremesh:invite?…")],
    wallet: WalletPath = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days they may write.")] = 365,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Accept an invitation: whoever invites may from then on write records for you, and read nothing by it.

    Makes a wallet when there is none, and prints its recovery phrase once.

    Example: caremesh wallet join 'caremesh:invite?…' --wallet ./me.wallet
    """
    from caremesh.sealing.invitation import read_link
    from caremesh.testing.person import Person
    from caremesh.wallet import kept_network
    from caremesh.wallet.network import Network

    invitation, path = read_link(link), wallet_path(home, wallet)
    kept = _network(path, invitation)
    if kept is None:
        existing_mesh(home)
    with opened_mesh(home, quiet=as_json) if kept is None else kept.open(lambda: int(time.time())) as reached:
        name = reached.name_of(invitation.member)
        if not as_json:
            _explain(name, days)
        if not yes and not as_json and not typer.confirm("Join?", err=True):
            raise typer.Exit(1)
        phrase = ""
        if path.exists():
            person = Person.open(reached, path, passphrase())
        else:
            person, phrase = Person.create(reached, path, passphrase(confirm=True))
        if kept is not None:
            kept_network.keep(path, kept)
        check = person.join(invitation, days)
        if kept is not None and isinstance(reached, Network):
            kept_network.keep(path, kept.learned(reached))
    if as_json:
        said = {"member": invitation.member, "name": name, "check": check, "network": invitation.network.hex()}
        print_json(said | ({"phrase": phrase.split()} if phrase else {}))
        return
    if phrase:
        show_phrase(path, phrase)
    console().print(f"\nYou have joined {name}. Tell the front desk these digits: [bold]{check}[/bold]")
    console().print("They have to be the ones that it sees beside your name; if not, say so at once.")
    console().print(f"The network's hash, to restore from any node: {invitation.network.hex()}", soft_wrap=True)


def _network(path: Path, invitation: Invitation) -> KeptNetwork | None:
    """The network that an invitation names; None for the mesh on this machine. The first member that a wallet joins is
    its relay.

    Raises WrongLedger wallet.24, and what ``kept_network.fetch`` raises.
    """
    from caremesh.errors import WrongLedger
    from caremesh.sealing.invitation import NO_NODE
    from caremesh.wallet import kept_network
    from caremesh.wallet.errors import OTHER_CHAIN

    if invitation.node == NO_NODE:
        return None
    kept = kept_network.load(path)
    if kept is None:
        return kept_network.fetch(invitation.node, invitation.network, invitation.member)
    if not kept.has(invitation.network):
        raise WrongLedger(OTHER_CHAIN)
    return kept


def _explain(name: str, days: int) -> None:
    console().print(f"[bold]{name}[/bold] invites you.\n")
    console().print(f"If you join, {name}")
    console().print(f"  may write records about you, sealed so that only you can share them, for {days} days;")
    console().print("  may read nothing that others wrote about you, unless you share it;")
    console().print("  keeps messages for you that it cannot read, when this is your first invitation.")
    console().print("You can end each of these later. The invitation says nothing about your health.\n")


def _qr(text: str) -> str:
    """A QR code in half blocks, dark on light whatever the terminal's colours."""
    import io

    import segno

    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, compact=True)
    return out.getvalue()


def _row(known: Any, now: int) -> dict[str, Any]:
    return {
        "patient": known.patient,
        "invitation": known.id.hex(),
        "standing": known.standing(now),
        "check": known.check,
        "made": _day(known.made),
        "expires": _day(known.expires),
        "wrong_codes": known.tries,
    }


def _list(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    if not rows:
        console().print("Nobody was invited.")
        return
    columns = ["patient", "standing", "check", "made", "expires", "invitation"]
    print_table("", columns, [[str(row[name]) for name in columns] for row in rows])


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def add_to(app: typer.Typer) -> None:
    """Give the group this command."""
    app.command("join")(join)
