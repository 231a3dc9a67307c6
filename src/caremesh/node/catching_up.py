"""A node without a copy of the ledger, or with a damaged one, takes it over from the other founders' nodes.

Whom to ask, and by which key each is known, stands in the network file. They are asked over our own protocol; whatever
they answer about headers is verified by this node's light client, from the founding validators on, and by CometBFT.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from caremesh import codec
from caremesh.client.blocking import Portal, RemoteLedger
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node, Patience, Target
from caremesh.client.signing import Identity
from caremesh.client.wallet import nobody
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.state import Member
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.state import Conversion
from caremesh.crypto.pins import make_leaf
from caremesh.errors import CareMeshError, Unavailable
from caremesh.node.errors import NO_CROSSING, NO_SOURCE
from caremesh.node.founding import Clock, Crossed, Founding, Peer
from caremesh.node.logs import Log, about
from caremesh.node.member import MemberHome

if TYPE_CHECKING:
    from caremesh.consensus.cometbft.joining import Fetch, Joining
    from caremesh.consensus.cometbft.snapshot_files import Snapshotting

PATIENCE: Final = Patience(connect_s=3.0, answer_s=15.0, tries=2)


def ways(
    known: Founding, home: MemberHome, portal: Portal, clock: Clock, *, as_member: bool = True
) -> list[RemoteLedger]:
    """The ways to the other founders' nodes, as the network file names them. ``as_member``: else as anybody may ask."""
    leaf = make_leaf(home.did, home.node_key, int(time.time())) if as_member else None
    identity = Identity.of_did(home.did, home.node_key) if as_member else nobody

    def way(target: Target) -> RemoteLedger:
        node = portal.node(lambda: Node(target, identity, leaf=leaf, clock=clock, patience=PATIENCE))
        return RemoteLedger(portal, LedgerClient(node, known.light_client()), target.did)

    return [
        way(Target(did=each.member, node_key=each.keys.node, url=each.endpoints[0]))
        for each in known.document.members
        if each.member != home.did and each.endpoints
    ]


def by_snapshot(
    known: Founding, others: Sequence[RemoteLedger], plan: Snapshotting, clock: Clock, log: Log
) -> Joining | None:
    """How to join by a snapshot. None where nobody has one yet or nobody answers: it begins with the first block."""
    from caremesh.consensus.cometbft import joining

    sources: list[Fetch] = []
    for other in others:
        try:
            # Its word alone: what it serves proves itself.
            if other.status(verify=False).height > plan.every:
                sources.append(partial(_fetch, other))
        except CareMeshError as error:
            log.info("not asked for a snapshot", member=other.name, **about(error))
    if not sources:
        return None
    found = joining.trust(known.light_client(), sources, clock(), plan.span)
    log.info("joins by a snapshot", height=found.height, count=len(sources))
    return found


def _fetch(other: RemoteLedger, path: str, query: Mapping[str, str]) -> bytes:
    return other.cometbft(path.removeprefix("/"), query)


def crossed(known: Founding, home: MemberHome) -> Crossed | None:
    """How the network went over to who orders blocks now, by the first founder's node that shows it and proves it.

    None where nobody who answers knows of that, and where nobody answers: a network that is being founded has no nodes
    yet. Raises Unavailable node.34 when what is shown cannot be believed.
    """
    if known.engine == "cometbft":
        return None
    met: CareMeshError | None = None
    with Portal() as portal:
        for other in ways(known, home, portal, lambda: int(time.time()), as_member=False):
            found = None
            try:
                found = other.crossing()
                if found is None:
                    continue
                replace(known, crossed=Crossed(found, [])).light_client()
                value = other.query(network.conversion_key())
            except CareMeshError as error:
                if found is not None or not isinstance(error, Unavailable):
                    met = error
                continue
            decided = [] if value is None else codec.decode_as(value, Conversion).peers
            return Crossed(found, [Peer(each.member, each.address) for each in decided])
    if met is not None:
        raise Unavailable(NO_CROSSING) from met
    return None


def admitted(known: Founding, home: MemberHome) -> Member | None:
    """What the ledger of a running network proves of this home's member, by the first founder's node that answers.

    Raises Unavailable node.12 when none gives an answer that can be believed.
    """
    met: CareMeshError | None = None
    with Portal() as portal:
        for other in ways(known, home, portal, lambda: int(time.time()), as_member=False):
            try:
                value = other.query(members.member_key(home.did))
            except CareMeshError as error:
                met = error
                continue
            return None if value is None else codec.decode_as(value, Member)
    raise Unavailable(NO_SOURCE) from met
