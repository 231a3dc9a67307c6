"""``caremesh wallet audit`` and ``wallet dispute``: who looked, as a feed, a calendar, or a file that proves it."""

from __future__ import annotations

import calendar
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from caremesh.cli.output import AsJson, Home, console, identity, passphrase, print_json, print_table
from caremesh.cli.trusting import founders
from caremesh.cli.wallet import WalletPath, open_person, opened_ways, wallet_path

if TYPE_CHECKING:
    from caremesh.sealing.custody import Signed
    from caremesh.wallet.audit import Access, Audit

_OPENED: Final = {
    "yes": "opened",
    "partly": "too few releases to open anything, unless a custodian hides one",
    "no": "nothing was opened",
    "unknown": "unknown whether anything was opened: a log is missing",
}
_FOUND: Final = {
    "log-missing": "Its log was not to be had: what it released is unknown.",
    "log-broken": "Its log does not hold together.",
    "not-anchored": "Its log is not the one that it anchored on the ledger.",
    "no-receipt": "It released without a receipt: an entry of its log names none of yours.",
    "outside": "It released outside a receipt: too early, too late, or another segment.",
    "no-entry": "It released, and its log has no entry of that: an opening without an entry.",
}
_INDENT: Final = "    "
Names = Callable[[str], str]


def audit(
    home: Home,
    by_day: Annotated[bool, typer.Option("--calendar", help="By day, as a calendar.")] = False,
    save: Annotated[Path | None, typer.Option(help="Save it with all proofs, to be checked later.")] = None,
    releases: Annotated[
        list[Path],
        typer.Option(help="What custodians signed to a recipient (`read --releases`): is it in their logs?"),
    ] = [],  # noqa: B006
    verify: Annotated[Path | None, typer.Option(help="Check a saved audit: no node and no custodian is asked.")] = None,
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Who looked, when, why, by which rule, and what was released; and whatever is not as it should be.

    What a custodian can be shown to have done is written to files that `caremesh evidence verify` checks.

    Example: caremesh wallet audit --calendar, or caremesh wallet audit --save mine.audit
    """
    if verify is not None:
        _verify(home, wallet, verify, by_day=by_day, as_json=as_json)
        return
    from caremesh import codec
    from caremesh.blobs.durable import write_durably
    from caremesh.node import evidence
    from caremesh.wallet.audit_proof import prove

    signed = _signed(releases)
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        logs = person.logs()
        found = person.wallet.audit(person.ledger.reader(), logs, signed)
        if save is not None:
            block = mesh.light_block()
            height = block.signed.content().proves
            proof = prove(person.wallet.state, block, lambda key: mesh.query(key, height), logs, signed)
            write_durably(save, codec.encode(proof))
        claims = [finding.claim for finding in found.findings if finding.claim is not None]
        files = [str(path) for path in evidence.write(mesh, claims, home / "evidence")]
        _tell(found, mesh.name_of, mesh.clock(), by_day=by_day, as_json=as_json, evidence=files)
    if save is not None and not as_json:
        console().print(f"Saved. `caremesh wallet audit --verify {save}` checks it.")


def dispute(
    home: Home,
    receipt: Annotated[str, typer.Argument(help="The receipt's id, as `wallet audit` prints it.")],
    words: Annotated[str, typer.Argument(help="What you ask. The member reads it, the ledger never sees it.")],
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Question an access. The member has to answer in a set time; late is recorded as late.

    Example: caremesh wallet dispute 5c1f… "I was not at the practice that day."
    """
    with opened_ways(home, wallet, quiet=as_json) as mesh:
        person = open_person(mesh, home, wallet)
        due = person.dispute(identity(receipt, "receipt"), words)
    if as_json:
        print_json({"receipt": receipt, "due": _iso(due)})
    else:
        console().print(f"The member has to answer by {_iso(due)[:10]}. `caremesh wallet audit` shows whether it did.")


def add_to(app: typer.Typer) -> None:
    """Give the group these commands."""
    for command in (audit, dispute):
        app.command(command.__name__)(command)


def _signed(files: Sequence[Path]) -> list[Signed]:
    """Raises BadInput cli.01; Tampered custody.01."""
    from caremesh.sealing.custody import kept_releases

    return [signed for file in files for signed in kept_releases(_bytes(file), file.name)]


def _bytes(file: Path) -> bytes:
    """Raises BadInput cli.01."""
    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput

    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, file.name) from error


def _verify(home: Path, wallet: Path | None, file: Path, *, by_day: bool, as_json: bool) -> None:
    """Raises BadInput cli.NN, Tampered, Locked: from the file, the wallet and the founding validators alone."""
    import time

    from caremesh.wallet.audit_proof import check, read
    from caremesh.wallet.wallet import Wallet

    data, founding = _bytes(file), founders(home, wallet)
    state = Wallet.open(wallet_path(home, wallet), passphrase(), founding.chain, lambda: int(time.time())).state
    proof = read(data)
    checked = check(proof, state, founding.light_client(proof.chain), int(time.time()))
    header = checked.header
    _tell(checked.audit, str, header.time, by_day=by_day, as_json=as_json, verified={"height": header.height})
    if not as_json:
        console().print(f"True by the ledger at height {header.height} ({_iso(header.time)}): every value is proven.")


def _tell(found: Audit, names: Names, now: int, *, by_day: bool, as_json: bool, **more: Any) -> None:
    rows = [_row(entry, names, now) for entry in found.accesses]
    findings = [
        {"kind": f.kind, "custodian": names(f.custodian), "category": f.category, "place": f.place}
        for f in found.findings
    ]
    logs = {"expected": sum(c.logs for c in found.coverage), "believed": sum(c.believed for c in found.coverage)}
    if as_json:
        told = {"accesses": rows, "findings": findings, "logs": logs, "complete": found.is_complete}
        print_json(told | ({"days": days(found)} if by_day else {}) | more)
        return
    if by_day:
        _calendar(found)
    else:
        for row, entry in zip(rows, found.accesses, strict=True):
            _feed(row, entry)
    if findings:
        rows_ = [[_FOUND[f["kind"]], f["custodian"], f["category"]] for f in findings]
        print_table("Not as it should be", ["what", "custodian", "category"], rows_)
        for path in more.get("evidence", []):
            console().print(f"{path} shows it to others.")
    else:
        console().print(f"Nothing is missing: all {logs['expected']} logs are there and hold together.")


def _row(entry: Access, names: Names, now: int) -> dict[str, Any]:
    allowed = entry.permission
    return {
        "at": _iso(entry.at),
        "who": names(entry.requester or entry.member),
        "member": names(entry.member),
        "asserted": entry.asserted,
        "category": entry.category,
        "action": entry.action,
        "purpose": entry.purpose,
        "outcome": entry.outcome,
        "emergency": entry.emergency,
        "released": entry.released,
        "released_by": sorted({names(seen.custodian) for seen in entry.releases}),
        "rules": entry.rules,
        "legal_basis": entry.legal_basis,
        "permission": None
        if allowed is None
        else {
            "purposes": allowed.purposes,
            "until": _iso(allowed.ends),
            "revoked": None if allowed.revoked is None else _iso(allowed.revoked),
        },
        "share": entry.share.hex(),
        "receipt": entry.receipt.hex() if entry.receipt is not None else None,
        "visit": entry.visit.hex() if entry.visit is not None else None,
        "dispute": entry.dispute.standing(now) if entry.dispute is not None else None,
    }


def _feed(row: dict[str, Any], entry: Access) -> None:
    """One access, in sentences."""
    mark = {"permitted": "green", "refused": "yellow"}[entry.outcome] if not entry.emergency else "red"
    by = f"{row['who']}{' (as its member says)' if entry.asserted else ''}"
    what = f"{entry.category}: {entry.action} for {entry.purpose}"
    console().print(f"[{mark}]{row['at'][:19].replace('T', ' ')}[/{mark}]  [bold]{by}[/bold]  {what}")
    lines = [f"lawful by {', '.join(entry.legal_basis)}; decided by {', '.join(entry.rules)}"]
    if row["permission"] is not None:
        ended = f", taken back {row['permission']['revoked'][:10]}" if row["permission"]["revoked"] else ""
        lines.append(
            f"you allow {', '.join(row['permission']['purposes'])} until {row['permission']['until'][:10]}{ended}"
        )
    if entry.emergency:
        lines.append("[red]emergency access, without your permission[/red]")
    if entry.receipt is not None:
        who = f" by {' and '.join(row['released_by'])}" if row["released_by"] else ""
        lines += [f"{_OPENED[entry.released]}{who}", f"receipt {entry.receipt.hex()}"]
    else:
        lines.append("refused: nothing was opened")
    if entry.dispute is not None:
        lines.append(f"you questioned this: {row['dispute']}")
    for line in lines:
        console().print(textwrap.fill(line, console().width, initial_indent=_INDENT, subsequent_indent=_INDENT))


def days(found: Audit) -> dict[str, dict[str, int]]:
    """Accesses by day (UTC) and by what became of them: permitted, refused, opened, emergency."""
    told: dict[str, Counter[str]] = {}
    for entry in found.accesses:
        day = told.setdefault(_iso(entry.at)[:10], Counter())
        day[entry.outcome] += 1
        day["opened"] += entry.released == "yes"
        day["emergency"] += entry.emergency
    return {day: {kind: count for kind, count in counts.items() if count} for day, counts in sorted(told.items())}


def _calendar(found: Audit) -> None:
    """The months with accesses; a day shows how many, red with an emergency, yellow with a refusal."""
    told = days(found)
    for month in sorted({day[:7] for day in told}):
        year, number = int(month[:4]), int(month[5:])
        weeks = calendar.Calendar().monthdayscalendar(year, number)
        rows = [[_cell(told.get(f"{month}-{day:02}", {}), day) for day in week] for week in weeks]
        print_table(f"{calendar.month_name[number]} {year}", [f"{name} " for name in calendar.day_abbr], rows)
    console().print("Day: number of accesses. [yellow]Yellow[/yellow]: one was refused. [red]Red[/red]: an emergency.")


def _cell(counts: dict[str, int], day: int) -> str:
    if not day:
        return ""
    total = counts.get("permitted", 0) + counts.get("refused", 0)
    if not total:
        return f"[dim]{day}[/dim]"
    color = "red" if "emergency" in counts else "yellow" if "refused" in counts else "green"
    return f"{day}: [bold {color}]{total}[/bold {color}]"


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
