"""A ledger that one key ordered for some blocks, gone over to nodes on this machine, each a real CometBFT."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.consensus.cometbft.joining import Joining
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.contracts import Contracts
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.ledger.light import Crossing, LightClient
from caremesh.ledger.succession import following
from tests.support.comet_engine import PATIENT_S, now
from tests.support.comet_network import PACE, addresses_of, engine_key, free_ports, node_key, signed
from tests.support.converting import SIGNERS, Converting
from tests.support.world import CHAIN
from tools.cometbft import cometbft

COUNT: Final = 3
LAST: Final = 4
NEXT: Final = following(CHAIN, LAST)
DEFAULT: Final = Snapshotting()


class Converted:
    """A ledger of four blocks, and the nodes that go on with it; each has a copy of its own."""

    def __init__(self, folder: Path, plan: Snapshotting = DEFAULT, spare: int = 0) -> None:
        """``plan``: for the snapshots of all; ``spare``: how many more may take part, without a vote."""
        self.folder: Final = folder
        self._plan: Final = plan
        self.before = Converting(folder / "operator" / "ledger")
        self.engines: Final[list[CometBft]] = []
        self._ports: Final = free_ports(COUNT + spare)
        engine, world = self.before.engine, self.before.world
        engine.make_block()
        self.early = signed(SetParams(params=Params(kept_heights=500)), *world.custodians[:2])
        self.committed = engine.submit(self.early)
        self.pending = signed(SetParams(params=Params(kept_heights=600)), *world.custodians[:2])
        self.crossing: Crossing = self.before.convert([str(number) for number in range(COUNT)])
        self.folders = [folder / str(number) for number in range(COUNT)]
        blocks = list(engine.blocks(1))
        engine.close()
        for path in self.folders[1:]:
            copy = self.before.replica(path / "ledger")
            for block in blocks:
                copy.apply(block)
            copy.close()
        self.folders[0] = folder / "operator"

    def start(self) -> None:
        """Let them begin, and wait for their first block."""
        self.engines.extend(self.opened(number) for number in range(COUNT))
        for engine in self.engines:
            engine.start()
        for engine in self.engines:
            engine.wait(LAST + 1, PATIENT_S)

    def opened(self, number: int, folder: Path | None = None, joining: Joining | None = None) -> CometBft:
        """A node's engine, not started. ``joining``: where it begins with a snapshot."""
        addresses = addresses_of(number, self._ports)
        return CometBft(
            folder or self.folders[number],
            Contracts(),
            Local(cometbft(), engine_key(str(number)), node_key(number), addresses, PACE, self._plan),
            chain=CHAIN,
            genesis=self.before.genesis,
            genesis_time=self.before.begun,
            validators=SIGNERS,
            clock=now,
            monotonic=time.monotonic,
            crossed=self.crossing,
            joining=joining,
        )

    def client(self) -> LightClient:
        """One that trusts whom the one key has handed over to."""
        made = self.before.client()
        made.cross(self.crossing, now())
        return made

    def close(self) -> None:
        """End them all."""
        for engine in self.engines:
            engine.close(0)
        self.before.engine.close()
