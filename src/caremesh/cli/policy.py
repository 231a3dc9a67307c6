"""``caremesh policy``: what the regulations say about a request, and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from caremesh.cli.output import AsJson, Home, console, print_json

if TYPE_CHECKING:
    from caremesh.contracts.policy.queries import SetAnswer
    from caremesh.contracts.policy.request import Decision, PolicyRequest
    from caremesh.ledger.state import Reader

app = typer.Typer(
    no_args_is_help=True,
    help="What the regulations say, and why.\n\nExample: [bold]caremesh policy example > request.json[/bold]",
)
Ask: TypeAlias = Literal["access", "grant"]
DENIED = 4
"""The exit code of whatever a rule refuses."""


@app.command("example")
def example(
    ask: Annotated[Ask, typer.Argument(help="access: may this happen now? grant: may this be allowed?")] = "access",
) -> None:
    """Print a request to start from, as JSON: a physician of a practice in the United States treats a patient.

    Example: caremesh policy example grant > request.json
    """
    import msgspec

    from caremesh.contracts.policy.library import shipped

    [hipaa] = shipped("hipaa")
    print_json(msgspec.to_builtins(hipaa.access if ask == "access" else hipaa.grant))


@app.command("explain")
def explain(
    home: Home,
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="A JSON file, or - for standard input.")],
    on_ledger: Annotated[
        bool, typer.Option("--ledger", help="Ask what is in force on this machine's mesh, not what CareMesh ships.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say in words whether the regulations permit a request, by which policies of which set, and where that is written.

    Leaves with 0 when it is permitted, with 4 when it is not, with 3 when the file is no request.

    Example: caremesh policy explain request.json
    """
    import msgspec

    asked = _read(request)
    if on_ledger:
        from caremesh.cli.output import existing_mesh
        from caremesh.node.mesh import LocalMesh

        with LocalMesh(existing_mesh(home)) as mesh:
            now = msgspec.structs.replace(asked, height=mesh.engine.status().height)
            decision = _tell(mesh.engine.reader(), now, as_json=as_json)
    else:
        decision = _tell(_shipped(), msgspec.structs.replace(asked, height=0), as_json=as_json)
    if not decision.permit:
        raise typer.Exit(DENIED)


def _tell(reader: Reader, request: PolicyRequest, *, as_json: bool) -> Decision:
    """Print the answer; return it."""
    from caremesh.contracts.policy import queries
    from caremesh.contracts.policy.words import in_words, set_in_words

    decision = queries.decide(reader, request)
    answers = queries.by_set(reader, request)
    strange = queries.not_understood(request)
    if as_json:
        print_json(_plain(decision, answers, strange))
        return decision
    said = [in_words(decision, queries.explain(reader, decision.policies, request.height))]
    if strange:
        said.append([f"No policy knows a code in: {', '.join(strange)}. What is not understood is not permitted."])
    if not decision.permit:
        said += [set_in_words(answer) for answer in answers if answer.permit]
    for head, *lines in said:
        for line in (head, *(f"  {line}" for line in lines)):
            console().print(line, markup=False, soft_wrap=True)
    return decision


def _plain(decision: Decision, answers: list[SetAnswer], strange: list[str]) -> dict[str, Any]:
    import msgspec

    return {
        "permit": decision.permit,
        "policies": decision.policies,
        "not_understood": strange,
        "sets": msgspec.to_builtins(answers),
    }


def _read(file: str) -> PolicyRequest:
    """The request in a file. Raises BadInput cli.01, cli.05, which says what is missing but repeats nothing."""
    import msgspec

    from caremesh.cli.errors import NOT_A_REQUEST, NOT_READABLE
    from caremesh.contracts.policy.request import AccessRequest, GrantRequest
    from caremesh.errors import BadInput

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise BadInput(NOT_READABLE, Path(file).name) from error
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(NOT_A_REQUEST, "no JSON") from error
    kind = {"access": AccessRequest, "grant": GrantRequest}.get(str(given.get("ask"))) if type(given) is dict else None
    if kind is None:
        raise BadInput(NOT_A_REQUEST, "ask: access or grant")
    missing = [name for name in kind.__struct_encode_fields__ if name not in given]
    if missing:
        raise BadInput(NOT_A_REQUEST, f"missing: {', '.join(missing)}")
    if len(given) > len(kind.__struct_encode_fields__) + 1:
        raise BadInput(NOT_A_REQUEST, "there are fields that no request has")
    try:
        asked: PolicyRequest = msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise BadInput(NOT_A_REQUEST, str(error).rpartition("$.")[2].strip("`")) from error
    return asked


def _shipped() -> Reader:
    """A state in which the sets that come with CareMesh are in force, and nothing else."""
    from caremesh.contracts.policy.library import shipped
    from caremesh.contracts.policy.logic import adopt_at_genesis
    from caremesh.ledger.state import View

    state = View(_Nothing())
    adopt_at_genesis(state, shipped())
    return state


class _Nothing:
    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there is nothing
        return None
