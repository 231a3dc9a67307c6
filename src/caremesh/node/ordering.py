"""A node's copy of the ledger, and whose affair it is to order blocks: this node's, another's, or all validators'.

embedded, at the operator    this node orders and signs
embedded, elsewhere          it follows, executing each block itself (``follower.py``)
cometbft                     a CometBFT beside this process agrees with those of the others; the node of a member
                             that is no validator takes part without a vote
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caremesh.consensus.embedded import Embedded
from caremesh.contracts import Contracts
from caremesh.errors import Unavailable
from caremesh.node.errors import NO_COMETBFT
from caremesh.node.founding import Clock, Founding
from caremesh.node.member import MemberHome
from caremesh.node.running import LEDGER
from caremesh.settings import Settings

if TYPE_CHECKING:
    from caremesh.consensus.cometbft.engine import CometBft
    from caremesh.node.relay import Copy


IDLE: Final = 0.8
"""Of ``block_every_s``, between blocks of CometBFT when nothing happens: their time is that of the votes on the block
before, so that the newest may be two such pauses old."""


def open_copy(known: Founding, home: MemberHome, settings: Settings, clock: Clock) -> Copy:
    """The copy in a home's folder, not started. Raises Unavailable node.31; Tampered, WrongLedger, StorageFailed."""
    if known.engine == "cometbft":
        return _cometbft(known, home, settings, clock)
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


def _cometbft(known: Founding, home: MemberHome, settings: Settings, clock: Clock) -> CometBft:
    from caremesh.consensus.cometbft.config import Addresses, Pace  # late: protobuf, which no other engine needs
    from caremesh.consensus.cometbft.engine import CometBft, Local

    program = shutil.which(settings.cometbft_program)
    if program is None:
        raise Unavailable(NO_COMETBFT, settings.cometbft_program)
    others = [each.address for each in known.peers if each.member != home.did]
    addresses = Addresses(
        peers=f"{settings.peers_host}:{settings.peers_port}",
        known=(*others, *settings.peers_known.split()),
        one_host=settings.peers_one_host,
    )
    return CometBft(
        home.folder,
        Contracts(),
        Local(Path(program), home.validator_key, home.peer_key, addresses, Pace(idle_s=IDLE * settings.block_every_s)),
        chain=known.chain,
        genesis=known.genesis,
        genesis_time=known.time,
        validators=known.validators,
        clock=clock,
        monotonic=time.monotonic,
    )
