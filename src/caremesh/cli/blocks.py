"""``caremesh blocks``: whether the encrypted records that members hold are whole, and making good what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from caremesh.cli.output import AsJson, Home, console, print_json, print_table
from caremesh.cli.wallet import opened_mesh

if TYPE_CHECKING:
    from caremesh.node.mesh import LocalMesh

app = typer.Typer(no_args_is_help=True, help="Encrypted records, as members hold them: are they whole?")

CHECK = """Read every block that a member holds, look for what is missing, and make good what is not whole.

What is damaged or missing is fetched from other members. A node does the same in the background, slowly.

Example: [bold]caremesh blocks check[/bold]
"""


@app.command("check", help=CHECK)
def check(home: Home, as_json: AsJson = False) -> None:
    """Check and repair the blocks of every member of the mesh. Ends with 1 when something could not be repaired."""
    with opened_mesh(home, quiet=as_json) as mesh:
        rows = _check(mesh)
    if as_json:
        print_json(rows)
    else:
        heads = ["member", "blocks ", "repaired ", "not repaired "]
        print_table(
            "Blocks", heads, [[str(row[name]) for name in ("member", "blocks", "repaired", "lost")] for row in rows]
        )
        for row in rows:
            for cid in row["not_repaired"]:  # type: ignore[attr-defined]
                console().print(f"{row['member']}: nobody has {cid} whole", soft_wrap=True)
    if any(row["lost"] for row in rows):
        raise typer.Exit(1)


def _check(mesh: LocalMesh) -> list[dict[str, object]]:
    from caremesh.blobs.checking import Check
    from caremesh.blobs.mending import OtherHolders
    from caremesh.blobs.noticed import Noticed
    from caremesh.contracts.network import queries as network

    found: list[dict[str, object]] = []
    for name, member in mesh.members.items():
        if not member.home.profile.holds_blocks:
            continue
        did, noticed = member.home.did, list[Noticed]()
        check = Check(
            did=did,
            store=member.home.blocks,
            others=OtherHolders({other: way for other, way in mesh.holders().items() if other != did}),
            catalogue=member.forgetting,
            holders=lambda: list(mesh.holders()),
            replicas=lambda: network.params(mesh.engine.reader()).replicas,
            cursor=None,
            notice=noticed.append,
        )
        blocks, lost, ended = 0, dict[str, None](), False
        while not ended:
            done = check.step()
            blocks, ended = blocks + done.blocks, done.round_ended
            lost |= dict.fromkeys(cid.encode() for cid in done.not_repaired)  # a step may come to one twice
        repaired = sum(one.kind == "repaired" for one in noticed)
        found.append(
            {"member": name, "blocks": blocks, "repaired": repaired, "lost": len(lost), "not_repaired": [*lost]}
        )
    return found
