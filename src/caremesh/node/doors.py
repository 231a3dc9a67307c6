"""What a node answers, as one table of routes: at the ledger process for real, at its workers to be passed on.

A worker makes the same table over nothing, and replaces what each route does (``api/handover.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from msgspec import Struct
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from caremesh import __version__, codec
from caremesh.api import blocks, custody, directory, health, ipfs, ledger, wallet
from caremesh.api.capabilities import Capabilities
from caremesh.api.limits import Limits
from caremesh.api.routes import ANYONE, Answer, Call, Route, json_answer
from caremesh.api.threads import in_threads
from caremesh.client import wire
from caremesh.node.node import Node
from caremesh.node.numbers import of_node
from caremesh.node.serving_wallets import WalletService
from caremesh.settings import Settings
from caremesh.types import Did, Seconds

SOCKET: Final = "node.sock"
"""In ``run/`` of the home: where the ledger process answers its workers and the people of this machine."""
RUN: Final = "run"
HTTP: Final = "http_"
"""What the names of settings that are limits begin with."""
LEAF: Final = "/inner/v1/leaf"
NUMBERS: Final = "/inner/v1/metrics"
Checks = Mapping[str, Callable[[], bool]]


class LeafAnswer(Struct, frozen=True, kw_only=True):
    """A certificate for a worker's end of TLS, and its key (PEM). ``until``: seconds UTC."""

    certificate: str
    key: str
    until: Seconds


def outer(node: Node | None, did: Did, checks: Checks, *, custodian: bool) -> list[Route]:
    """What others may ask. ``node``: None at a worker; ``custodian``: whether this member is one."""
    at = cast("Any", node)
    mine = ledger.routes(at, did, cometbft=at and at.cometbft, crossing=at and at.crossing)
    mine += custody.routes(None if node is None else node.member.custodian) if custodian else []  # type: ignore[arg-type]
    ports = _blocks(node)
    mine += [*blocks.routes(ports), *ipfs.routes(ports)]
    mine += custody.erasure_routes(at and at.member.confirm_erased)
    mine += directory.routes(at and at.member.directory)
    mine += wallet.routes(_wallets(node))
    return [*mine, *health.routes(checks, mine, __version__)]


def _blocks(node: Node | None) -> blocks.Ports:
    if node is None:
        nothing = cast("Any", None)
        return blocks.Ports(holder=nothing, may=nothing, reader=nothing, clock=nothing, suspect=nothing)
    holder = node.member.holder
    key = node.home.node_key
    may = Capabilities(
        did=node.home.did,
        key=key.public,
        signer=key,
        blocks=holder.store,
        clock=node.clock,
        is_open=node.settings.blocks_open,
    )
    return blocks.Ports(holder=holder, may=may, reader=node.reader, clock=node.clock, suspect=node.suspect)


def _wallets(node: Node | None) -> WalletService:
    if node is None:
        return cast("Any", None)  # type: ignore[no-any-return]
    return WalletService(node.member, node.ways, node.ways, codec.encode(node.founding.founded))


def inner(node: Node) -> list[Route]:
    """What only this node's own processes ask."""

    async def leaf(_: Call) -> Answer:
        made = node.leaf()
        return json_answer(LeafAnswer(certificate=made.certificate.decode(), key=made.key.decode(), until=made.until))

    run = in_threads(2)

    async def numbers(_: Call) -> Answer:
        return Answer(await run(lambda: of_node(node)), CONTENT_TYPE_LATEST)

    return [
        Route(
            name="inner.leaf",
            method="GET",
            path=LEAF,
            summary="A certificate for a worker",
            handler=leaf,
            callers=ANYONE,
            answer_media=wire.JSON,
            answer=LeafAnswer,
        ),
        Route(
            name="inner.metrics",
            method="GET",
            path=NUMBERS,
            summary="Numbers of the process that writes, for the page of metrics",
            handler=numbers,
            callers=ANYONE,
            answer_media="text/plain",
            answer="Prometheus text format",
        ),
    ]


def limits(settings: Settings) -> Limits:
    """The limits of a process that answers."""
    named = {name.removeprefix(HTTP): value for name, value in settings.model_dump().items() if name.startswith(HTTP)}
    return Limits(drain_s=settings.stop_within_s / 2, **named)
