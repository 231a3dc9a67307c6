"""``caremesh init``, ``caremesh network found``, ``caremesh join``, ``caremesh node``: a node of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caremesh.cli.output import AsJson, console, print_json, print_table
from caremesh.cli.words import ROLE

ROLES = "provider, payer, researcher, laboratory, custodian, emergency-service, regulator, credential-issuer"
NodeHome = Annotated[Path, typer.Option("--home", envvar="CAREMESH_HOME", help="Folder of this node.")]

INIT = """Make a home for a node: keys of its own, settings, and the admission file for the operator of the network.

Nothing in the admission file is secret. Whoever founds the network needs it; you get a network file back, and join.

Example: [bold]caremesh init --home ./node --network lakes --name "Lakeside Hospital" --role provider --country US \\
--address https://node.lakeside.example:8443[/bold]
"""
JOIN = """Take up the network that a network file describes.

The file must name this home as its admission file does. Compare the fingerprint with the operator by voice.

Example: [bold]caremesh join --home ./node lakes.network[/bold]
"""
NODE = """Run this home's node until it is told to end (SIGTERM, Ctrl-C; a second one ends it at once).

Every setting is a flag too: [bold]--listen-port 8443[/bold]. They are in docs/reference/settings.md.

Example: [bold]caremesh node --home ./node[/bold]
"""
READY = """Whether this home's node does its work: its copy of the ledger is fresh, and there is room on its disk.

Leaves with 9 when it is not. For scripts and for health checks of containers.

Example: [bold]caremesh ready --home ./node --within 60[/bold]
"""
network = typer.Typer(no_args_is_help=True, help="Found a network of organisations.")


def init(
    home: NodeHome,
    network_name: Annotated[
        str, typer.Option("--network", prompt="Name of the network (small letters, as all its members spell it)")
    ],
    name: Annotated[str, typer.Option(prompt="Name of your organisation, as patients know it")],
    role: Annotated[list[str], typer.Option(help=f"What it is, once for each: {ROLES}.", callback=ROLE)],
    country: Annotated[str, typer.Option(prompt="Country whose law it is under (two letters)", help="ISO 3166 code.")],
    address: Annotated[str, typer.Option(prompt="Address at which members reach your node (https://host:port)")],
    as_json: AsJson = False,
) -> None:
    """Keys, settings, admission file."""
    from caremesh.node import joining
    from caremesh.settings import FILE

    made, _ = joining.begin(home, chain=network_name, name=name, roles=role, country=country, address=address)
    port = address.rpartition(":")[2].partition("/")[0]
    settings = home / FILE
    if not settings.exists():
        port_line = f"listen_port = {port}\n" if port.isdigit() else ""
        settings.write_text(f'listen_host = "0.0.0.0"\n{port_line}', "utf-8")
    if as_json:
        print_json({"home": str(home), "did": made.did, "admission": str(home / joining.ADMISSION_FILE)})
        return
    console().print(f"[bold]{name}[/bold] is {made.did} on the network {network_name}.\n")
    rows = [
        [joining.ADMISSION_FILE, "give it to the operator of the network; nothing in it is secret"],
        ["secrets.key", "opens everything else here; keep a copy in another place, and nobody else's eyes on it"],
        [FILE, "what can be set: docs/reference/settings.md"],
    ]
    print_table(f"In {home}", ["file", "what to do with it"], rows)
    console().print(f"Next: [bold]caremesh join --home {home} FILE[/bold] with the network file that you get back.")


@network.command("found")
def found(
    home: NodeHome,
    admissions: Annotated[list[Path], typer.Argument(help="Admission files of the other members.")],
    out: Annotated[Path, typer.Option(help="The network file to hand to all of them.")] = Path("network.cbor"),
    as_json: AsJson = False,
) -> None:
    """Found the network of these members and this home, whose node will order its blocks.

    Example: caremesh network found --home ./node hospital/admission.cbor payer/admission.cbor
    """
    import time

    from caremesh import codec
    from caremesh.blobs.durable import write_durably
    from caremesh.node import joining

    read = [joining.read_admission(_bytes(path), str(path)) for path in admissions]
    made = joining.found(home, read, int(time.time()))
    write_durably(out, codec.encode(made), mode=0o644)
    _tell(made, f"Founded. {out} is for every member.", as_json=as_json, extra={"file": str(out)})


def join(
    home: NodeHome,
    file: Annotated[Path, typer.Argument(help="The network file that the operator made.")],
    as_json: AsJson = False,
) -> None:
    """Take up the network of a file."""
    from caremesh.node import joining

    _tell(joining.join(home, _bytes(file)), "Joined.", as_json=as_json, extra={})


def node(context: typer.Context, home: NodeHome) -> None:
    """Run the node."""
    from caremesh.node.start import run
    from caremesh.settings import flags_of

    code = run(home.absolute(), flags_of(context.args))
    if code:
        raise typer.Exit(code)


def ready(
    home: NodeHome,
    within: Annotated[float, typer.Option(help="Wait for so many seconds.")] = 0.0,
) -> None:
    """Wait until ready."""
    from caremesh.node.readiness import wait_ready

    wait_ready(home, within)
    console().print("The node is ready.")


def _tell(made: object, said: str, *, as_json: bool, extra: dict[str, str]) -> None:
    from caremesh.node import joining
    from caremesh.node.founding import Founding

    assert isinstance(made, Founding)  # noqa: S101 - for the checker: the import is late
    members = made.document.members
    if as_json:
        told = {"network": made.chain, "fingerprint": joining.fingerprint(made)}
        print_json(told | extra | {"members": [{"name": each.name, "did": each.member} for each in members]})
        return
    rows = [[each.name, ", ".join(each.roles), each.jurisdiction, each.endpoints[0]] for each in members]
    print_table(f"The network {made.chain}", ["member", "roles", "country", "address"], rows)
    console().print(said)
    console().print(f"Fingerprint [bold]{joining.fingerprint(made)}[/bold]: compare it by voice.")


def _bytes(path: Path) -> bytes:
    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput

    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, path.name) from error
