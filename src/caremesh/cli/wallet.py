"""``caremesh wallet``: create, restore. Other commands of the group are in ``sharing`` and ``auditing``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caremesh.cli.output import AsJson, Home, console, passphrase, print_json, print_table, progress

if TYPE_CHECKING:
    from caremesh.node.mesh import LocalMesh
    from caremesh.testing.person import Person

app = typer.Typer(
    no_args_is_help=True,
    help="A patient's keys, and what they do with them.\n\nExample: [bold]caremesh wallet create[/bold]",
)

WalletPath = Annotated[
    Path | None,
    typer.Option("--wallet", envvar="CAREMESH_WALLET", help="The wallet's file.", show_default="HOME/patient.wallet"),
]


@app.command("create")
def create(home: Home, wallet: WalletPath = None, as_json: AsJson = False) -> None:
    """Make a wallet, and print its recovery phrase once. Makes a mesh on this machine when there is none.

    Example: caremesh wallet create --wallet ./me.wallet
    """
    from caremesh.testing.person import Person

    with opened_mesh(home, quiet=as_json) as mesh:
        path = wallet_path(home, wallet)
        _, phrase = Person.create(mesh, path, passphrase(confirm=True))
    if as_json:
        print_json({"wallet": str(path), "phrase": phrase.split()})
        return
    console().print(f"Your wallet is in {path}.\n")
    console().print(
        "[bold]Write these 24 words on paper. They are shown once; whoever has them has your records.[/bold]"
    )
    words = phrase.split()
    rows = [[f"{row + 6 * column + 1:>2} {words[row + 6 * column]}" for column in range(4)] for row in range(6)]
    print_table("", ["", "", "", ""], rows)


@app.command("restore")
def restore(
    home: Home,
    wallet: WalletPath = None,
    phrase: Annotated[
        str | None, typer.Option(envvar="CAREMESH_PHRASE", help="The 24 words; asked for if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a wallet back from its 24 words: streams and shares are found again on the ledger.

    Example: caremesh wallet restore --wallet ./me-again.wallet
    """
    from caremesh.testing.person import Person

    words = phrase if phrase is not None else typer.prompt("The 24 words", err=True)
    with opened_mesh(home, quiet=as_json) as mesh:
        path = wallet_path(home, wallet)
        person = Person.restore(mesh, path, passphrase(confirm=True), words)
    found = {
        "wallet": str(path),
        "streams": sum(len(entry.streams) for entry in person.wallet.state.relationships),
        "shares": len(person.wallet.state.shares),
    }
    if as_json:
        print_json(found)
    else:
        console().print(f"Restored to {path}: {found['streams']} streams, {found['shares']} shares.")


def wallet_path(home: Path, wallet: Path | None) -> Path:
    """Where the wallet is."""
    return wallet if wallet is not None else home / "patient.wallet"


def open_person(mesh: LocalMesh, home: Path, wallet: Path | None) -> Person:
    """The wallet, opened with its passphrase. Raises Locked, Tampered, BadInput, WrongLedger."""
    from caremesh.testing.person import Person

    return Person.open(mesh, wallet_path(home, wallet), passphrase())


def opened_mesh(home: Path, *, quiet: bool) -> LocalMesh:
    """The mesh on this machine, made when there is none."""
    from caremesh.node.mesh import LocalMesh

    with progress("Opening the mesh", quiet=quiet):
        return LocalMesh(home / "mesh")
