"""``caremesh``: the commands, and how errors become exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from caremesh import __version__
from caremesh.cli import (
    auditing,
    backups,
    blocks,
    correcting,
    decisions,
    demo,
    doctor,
    evidence,
    importing,
    inviting,
    ledger,
    networks,
    node,
    policy,
    reading,
    requests,
    sharing,
    streams,
    wallet,
)
from caremesh.cli.output import fail
from caremesh.errors import CareMeshError
from caremesh.node.process import spare_the_collector

app = typer.Typer(
    name="caremesh",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Health-data exchange that patients control.\n\nTry [bold]caremesh demo[/bold] first.",
    epilog="Exit codes and what to do about them: docs/reference/exit-codes/.",
)
app.command("demo", help=demo.HELP)(demo.demo)
sharing.add_to(wallet.app)
requests.add_to(wallet.app)
auditing.add_to(wallet.app)
streams.add_to(wallet.app)
inviting.add_to(wallet.app)
app.add_typer(wallet.app, name="wallet")
app.command("invite", help=inviting.HELP)(inviting.invite)
app.command("import", help=importing.HELP)(importing.import_)
app.command("correct", help=correcting.CORRECT)(correcting.correct)
app.command("retract", help=correcting.RETRACT)(correcting.retract)
app.command("rotate-key", help=correcting.ROTATE)(correcting.rotate_key)
app.command("read", help=reading.HELP)(reading.read)
app.command("ask", help=requests.HELP)(requests.ask)
app.add_typer(ledger.app, name="ledger")
app.add_typer(blocks.app, name="blocks")
app.add_typer(evidence.app, name="evidence")
app.add_typer(policy.app, name="policy")
app.command("init", help=node.INIT)(node.init)
decisions.add_to(networks.app)
app.add_typer(networks.app, name="network")
app.command("join", help=networks.JOIN)(networks.join)
app.command("node", help=node.NODE, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    node.node
)
app.command("ready", help=node.READY)(node.ready)
app.command("backup", help=backups.BACKUP)(backups.backup)
app.command("restore", help=backups.RESTORE)(backups.restore)
app.command("doctor", help=doctor.HELP)(doctor.doctor)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"caremesh {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point. Known errors end with their exit code and one clear message; others are faults of ours (1)."""
    spare_the_collector()
    try:
        app()
    except CareMeshError as error:
        fail(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
