"""A node's copy of the ledger, and whose affair it is to order blocks: this node's, another's, or all validators'.

embedded, at the operator    this node orders and signs
embedded, elsewhere          it follows, executing each block itself (``follower.py``)
cometbft                     a CometBFT beside this process agrees with those of the others; the node of a member
                             that is no validator takes part without a vote
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caremesh.client.blocking import Portal
from caremesh.consensus.embedded import Embedded
from caremesh.contracts import Contracts
from caremesh.errors import Tampered, Unavailable
from caremesh.node.catching_up import by_snapshot, ways
from caremesh.node.errors import NO_COMETBFT
from caremesh.node.founding import Clock, Founding
from caremesh.node.logs import Log, about
from caremesh.node.member import MemberHome
from caremesh.node.running import LEDGER
from caremesh.settings import Settings

if TYPE_CHECKING:
    from caremesh.consensus.cometbft.engine import CometBft
    from caremesh.consensus.cometbft.joining import Joining
    from caremesh.node.relay import Copy


IDLE: Final = 0.8
"""Of ``block_every_s``, between blocks of CometBFT when nothing happens: their time is that of the votes on the block
before, so that the newest may be two such pauses old."""


def open_copy(known: Founding, home: MemberHome, settings: Settings, clock: Clock, log: Log, opened: ExitStack) -> Copy:
    """The copy in a home's folder, not started. ``opened``: gets what is to be closed after it.

    Raises Unavailable node.31, consensus.40; Tampered, WrongLedger, StorageFailed.
    """
    if known.orders == "cometbft":
        return _cometbft(known, home, settings, clock, log, opened)
    if home.node_key.public in [each.key for each in known.validators]:
        return Embedded(
            home.folder / LEDGER,
            Contracts(),
            chain=known.chain,
            genesis=known.genesis,
            genesis_time=known.time,
            key=home.node_key,
            clock=clock,
            max_interval_s=settings.block_every_s,
        )
    return known.replica(home.folder / LEDGER, clock)


def _cometbft(
    known: Founding, home: MemberHome, settings: Settings, clock: Clock, log: Log, opened: ExitStack
) -> CometBft:
    from caremesh.consensus.cometbft import joining  # late: protobuf, which no other engine needs
    from caremesh.consensus.cometbft.config import Addresses, Pace
    from caremesh.consensus.cometbft.engine import CometBft, Local
    from caremesh.consensus.cometbft.snapshot_files import Snapshotting

    program = shutil.which(settings.cometbft_program)
    if program is None:
        raise Unavailable(NO_COMETBFT, settings.cometbft_program)
    others = [each.address for each in known.reached if each.member != home.did and not settings.peers_only]
    addresses = Addresses(
        peers=f"{settings.peers_host}:{settings.peers_port}",
        known=(*others, *settings.peers_known.split()),
        one_host=settings.peers_one_host,
        only=settings.peers_only,
        behind=tuple(settings.peers_behind.split()),
    )
    pace, plan = Pace(idle_s=IDLE * settings.block_every_s), Snapshotting(every=settings.snapshot_every_blocks)
    local = Local(
        Path(program), home.validator_key, home.peer_key, addresses, pace, plan, waiting=settings.mempool_limit
    )

    def made(how: Joining | None) -> CometBft:
        return CometBft(
            home.folder,
            Contracts(),
            local,
            chain=known.chain,
            genesis=known.genesis,
            genesis_time=known.time,
            validators=known.validators,
            clock=clock,
            monotonic=time.monotonic,
            joining=how,
            crossed=None if known.crossed is None else known.crossed.crossing,
        )

    def from_others() -> Joining | None:
        """Asked of nobody where the network is too young for a snapshot."""
        if clock() - known.time < plan.every * pace.commit_s:
            return None
        portal = opened.enter_context(Portal())
        return by_snapshot(known, ways(known, home, portal, clock), plan, clock, log)

    began = (home.folder / LEDGER / "data.mdb").exists() and not joining.is_under_way(home.folder / joining.HOME)
    try:
        return made(None if began else from_others())
    except Tampered as error:
        log.error("ledger damaged", **about(error))
        joining.set_aside(home.folder)
        how = from_others()
        if how is None:  # all blocks are with the others still: they are executed again
            joining.finish(home.folder / joining.HOME)
        return made(how)
