"""``caremesh wallet``: create, restore. Other commands of the group are in ``sharing`` and ``auditing``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from caremesh.cli.output import AsJson, Home, console, identity, passphrase, print_json, print_table, progress

if TYPE_CHECKING:
    from caremesh.node.mesh import LocalMesh
    from caremesh.testing.person import Person
    from caremesh.wallet.network import Network
    from caremesh.wallet.ways import Ways

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
    show_phrase(path, phrase)


@app.command("restore")
def restore(
    home: Home,
    wallet: WalletPath = None,
    phrase: Annotated[
        str | None, typer.Option(envvar="CAREMESH_PHRASE", help="The 24 words; asked for if not given.")
    ] = None,
    node: Annotated[str, typer.Option(help="Over the network: the address of any node, https://…")] = "",
    network: Annotated[str, typer.Option(help="With --node: the network's hash, as `wallet join` prints it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Bring a wallet back from its 24 words: streams and shares are found again on the ledger.

    Example: caremesh wallet restore --wallet ./me-again.wallet
    """
    from caremesh.testing.person import Person

    words = phrase if phrase is not None else typer.prompt("The 24 words", err=True)
    path = wallet_path(home, wallet)
    if node:
        _keep_network(path, node, network)
    with opened_ways(home, wallet, quiet=as_json) as mesh:
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


@app.command("trust-founders")
def trust_founders(
    home: Home,
    wallet: WalletPath = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a wallet that was not used for more than a year begin again from the founders of its network (wallet.80).

    Ask a member first, in person or by voice, whether the keys in the network's file were given up: who has found one
    could show this wallet a ledger that is none.

    Example: caremesh wallet trust-founders --wallet ./me.wallet
    """
    from caremesh.errors import Refused
    from caremesh.wallet import kept_network
    from caremesh.wallet.errors import NO_NETWORK

    path = wallet_path(home, wallet)
    kept = kept_network.load(path)
    if kept is None:
        raise Refused(NO_NETWORK, path.name)
    if not yes:
        typer.confirm("Has a member told you that the founders' keys still hold?", abort=True, err=True)
    kept_network.keep(path, kept.begun_anew())
    if as_json:
        print_json({"wallet": str(path)})
    else:
        console().print("The next command begins with the founders, and keeps the newest header that it verifies.")


def show_phrase(path: Path, phrase: str) -> None:
    """Print a new wallet's recovery phrase."""
    console().print(f"Your wallet is in {path}.\n")
    console().print(
        "[bold]Write these 24 words on paper. They are shown once; whoever has them has your records.[/bold]"
    )
    words = phrase.split()
    rows = [[f"{row + 6 * column + 1:>2} {words[row + 6 * column]}" for column in range(4)] for row in range(6)]
    print_table("", ["", "", "", ""], rows)


def wallet_path(home: Path, wallet: Path | None) -> Path:
    """Where the wallet is."""
    return wallet if wallet is not None else home / "patient.wallet"


def open_person(mesh: Ways, home: Path, wallet: Path | None) -> Person:
    """The wallet, opened with its passphrase. Raises Locked, Tampered, BadInput, WrongLedger."""
    from caremesh.testing.person import Person

    return Person.open(mesh, wallet_path(home, wallet), passphrase())


def opened_mesh(home: Path, *, quiet: bool) -> LocalMesh:
    """The mesh on this machine, made when there is none."""
    from caremesh.node.mesh import LocalMesh

    with progress("Opening the mesh", quiet=quiet):
        return LocalMesh(home / "mesh")


@contextmanager
def opened_ways(home: Path, wallet: Path | None, *, quiet: bool) -> Iterator[LocalMesh | Network]:
    """The network that this wallet has joined, else the mesh on this machine. Raises Tampered wallet.63."""
    from caremesh.errors import Tampered
    from caremesh.wallet import kept_network

    kept = kept_network.load(wallet_path(home, wallet))
    if kept is None:
        with opened_mesh(home, quiet=quiet) as mesh:
            yield mesh
            _name_liars(mesh)
        return
    with kept.open(lambda: int(time.time())) as ways:
        try:
            yield ways
        except Tampered:
            if ways.proven.fork is not None:
                path = kept_network.keep_fork(wallet_path(home, wallet), ways.proven.fork)
                typer.echo(f"What shows the fork is in {path}: caremesh evidence verify {path}", err=True)
            raise
        learned = kept.learned(ways)
        if learned != kept:
            kept_network.keep(wallet_path(home, wallet), learned)
        _name_liars(ways)


def _name_liars(ways: Ways) -> None:
    """Who gave out what was damaged or untrue, and was done without, on standard error."""
    from caremesh.wallet.proven import is_lie

    for did, code in sorted({(fault.node, fault.code) for fault in ways.faults if is_lie(fault)}):
        said = f"{ways.name_of(did)} answered what is damaged or untrue ({code}); others were asked instead."
        typer.secho(said, fg=typer.colors.YELLOW, err=True)


def _keep_network(path: Path, node: str, network: str) -> None:
    """Raises a usage error, Refused wallet.08 when the wallet is there, and what ``kept_network.fetch`` raises."""
    from caremesh.errors import Refused
    from caremesh.wallet import kept_network
    from caremesh.wallet.errors import EXISTS

    if path.exists():
        raise Refused(EXISTS, path.name)
    kept_network.keep(path, kept_network.fetch(node.rstrip("/"), identity(network, "network")))
