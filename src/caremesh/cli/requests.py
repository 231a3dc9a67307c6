"""``caremesh ask`` for a member, and ``caremesh wallet requests | accept | decline`` for whom it asks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from caremesh.cli.desks import opened_desk
from caremesh.cli.output import AsJson, Home, console, identity, print_json
from caremesh.cli.sharing import Days, Existing, Purposes, share_bytes
from caremesh.cli.wallet import WalletPath, open_person, opened_ways
from caremesh.cli.words import CATEGORY

HELP = """Ask a patient for more than they shared: another purpose, or longer. Only the patient gets the words.

Example: [bold]caremesh ask laboratory --purpose HPAYMT --why "To settle the bill of your visit."[/bold]
"""
Offer = Annotated[str, typer.Argument(metavar="REQUEST", help="The request's id, as `wallet requests` prints it.")]


def ask(
    home: Home,
    categories: Annotated[
        list[str], typer.Argument(help="laboratory, medications, …: shared with the member before", callback=CATEGORY)
    ],
    why: Annotated[str, typer.Option(help="Why, in words that the patient understands.")],
    member: Annotated[str, typer.Option("--as", help="The member that asks.")] = "practice",
    purpose: Purposes = ["TREAT"],  # noqa: B006
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days, today the first.")] = 30,
    share: Annotated[
        str, typer.Option(help="Whom to ask, by a share of theirs, when several patients shared this.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask a patient."""
    with opened_desk(home, member, quiet=as_json) as desk:
        offers = desk.inquire(categories, purpose, days, why, identity(share, "share") if share else None)
    if as_json:
        print_json({"requests": [offer.hex() for offer in offers]})
    else:
        console().print(f"Asked for {', '.join(categories)}. The patient decides.")


def requests(home: Home, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Who asks for what, and why.

    Example: caremesh wallet requests
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        rows = [
            {
                "request": request.offer.hex(),
                "who": mesh.name_of(request.member),
                "category": request.category,
                "purposes": request.purposes,
                "until": datetime.fromtimestamp(request.until - 1, UTC).date().isoformat(),
                "why": request.text or "(no words have come)",
                "status": request.status,
            }
            for request in open_person(mesh, home, wallet).requests()
        ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        console().print("Nobody asks for anything.")
    for row in rows:
        what = f"{row['category']}, for {', '.join(row['purposes'])}, to the end of {row['until']}"
        console().print(f"[bold]{row['who']}[/bold] asks for {what}: {row['status']}", soft_wrap=True)
        console().print(f"    {row['why']}", markup=False)
        console().print(f"    request {row['request']}", soft_wrap=True)


def accept(
    home: Home,
    offer: Offer,
    days: Days = None,
    existing: Existing = False,
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Grant what was asked, or for fewer days, or only what is there now. Shows first what the member will see.

    Example: caremesh wallet accept 3f0c… --days 7
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        person.requests()
        terms = person.accepting(share_bytes(offer), days=days, future=not existing)
        [seen] = person.preview(terms)
        shared = person.grant(terms)
        name = mesh.name_of(terms.grantee)
    if as_json:
        print_json({"share": shared.record.id.hex(), "with": name, "segments": seen.segments, "future": seen.future})
        return
    what = "what is there and what comes" if seen.future else "what is there"
    console().print(f"{name} may now read {seen.category} ({what}), for {', '.join(terms.purposes)}.")
    console().print(f"To take it back: caremesh wallet revoke {shared.record.id.hex()}")


def decline(home: Home, offer: Offer, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Say no. The member learns that, and nothing else.

    Example: caremesh wallet decline 3f0c…
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        person.requests()
        person.decline(share_bytes(offer))
    if as_json:
        print_json({"request": offer, "status": "declined"})
    else:
        console().print("Declined.")


def add_to(app: typer.Typer) -> None:
    """Give the group these commands."""
    for command in (requests, accept, decline):
        app.command(command.__name__)(command)
