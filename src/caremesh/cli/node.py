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
NODE = """Run this home's node until it is told to end (SIGTERM, Ctrl-C; a second one ends it at once).

Every setting is a flag too: [bold]--listen-port 8443[/bold]. They are in docs/reference/settings.md.

Example: [bold]caremesh node --home ./node[/bold]
"""
READY = """Whether this home's node does its work: its copy of the ledger is fresh, and there is room on its disk.

Leaves with 9 when it is not. For scripts and for health checks of containers.

Example: [bold]caremesh ready --home ./node --within 60[/bold]
"""
Peers = Annotated[
    str,
    typer.Option(
        help="HOST:PORT at which other members' CometBFT reach this one's, where it is to order blocks with them.",
        show_default="it does not",
    ),
]


def init(
    home: NodeHome,
    network_name: Annotated[
        str, typer.Option("--network", prompt="Name of the network (small letters, as all its members spell it)")
    ],
    name: Annotated[str, typer.Option(prompt="Name of your organisation, as patients know it")],
    role: Annotated[list[str], typer.Option(help=f"What it is, once for each: {ROLES}.", callback=ROLE)],
    country: Annotated[str, typer.Option(prompt="Country whose law it is under (two letters)", help="ISO 3166 code.")],
    address: Annotated[str, typer.Option(prompt="Address at which members reach your node (https://host:port)")],
    peers: Peers = "",
    as_json: AsJson = False,
) -> None:
    """Keys, settings, admission file."""
    from caremesh.node import joining
    from caremesh.settings import FILE

    made, _ = joining.begin(
        home, chain=network_name, name=name, roles=role, country=country, address=address, peers=peers
    )
    port = address.rpartition(":")[2].partition("/")[0]
    settings = home / FILE
    if not settings.exists():
        lines = ['listen_host = "0.0.0.0"']
        lines += [f"listen_port = {port}"] if port.isdigit() else []
        lines += ['peers_host = "0.0.0.0"', f"peers_port = {peers.rpartition(':')[2]}"] if peers else []
        settings.write_text("\n".join(lines) + "\n", "utf-8")
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
