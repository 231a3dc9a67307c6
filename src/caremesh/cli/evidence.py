"""``caremesh evidence``: check a file that shows what a custodian did."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from caremesh.cli import streams
from caremesh.cli.output import AsJson, Home, console, print_json
from caremesh.cli.trusting import founders
from caremesh.cli.wallet import WalletPath

app = typer.Typer(
    no_args_is_help=True,
    help="What a custodian did, shown to others.\n\nExample: [bold]caremesh evidence verify FILE[/bold]",
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
        typer.Argument(help="A file of `read`, `wallet audit` or `wallet erase`."),
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
    from caremesh.sealing import evidence

    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, file.name) from error
    trusted = founders(home, wallet).light_client()
    if file.suffix == CERTIFICATE:
        found = streams.shown(data, trusted)
        if as_json:
            print_json(found)
        else:
            streams.tell_shown(found)
        return
    shown = evidence.verify(evidence.read(data), trusted, int(time.time()))
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
