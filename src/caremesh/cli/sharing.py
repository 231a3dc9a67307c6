"""``caremesh wallet``: what is shared with whom. See before granting, grant, narrow, extend, delegate anew, revoke."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from caremesh.cli.output import AsJson, Home, console, print_json, print_table
from caremesh.cli.wallet import WalletPath, open_person, opened_ways
from caremesh.cli.words import CATEGORY, PURPOSE, TEMPLATE, check_categories

if TYPE_CHECKING:
    from caremesh.contracts.consent.messages import Scope
    from caremesh.testing.person import Person
    from caremesh.wallet.preview import Preview
    from caremesh.wallet.share import Terms
    from caremesh.wallet.ways import Ways

Member = Annotated[str, typer.Option("--with", help="The member: practice, hospital, laboratory, payer, regulator.")]
ShareId = Annotated[str, typer.Argument(metavar="SHARE", help="The share's id, as `wallet shares` prints it.")]
Categories = Annotated[
    list[str], typer.Argument(help="What to share: laboratory, medications, conditions, …", callback=CATEGORY)
]
Days = Annotated[int | None, typer.Option(min=1, max=3650, help="For how many days, today the first.")]
Purposes = Annotated[list[str], typer.Option(help="What for: TREAT (treatment), HPAYMT (payment), …", callback=PURPOSE)]
Template = Annotated[
    str,
    typer.Option(
        help="What people mean: my-practice, one-visit, second-opinion, insurer, study.",
        callback=TEMPLATE,
    ),
]
Existing = Annotated[bool, typer.Option("--existing", help="Only what is there now, nothing that comes later.")]


def _check_segments(context: typer.Context, given: list[str]) -> list[str]:
    if not context.resilient_parsing:
        _listed(given)
    return given


Kept = Annotated[list[str], typer.Option(help="Keep these categories, take back the others.", callback=CATEGORY)]
Segments = Annotated[
    list[str], typer.Option(help="Only these segments of a category: laboratory=0,2", callback=_check_segments)
]


def preview(
    home: Home,
    categories: Categories,
    member: Member = "practice",
    template: Template = "",
    days: Days = None,
    purpose: Purposes = [],  # noqa: B006
    existing: Existing = False,
    segments: Segments = [],  # noqa: B006
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """What a member would see of this, before anything is granted.

    Example: caremesh wallet preview laboratory --with payer --template insurer
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        terms = _terms(person, member, categories, template, days, purpose, existing=existing, segments=segments)
        rows = _seen(mesh, person.preview(terms))
        name = mesh.name_of(mesh.did(member))
    if as_json:
        print_json({"with": name, **_plain(terms), "would_see": rows})
        return
    print_table(f"{name} would see", ["what", "from", "segments", "at most ", "and what comes"], _as_table(rows))
    console().print(f"{_period(terms)}, for {', '.join(terms.purposes)} ({', '.join(terms.actions)}).")


def share(
    home: Home,
    categories: Categories,
    member: Member = "practice",
    template: Template = "",
    days: Days = None,
    purpose: Purposes = [],  # noqa: B006
    existing: Existing = False,
    segments: Segments = [],  # noqa: B006
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Let a member read these categories for a purpose and a time. `wallet preview` shows first what it would see.

    Example: caremesh wallet share laboratory medications --with practice --days 30
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        terms = _terms(person, member, categories, template, days, purpose, existing=existing, segments=segments)
        rows = _seen(mesh, person.preview(terms))
        shared = person.grant(terms)
        name = mesh.name_of(mesh.did(member))
    answer = {
        "share": shared.record.id.hex(),
        "with": name,
        "categories": [item.category for item in shared.record.items],
        "consents": [item.consent.hex() for item in shared.record.items],
        "custodians_missing": len(shared.missing),
        "sees": rows,
    }
    if as_json:
        print_json(answer)
        return
    length = (terms.until - terms.from_) // 86_400
    console().print(f"{name} may now read {', '.join(categories)} for {length} days, for {', '.join(terms.purposes)}.")
    console().print(f"To take it back: caremesh wallet revoke {shared.record.id.hex()}")


def shares(home: Home, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Everything that was ever shared, and how it stands on the ledger now.

    Example: caremesh wallet shares
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        rows = [
            {
                "share": entry.share.hex(),
                "with": mesh.name_of(entry.grantee),
                "category": held.category,
                "status": held.status,
                "scope": "" if held.scope is None else _scope(held.scope),
                "purposes": held.purposes,
                "actions": held.actions,
                "until": _last_day(held.ends),
                "consent": held.consent.hex(),
            }
            for entry in open_person(mesh, home, wallet).shares()
            for held in entry.consents
        ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        console().print("Nothing is shared.")
    for share, held in groupby(rows, key=lambda row: str(row["share"])):
        consents = list(held)
        print_table(
            f"{consents[0]['with']}, share {share}",
            ["what", "status", "which", "for", "to the end of"],
            [
                [str(row[name]) for name in ("category", "status", "scope")]
                + [", ".join(row["purposes"]), str(row["until"])]
                for row in consents
            ],
        )


def narrow(
    home: Home,
    share_id: ShareId,
    only: Kept = [],  # noqa: B006
    days: Annotated[int | None, typer.Option(min=1, help="End after so many days, today the first.")] = None,
    purpose: Annotated[list[str], typer.Option(help="Keep these purposes.", callback=PURPOSE)] = [],  # noqa: B006
    existing: Annotated[bool, typer.Option("--existing", help="Nothing that comes later.")] = False,
    segments: Segments = [],  # noqa: B006
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Let a share allow less, from the next block on.

    Example: caremesh wallet narrow 3f0c… --only laboratory --days 7
    """
    from caremesh.wallet import state as states
    from caremesh.wallet.change import Narrower
    from caremesh.wallet.templates import period

    identity = share_bytes(share_id)
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        record = states.share_record(person.wallet.state, identity)
        listed = _listed(segments)
        less = Narrower(
            categories=only or None,
            until=None if days is None else period(mesh.clock(), days)[1],
            purposes=purpose or None,
            existing=mesh.light_block().signed.content().proves if existing else None,
            listed={item.stream: listed[item.category] for item in record.items if item.category in listed},
        )
        person.narrow(identity, less)
        _tell_share(person, identity, "Narrowed", as_json=as_json)


def extend(
    home: Home,
    share_id: ShareId,
    days: Annotated[int, typer.Option(min=1, max=3650, help="For so many days from today on.")],
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Let a share last longer.

    Example: caremesh wallet extend 3f0c… --days 90
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        person.extend(share_bytes(share_id), days)
        _tell_share(person, share_bytes(share_id), "Extended", as_json=as_json)


def redelegate(home: Home, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Make new fragments where a member's key, the epoch or the custodians have changed; what is current stays.

    Example: caremesh wallet redelegate
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        due = [held for entry in person.shares() for held in entry.consents if held.status == "to be delegated anew"]
        missing = person.redelegate()
    if as_json:
        print_json({"consents": [held.consent.hex() for held in due], "custodians_missing": len(missing)})
    else:
        console().print(f"{len(due)} consents delegated anew. Fragments still to be left: {len(missing)}.")


def revoke(home: Home, share_id: ShareId, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Take a share back. From the next block on, no custodian releases anything for it.

    Example: caremesh wallet revoke 3f0c…
    """
    identity = share_bytes(share_id)
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        person.revoke(identity)
        found = person.destroyed(identity)
    if as_json:
        print_json({"share": share_id, "fragments_destroyed": found.confirmed, "to_be_confirmed": len(found.missing)})
        return
    console().print(f"Taken back. Custodians have confirmed that {found.confirmed} fragments are destroyed.")
    if found.missing:
        console().print(f"{len(found.missing)} are still to be confirmed; nothing is released for this share any more.")


def add_to(app: typer.Typer) -> None:
    """Give the group these commands."""
    for command in (preview, share, shares, narrow, extend, redelegate, revoke):
        app.command(command.__name__)(command)


def share_bytes(text: str) -> bytes:
    """An id from its hexadecimal. Raises BadParameter."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise typer.BadParameter("an id is hexadecimal") from error


def _terms(
    person: Person,
    member: str,
    categories: Sequence[str],
    template: str,
    days: int | None,
    purposes: Sequence[str],
    *,
    existing: bool,
    segments: Sequence[str],
) -> Terms:
    """A template's terms, or treatment for 30 days, with what was said expressly in their place."""
    from caremesh.wallet.templates import template as known

    base = known(template) if template else None
    return person.terms(
        member,
        categories,
        days=days or (base.days if base else 30),
        purposes=list(purposes) or (base.purposes if base else ["TREAT"]),
        actions=base.actions if base else ["read"],
        future=not existing and (base.future if base else True),
        listed=_listed(segments),
    )


def _listed(segments: Sequence[str]) -> dict[str, list[int]]:
    found = {}
    for text in segments:
        category, _, numbers = text.partition("=")
        if not all(part.isdecimal() for part in numbers.split(",")):
            raise typer.BadParameter("write CATEGORY=NUMBER,NUMBER")
        found[category] = [int(part) for part in numbers.split(",")]
    check_categories(found)
    return found


def _seen(mesh: Ways, entries: Sequence[Preview]) -> list[dict[str, Any]]:
    return [
        {
            "category": entry.category,
            "from": mesh.name_of(entry.source),
            "segments": entry.segments,
            "size_bytes_at_most": entry.size_bytes,
            "future": entry.future,
            "has_already": [consent.hex() for consent in entry.already],
        }
        for entry in entries
    ]


def _as_table(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            row["category"],
            row["from"],
            ", ".join(map(str, row["segments"])) or "nothing yet",
            f"{row['size_bytes_at_most'] // 1024} KiB",
            "yes" if row["future"] else "no",
        ]
        for row in rows
    ]


def _plain(terms: Terms) -> dict[str, Any]:
    return {
        "purposes": terms.purposes,
        "actions": terms.actions,
        "from": _day(terms.from_),
        "to_the_end_of": _last_day(terms.until),
    }


def _period(terms: Terms) -> str:
    return f"From {_day(terms.from_)} to the end of {_last_day(terms.until)}"


def _scope(scope: Scope) -> str:
    if scope.kind == "listed":
        return f"segments {', '.join(map(str, scope.segments))}"
    return "what is there and what comes" if scope.kind == "future" else "what was there"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _last_day(until: int) -> str:
    """The last day of a period that ends at this, the first second after."""
    return _day(until - 1) if until else ""


def _tell_share(person: Person, share: bytes, what: str, *, as_json: bool) -> None:
    [found] = [entry for entry in person.shares() if entry.share == share]
    rows = [
        {"category": held.category, "status": held.status, "until": _last_day(held.ends)} for held in found.consents
    ]
    if as_json:
        print_json({"share": share.hex(), "consents": rows})
        return
    console().print(f"{what}.")
    print_table("", ["what", "status", "to the end of"], [[*map(str, row.values())] for row in rows])
