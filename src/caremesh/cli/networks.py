"""``caremesh network``: organisations become a network, and see how it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from caremesh.cli.desks import node_desk
from caremesh.cli.node import NodeHome
from caremesh.cli.output import AsJson, console, print_json, print_table

if TYPE_CHECKING:
    from caremesh.node.founding import Founding

JOIN = """Take up the network that a network file describes.

The file must name this home as its admission file does. Compare the fingerprint with who founded it by voice.

Other members' nodes are asked, where they run, whether the network went over to another chain; that has to be proven.

Example: [bold]caremesh join --home ./node lakes.network[/bold]
"""
app = typer.Typer(no_args_is_help=True, help="Found a network of organisations, join it, see how it goes.")


@app.command("init")
def init(
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet: gets a home for each member.")],
    members: Annotated[int, typer.Option(min=1, max=16, help="How many members.")] = 4,
    name: Annotated[str, typer.Option(help="Name of the network.")] = "pilot",
    first_port: Annotated[int, typer.Option(min=1_024, max=65_000, help="The first of three ports a member.")] = 18_443,
    as_json: AsJson = False,
) -> None:
    """Make a whole network on this machine, to try it: homes of all members, founded and joined, ordered by CometBFT.

    Between organisations each makes its own home with `caremesh init`, and they hand files to one another.

    Example: caremesh network init ./pilot --members 4
    """
    from caremesh.node import pilot

    made = pilot.make(folder, name, members, first_port, int(time.time()))
    if as_json:
        print_json({"network": name, "homes": [str(each) for each in made]})
        return
    rows = [[each.name, f"caremesh node --home {each}"] for each in made]
    print_table(f"The network {name}", ["member", "start it with"], rows)
    console().print("Each member is a validator: blocks need more than two thirds of them.")
    console().print(f"Then: [bold]caremesh network status --home {made[0]}[/bold]")


@app.command("found")
def found(
    home: NodeHome,
    admissions: Annotated[list[Path], typer.Argument(help="Admission files of the other members.")],
    out: Annotated[Path, typer.Option(help="The network file to hand to all of them.")] = Path("network.cbor"),
    engine: Annotated[
        Literal["embedded", "cometbft"],
        typer.Option(help="embedded: this home's node orders blocks. cometbft: all together who gave --peers."),
    ] = "embedded",
    as_json: AsJson = False,
) -> None:
    """Found the network of these members and this home.

    Example: caremesh network found --home ./node hospital/admission.cbor payer/admission.cbor
    """
    from caremesh import codec
    from caremesh.blobs.durable import write_durably
    from caremesh.node import joining

    files = [joining.read_admission(read(path), str(path)) for path in admissions]
    made = joining.found(home, files, int(time.time()), engine=engine)
    write_durably(out, codec.encode(made), mode=0o644)
    tell(made, f"Founded. {out} is for every member.", as_json=as_json, file=str(out))


@app.command("join", help=JOIN)
def join(
    home: NodeHome,
    file: Annotated[Path, typer.Argument(help="The network file that the founder made.")],
    as_json: AsJson = False,
) -> None:
    """Take up the network of a file."""
    from caremesh.node import joining
    from caremesh.node.catching_up import admitted, crossed

    made = joining.join(home, read(file), admitted, crossed)
    chain = made.light_client().chain
    over = "" if chain == made.chain else f" Its members order blocks together by now, on {chain}; that is proven."
    tell(made, f"Joined.{over}", as_json=as_json, chain=chain)


@app.command("status")
def status(home: NodeHome, as_json: AsJson = False) -> None:
    """Show who is a member, who orders blocks, who signed the last one, and who is connected.

    Example: caremesh network status --home ./node
    """
    import msgspec

    from caremesh.node.network_status import look

    found = look(home)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    rows = [
        [
            each.name,
            ", ".join(each.roles),
            each.status,
            str(each.power or "–"),
            _said(each.signed) if each.power else "–",
            "this one" if each.here else _said(each.connected),
        ]
        for each in found.members
    ]
    columns = ["member", "roles", "status", "votes", "signed the last block", "connected"]
    print_table(f"The network {found.chain} ({found.engine})", columns, rows)
    if any(each.power and each.signed is False for each in found.members):
        console().print("A block needs more than two thirds of the votes: who came a moment late shows as no, once.")
        console().print("Who shows so time and again takes no part: `caremesh doctor` in that home says why.")
    age = f", {max(0, int(time.time()) - found.time)} s old" if found.time else ""
    console().print(f"Height {found.height:,}{age}; rules {found.rules}; fingerprint {found.fingerprint}.")
    if found.upgrade is not None:
        console().print(f"From block {found.upgrade:,} on, version {found.rules + 1} of the rules counts.")
    if found.conversion is not None:
        console().print(f"After block {found.conversion:,}, those who were named order blocks together.")
    if found.besides:
        console().print(f"Connected besides, and named by no file of the network: {found.besides}.")


@app.command("offer")
def offer(
    home: NodeHome,
    peers: Annotated[str, typer.Option(help="HOST:PORT at which other members' CometBFT reach this one's.")],
    out: Annotated[Path, typer.Option(help="The admission file to hand to who proposes it.")] = Path("offer.cbor"),
    as_json: AsJson = False,
) -> None:
    """Offer to order blocks together with others: this home's admission file once more, with its validator's key.

    The node need not run. Set `peers_host` and `peers_port` where it is to listen, and install CometBFT there.

    Example: caremesh network offer --home ./node --peers hospital.example:26656 --out hospital.offer
    """
    from caremesh.blobs.durable import write_durably
    from caremesh.node import joining

    made = joining.offer(home, peers)
    write_durably(out, made, mode=0o644)
    said = joining.read_admission(made, str(out))
    if as_json:
        print_json({"file": str(out), "member": said.admit.member, "peer": peers})
    else:
        console().print(f"{out} offers that {said.admit.name} orders blocks, at {peers}. Nothing in it is secret.")


@app.command("rotate-key")
def rotate_key(home: NodeHome, as_json: AsJson = False) -> None:
    """Change the key that this home's validator signs blocks with, while the node runs.

    The ledger names the new key in the member's name; CometBFT is started again with it, and the old one is destroyed.
    A home that was restored from a backup has a new key, and takes up its vote again by this.

    Example: caremesh network rotate-key --home ./node
    """
    with node_desk(home) as desk:
        name = desk.rotate_validator_key()
    if as_json:
        print_json({"member": name})
    else:
        console().print(f"{name} signs blocks with another key. Nobody else has to do anything.")


@app.command("rehearse")
def rehearse(home: NodeHome, as_json: AsJson = False) -> None:
    """Try on a copy of this node's ledger what the next version of the rules would do to it. The node may run.

    It says what the state's root would be, how many entries come, change and go, and how long that takes here.

    Example: caremesh network rehearse --home ./node
    """
    import msgspec

    from caremesh.node.rehearsing import rehearse as tried

    made = tried(home)
    if as_json:
        print_json(msgspec.to_builtins(made))
        return
    when = f"decided for block {made.at:,}" if made.at is not None else "not decided yet"
    console().print(f"Version {made.version} of the rules ({when}), tried on a copy of block {made.height:,}:")
    console().print(f"  {made.added:,} entries added, {made.changed:,} changed, {made.removed:,} removed")
    console().print(f"  root {made.root_before[:16]}… becomes {made.root_after[:16]}…")
    console().print(f"  {made.copy_s:.1f} s to copy and open, {made.migrate_s:.1f} s to migrate")


@app.command("leave")
def leave(
    home: NodeHome,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Leave the network for good, while the node runs: no receipts, no votes, no way back under this identity.

    What patients have consented to ends here; their blocks stay with the other members. It has to be other members
    who decide: without this one there must be enough authorities left.

    Example: caremesh network leave --home ./node
    """
    if not yes:
        typer.confirm("Leave the network for good?", abort=True)
    with node_desk(home) as desk:
        name = desk.leave_network()
    if as_json:
        print_json({"member": name, "status": "left"})
    else:
        console().print(f"{name} has left. Its node follows the ledger for as long as it runs, without a vote.")


def tell(made: Founding, said: str, *, as_json: bool, **extra: str) -> None:
    """The members of a network, and its fingerprint."""
    from caremesh.node import joining

    members = made.document.members
    if as_json:
        told = {"network": made.chain, "engine": made.orders, "fingerprint": joining.fingerprint(made)}
        print_json(told | extra | {"members": [{"name": each.name, "did": each.member} for each in members]})
        return
    orders = {each.member for each in made.document.validators}
    rows = [
        [each.name, ", ".join(each.roles), each.jurisdiction, each.endpoints[0], "yes" if each.member in orders else ""]
        for each in members
    ]
    columns = ["member", "roles", "country", "address", *(["orders blocks"] if orders else [])]
    print_table(f"The network {made.chain}", columns, [row[: len(columns)] for row in rows])
    console().print(said)
    console().print(f"Fingerprint [bold]{joining.fingerprint(made)}[/bold]: compare it by voice.")


def read(path: Path) -> bytes:
    """A file that somebody handed over. Raises BadInput cli.NN."""
    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput

    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, path.name) from error


def _said(known: bool | None) -> str:
    return "not known" if known is None else "yes" if known else "[red]no[/red]"
