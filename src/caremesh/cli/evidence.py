"""``caremesh evidence``: check a file that shows what a custodian did, or what validators signed twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caremesh.cli import streams
from caremesh.cli.output import AsJson, Home, console, print_json
from caremesh.cli.trusting import founders
from caremesh.cli.wallet import WalletPath

if TYPE_CHECKING:
    from caremesh.ledger.light import LightClient

app = typer.Typer(
    no_args_is_help=True,
    help="What a custodian or a validator did, shown to others.\n\nExample: [bold]caremesh evidence verify FILE[/bold]",
)


CERTIFICATE = ".certificate"


@app.callback()
def _group() -> None:
    pass


@app.command("verify")
def verify(
    home: Home,
    file: Annotated[
        Path,
        typer.Argument(help="A file of `read`, `wallet audit`, `wallet erase`, or of a fork that was found."),
    ],
    wallet: WalletPath = None,
    as_json: AsJson = False,
) -> None:
    """Check what a file shows, against the founding validators alone: no node is asked.

    Example: caremesh evidence verify false-release-5c1f.evidence
    """
    import time

    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput
    from caremesh.ledger import forks
    from caremesh.sealing import evidence

    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, file.name) from error
    known = founders(home, wallet)
    if file.suffix == CERTIFICATE:
        found = streams.shown(data, known.light_client)
        if as_json:
            print_json(found)
        else:
            streams.tell_shown(found)
        return
    if file.suffix == forks.SUFFIX:
        _show_fork(data, known.light_client, as_json=as_json)
        return
    said = evidence.read(data)
    shown = evidence.verify(said, known.light_client(said.chain), int(time.time()))
    if as_json:
        print_json(
            {
                "shown": shown.kind,
                "custodian": shown.custodian,
                "sentence": shown.sentence,
                "height": shown.height,
                "time": shown.time,
            }
        )
        return
    at = datetime.fromtimestamp(shown.time, UTC).isoformat(sep=" ")
    console().print(f"[bold]{shown.custodian}[/bold]\n{shown.sentence}")
    console().print(f"Signed by it, and true by the ledger at height {shown.height} ({at}).")


def _show_fork(data: bytes, trusted: Callable[[str], LightClient], *, as_json: bool) -> None:
    """Two headers of one height, and the keys that signed both. Raises Tampered light.13, light.14, light.NN."""
    import time

    from caremesh.crypto.signatures import multikey_text
    from caremesh.ledger import forks

    said = forks.read(data)
    shown = forks.verify(said, trusted(said.chain), int(time.time()))
    keys = [multikey_text(key) for key in shown.twice]
    if as_json:
        print_json(
            {
                "shown": "fork",
                "height": shown.height,
                "time": shown.time,
                "headers": [shown.one.hex(), shown.other.hex()],
                "signed_both": keys,
                "same_round": shown.same_round,
                "power": shown.power,
                "total": shown.total,
                "differs": shown.differs,
            }
        )
        return
    at = datetime.fromtimestamp(shown.time, UTC).isoformat(sep=" ")
    console().print(f"Two headers of height {shown.height} ({at}) are signed by enough of the validators:")
    console().print(f"{shown.one.hex()}\n{shown.other.hex()}")
    rounds = "in one round" if shown.same_round else "in different rounds"
    console().print(f"{len(keys)} signed both, {rounds}: {shown.power} of {shown.total} of the power.")
    for key in keys:
        console().print(f"[bold]{key}[/bold]")
