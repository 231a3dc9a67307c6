"""``caremesh ledger``: show, prove, verify, snapshot, restore."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from caremesh.cli.output import AsJson, Home, console, existing_mesh, print_json, print_table, progress
from caremesh.cli.trusting import founders

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    no_args_is_help=True,
    help="What the ledger says, and proof of it.\n\nExample: [bold]caremesh ledger show[/bold]",
)
Kind: TypeAlias = Literal["receipt", "consent", "stream"]


@app.command("show")
def show(
    home: Home,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many events, newest last.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Where the ledger stands, who keeps it, and what happened last.

    Example: caremesh ledger show --last 20
    """
    from caremesh.node.mesh import LocalMesh

    with LocalMesh(existing_mesh(home)) as mesh:
        status = mesh.engine.status()
        same = sum(replica.status().app_hash == status.app_hash for replica in mesh.replicas)
        events = list(mesh.engine.subscribe())[-last:]
        copies = len(mesh.replicas)
    if as_json:
        told = [
            {"cursor": cursor, "type": event.type, "attributes": _plain(event.attributes)} for cursor, event in events
        ]
        print_json(
            {
                "chain": status.chain,
                "height": status.height,
                "time": status.time,
                "app_hash": status.app_hash.hex(),
                "replicas": copies,
                "replicas_agreeing": same,
                "events": told,
            }
        )
        return
    at = datetime.fromtimestamp(status.time, UTC).isoformat(sep=" ")
    console().print(f"[bold]{status.chain}[/bold]  height {status.height}  {at}")
    console().print(f"app hash {status.app_hash.hex()}, the same on {same} of {copies} replicas\n")
    rows = [[str(event.height), event.type, _short(event.attributes)] for _, event in events]
    print_table("Last events", ["height ", "event", "what"], rows)


@app.command("prove")
def prove(
    home: Home,
    kind: Annotated[Kind, typer.Argument(help="receipt, consent or stream")],
    identity: Annotated[str, typer.Argument(metavar="ID", help="Its id, 64 hexadecimal digits.")],
    out: Annotated[Path, typer.Option(help="The proof file.")] = Path("proof.cbor"),
    as_json: AsJson = False,
) -> None:
    """Write a file that proves, to anyone who trusts the ledger's validators, that something is there or is not.

    Example: caremesh ledger prove receipt 5c1f… --out proof.cbor
    """
    from caremesh import codec
    from caremesh.blobs.durable import write_durably
    from caremesh.cli.errors import NOT_HEX
    from caremesh.contracts.access.queries import receipt_key
    from caremesh.contracts.consent.queries import consent_key
    from caremesh.contracts.streams.queries import stream_key
    from caremesh.errors import BadInput
    from caremesh.node.mesh import LocalMesh
    from caremesh.node.proof_file import ProofFile

    try:
        name = bytes.fromhex(identity)
    except ValueError as error:
        raise BadInput(NOT_HEX) from error
    if len(name) != 32:
        raise BadInput(NOT_HEX)
    key = {"receipt": receipt_key, "consent": consent_key, "stream": stream_key}[kind](name)
    with LocalMesh(existing_mesh(home)) as mesh:
        block = mesh.engine.light_block()
        answer = mesh.engine.query(key, block.signed.content().proves)
        write_durably(
            out, codec.encode(ProofFile(chain=mesh.engine.status().chain, kind=kind, block=block, answer=answer))
        )
    there = answer.proof.value is not None
    if as_json:
        print_json({"file": str(out), "kind": kind, "present": there, "height": answer.height})
    else:
        console().print(
            f"{out} proves that this {kind} is {'there' if there else 'NOT there'} at height {answer.height}."
        )


@app.command("verify")
def verify(
    home: Home,
    file: Annotated[Path | None, typer.Argument(help="A proof file; without one, the whole ledger is checked.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof file against the founding validators, or execute the whole ledger again and compare every hash.

    Example: caremesh ledger verify proof.cbor
    """
    if file is not None:
        _verify_file(home, file, as_json=as_json)
        return
    from caremesh.node.mesh import LocalMesh
    from caremesh.node.reexecute import reexecute

    with LocalMesh(existing_mesh(home)) as mesh, progress("Executing every block again", quiet=as_json) as bar:
        done = reexecute(mesh, lambda height, total: _tell(bar, height, total))
    if as_json:
        print_json(
            {"from": done.start, "height": done.height, "app_hash": done.app_hash.hex(), "verified": True},
        )
    else:
        began = f"the snapshot of height {done.start}" if done.start else "genesis"
        console().print(f"All blocks up to {done.height} executed again from {began}: every app hash is the same.")


@app.command("snapshot")
def snapshot(
    home: Home,
    out: Annotated[Path | None, typer.Option(help="The file to write; HEIGHT.snapshot without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the whole state of now into a file that proves itself to whoever trusts the ledger's validators.

    Example: caremesh ledger snapshot --out today.snapshot
    """
    from caremesh.node import snapshots
    from caremesh.node.mesh import LocalMesh

    with LocalMesh(existing_mesh(home)) as mesh, progress("Writing the state", quiet=as_json) as bar:
        height = mesh.engine.status().height
        path = out or Path(snapshots.path_of(Path(), height).name)
        snapshots.write(mesh.engine, path, lambda done, of: _tell(bar, done, of))
    size = path.stat().st_size
    if as_json:
        print_json({"file": str(path), "height": height, "size_bytes": size})
    else:
        console().print(f"{path} holds the state at height {height} ({size / 1e6:.1f} MB).")


@app.command("restore")
def restore(
    home: Home,
    file: Annotated[Path, typer.Argument(help="A snapshot, as `caremesh ledger snapshot` writes it.")],
    member: Annotated[str, typer.Option(help="Whose copy of the ledger is damaged or lost.")] = "hospital",
    as_json: AsJson = False,
) -> None:
    """Make one member's copy of the ledger anew: from a snapshot, then from the blocks that others have.

    Nothing of the old copy goes before every part of the snapshot has proven itself.

    Example: caremesh ledger restore today.snapshot --member hospital
    """
    import time

    from caremesh.cli.errors import NOT_READABLE
    from caremesh.errors import BadInput
    from caremesh.node.repair import repair

    if not file.is_file():
        raise BadInput(NOT_READABLE, file.name)
    folder = existing_mesh(home)
    with progress("Restoring", quiet=as_json) as bar:
        done = repair(folder, member, file, lambda: int(time.time()), lambda at, of: _tell(bar, at, of))
    if as_json:
        print_json({"member": member, "from": done.start, "height": done.height})
    else:
        console().print(
            f"The copy of {member} was made from height {done.start}, and every block up to {done.height} executed."
        )


def _verify_file(home: Path, file: Path, *, as_json: bool) -> None:
    import time

    from caremesh import codec
    from caremesh.cli.errors import NOT_A_PROOF, NOT_READABLE
    from caremesh.errors import BadInput
    from caremesh.ledger.light import check_answer
    from caremesh.node.proof_file import ProofFile

    try:
        proof = codec.decode_as(file.read_bytes(), ProofFile)
    except OSError as error:
        raise BadInput(NOT_READABLE, file.name) from error
    except BadInput as error:
        raise BadInput(NOT_A_PROOF, file.name) from error
    header = founders(home).light_client(proof.block.signed.content().chain).verify(proof.block, int(time.time()))
    value = check_answer(header, proof.answer)
    at = datetime.fromtimestamp(header.time, UTC).isoformat(sep=" ")
    if as_json:
        encoded = None if value is None else base64.b64encode(value).decode()
        print_json(
            {
                "verified": True,
                "kind": proof.kind,
                "present": value is not None,
                "height": header.height,
                "value": encoded,
            }
        )
    else:
        there = "is" if value is not None else "is NOT"
        console().print(
            f"True: at height {header.height} ({at}) this {proof.kind} {there} on the ledger {header.chain}."
        )


def _tell(bar: Progress | None, done: int, total: int) -> None:
    if bar is not None:
        bar.update(bar.task_ids[0], completed=done, total=total)


def _plain(attributes: dict[str, object]) -> dict[str, object]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in attributes.items()}


def _short(attributes: dict[str, object]) -> str:
    return ", ".join(f"{name} {str(value)[:16]}" for name, value in _plain(attributes).items())
