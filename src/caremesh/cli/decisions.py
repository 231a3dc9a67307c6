"""``caremesh network propose|sign|submit``: what a network's authorities decide together, by a file that goes round."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from caremesh.cli.desks import node_desk
from caremesh.cli.networks import read
from caremesh.cli.node import NodeHome
from caremesh.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from caremesh.node.decisions import Decision
    from caremesh.node.proposals import Wanted

PROPOSE = """Draw up a decision, as one of the network's authorities, and sign it, while the node runs.

The file goes to all who are named in it. Each signs it with `caremesh network sign` before its time is over, some
minutes: be on the telephone. Then any member hands it in with `caremesh network submit`.
"""
propose = typer.Typer(no_args_is_help=True, help=PROPOSE)

With = Annotated[
    list[str],
    typer.Option(
        "--with", help="Who else signs, by name or DID, once for each.", show_default="as many as the quorum takes"
    ),
]
Out = Annotated[Path, typer.Option(help="The decision file; one that is there already is replaced.")]
DECISION = Path("decision.cbor")
Member = Annotated[str, typer.Argument(help="A member, by name or DID.")]
Members = Annotated[list[str], typer.Argument(help="Members, by name or DID.")]
_MINUTE_S = 60


@propose.command("admit")
def admit(
    home: NodeHome,
    file: Annotated[Path, typer.Argument(help="Its admission file, as `caremesh init` writes it.")],
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Let an organisation in.

    Example: caremesh network propose admit --home ./node lakeside/admission.cbor
    """
    from caremesh.node.proposals import ToAdmit

    _drawn_up(home, ToAdmit(read(file)), others, out, as_json=as_json)


@propose.command("suspend")
def suspend(
    home: NodeHome,
    member: Member,
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Stop a member at once: no receipt, no release to it, no vote on blocks.

    Example: caremesh network propose suspend --home ./node "Lakeside Hospital"
    """
    from caremesh.node.proposals import ToSuspend

    _drawn_up(home, ToSuspend(member), others, out, as_json=as_json)


@propose.command("reinstate")
def reinstate(
    home: NodeHome,
    member: Member,
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Let a suspended member act again. Whether it orders blocks again is a decision of its own.

    Example: caremesh network propose reinstate --home ./node "Lakeside Hospital"
    """
    from caremesh.node.proposals import ToReinstate

    _drawn_up(home, ToReinstate(member), others, out, as_json=as_json)


@propose.command("brake")
def brake(
    home: NodeHome,
    reason: Annotated[str, typer.Option(help="Why, for everybody to read on the ledger: no names of people.")],
    minutes: Annotated[int, typer.Option(min=1, max=10_080, help="From now on; then it ends by itself.")],
    scope: Annotated[
        Literal["receipts", "all"],
        typer.Option(help="receipts: no new receipts, no releases. all: nothing but reads, revocations and erasures."),
    ] = "receipts",
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Stop the network for some time.

    Example: caremesh network propose brake --home ./node --reason "keys of a member are lost" --minutes 60
    """
    from caremesh.node.proposals import ToBrake

    _drawn_up(home, ToBrake(scope, reason, minutes * _MINUTE_S), others, out, as_json=as_json)


@propose.command("end-brake")
def end_brake(home: NodeHome, others: With = [], out: Out = DECISION, as_json: AsJson = False) -> None:  # noqa: B006
    """Go on before the brake ends by itself.

    Example: caremesh network propose end-brake --home ./node
    """
    from caremesh.node.proposals import ToEndBrake

    _drawn_up(home, ToEndBrake(), others, out, as_json=as_json)


@propose.command("validators")
def validators(
    home: NodeHome,
    members: Members,
    admission: Annotated[
        list[Path], typer.Option(help="Admission file of one that orders no blocks yet; it holds the key.")
    ] = [],  # noqa: B006
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """These order blocks from then on, and nobody else does.

    Who orders them already keeps its key and its votes; who is new has one vote.

    Example: caremesh network propose validators --home ./node "Member 1" "Member 2" "Member 3"
    """
    from caremesh.node.proposals import ToSetValidators

    _drawn_up(home, ToSetValidators(members, [read(path) for path in admission]), others, out, as_json=as_json)


@propose.command("authorities")
def authorities(
    home: NodeHome,
    members: Members,
    quorum: Annotated[int, typer.Option(min=0, max=16, help="How many of them decide; 0: more than half.")] = 0,
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """These decide from then on. Those who decide until now sign it.

    Example: caremesh network propose authorities --home ./node "Member 1" "Member 2" "Member 5"
    """
    from caremesh.node.proposals import ToSetAuthorities

    _drawn_up(home, ToSetAuthorities(members, quorum), others, out, as_json=as_json)


@propose.command("upgrade")
def upgrade(
    home: NodeHome,
    version: Annotated[int, typer.Option(min=1, help="The next version of the rules.")],
    height: Annotated[int, typer.Option(min=1, help="The block from which it counts.")],
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """From a later block on, the next version of the rules counts: by then every node runs software that has it.

    Example: caremesh network propose upgrade --home ./node --version 2 --height 250000
    """
    from caremesh.node.proposals import ToUpgrade

    _drawn_up(home, ToUpgrade(version, height), others, out, as_json=as_json)


@propose.command("cancel-upgrade")
def cancel_upgrade(
    home: NodeHome,
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Call off an upgrade that waits.

    Example: caremesh network propose cancel-upgrade --home ./node
    """
    from caremesh.node.proposals import ToCancelUpgrade

    _drawn_up(home, ToCancelUpgrade(), others, out, as_json=as_json)


@propose.command("cancel-convert")
def cancel_convert(
    home: NodeHome,
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Call off a conversion that waits.

    Example: caremesh network propose cancel-convert --home ./node
    """
    from caremesh.node.proposals import ToCancelConvert

    _drawn_up(home, ToCancelConvert(), others, out, as_json=as_json)


def convert(
    home: NodeHome,
    files: Annotated[list[Path], typer.Argument(help="What `caremesh network offer` wrote, of each who is to order.")],
    height: Annotated[int, typer.Option(min=1, help="The last block that one node orders.")],
    others: With = [],  # noqa: B006
    out: Out = DECISION,
    as_json: AsJson = False,
) -> None:
    """Propose that members order blocks together, by CometBFT, after a block that is still to come.

    A decision file, as `caremesh network propose` makes them. At that block every node goes over by itself and keeps
    its copy; nothing that was signed before for the ledger counts after it, and all that is on it stays.

    Example: caremesh network convert --home ./node --height 50000 hospital.offer payer.offer
    """
    from caremesh.node.proposals import ToConvert

    _drawn_up(home, ToConvert(height, [read(file) for file in files]), others, out, as_json=as_json)


def sign(
    home: NodeHome,
    file: Annotated[Path, typer.Argument(help="The decision file; the signature is added to it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a decision file decides, ask, and sign it as this member, while its node runs.

    Example: caremesh network sign --home ./node decision.cbor
    """
    from caremesh.blobs.durable import write_durably

    data = read(file)
    with node_desk(home) as desk:
        if not yes:
            _print(desk.decision([data]))
            typer.confirm("Sign this?", abort=True)
        made = desk.sign_decision(data)
    write_durably(file, made.file, mode=0o644)
    _tell(made, file, as_json=as_json)


def submit(
    home: NodeHome,
    files: Annotated[list[Path], typer.Argument(help="The decision file, or copies of it that were signed apart.")],
    as_json: AsJson = False,
) -> None:
    """Hand a decision that all have signed to the ledger, at any member's node, and say what became of it.

    Example: caremesh network submit --home ./node decision.cbor
    """
    with node_desk(home) as desk:
        _tell(desk.submit_decision([read(path) for path in files]), files[0], as_json=as_json)


def add_to(app: typer.Typer) -> None:
    """Give the group these commands."""
    app.add_typer(propose, name="propose")
    for command in (convert, sign, submit):
        app.command(command.__name__)(command)


def _drawn_up(home: Path, wanted: Wanted, others: list[str], out: Path, *, as_json: bool) -> None:
    from caremesh.blobs.durable import write_durably
    from caremesh.node.decisions import Proposal

    with node_desk(home) as desk:
        made = desk.propose(Proposal(wanted, others))
    write_durably(out, made.file, mode=0o644)
    _tell(made, out, as_json=as_json)


def _tell(made: Decision, file: Path, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json(msgspec.to_builtins(made, builtin_types=(bytes,)) | {"file": str(file), "missing": made.missing})
        return
    _print(made)
    if made.height is not None:
        typer.echo(f"Decided, in block {made.height:,}.")
    elif made.missing:
        typer.echo(f"{file} is for: {', '.join(made.missing)}.")
    else:
        typer.echo(f"All have signed: caremesh network submit {file}")


def _print(made: Decision) -> None:
    """Plain text: what others wrote is not taken for markup."""
    from caremesh.node.proposals import moment

    for line in made.says:
        typer.echo(line)
    for each in made.signers:
        typer.echo(f"  {'signed' if each.signed else 'to sign'}  {each.name}")
    if made.height is None:
        typer.echo(f"It has to be on the ledger by {moment(made.expires_at)}.")
