"""Several members on one machine, each with an engine and a CometBFT of its own, of which some join later."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from caremesh.consensus.cometbft.config import Addresses, Pace
from caremesh.consensus.cometbft.engine import RPC_SOCKET, CometBft, Local
from caremesh.consensus.cometbft.joining import Fetch, Joining, trust
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Validator
from caremesh.ledger.comet import address_of
from caremesh.ledger.light import LightClient
from tests.support.comet_engine import genesis_of, now
from tests.support.kv import CHAIN, MEMBER, Kv
from tools.cometbft import cometbft


def key_of(kind: str, number: int) -> SigningKey:
    return SigningKey.from_seed(f"{kind}{number}".encode().ljust(32, b"."))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives away."""
    found: list[int] = []
    candidate = 12_000 + os.getpid() % 1_000 * 8
    while len(found) < count:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", candidate)):
            found.append(candidate)
        candidate += 1
    return found


class Members:
    """The first so many validate; the others are full nodes. All have the same genesis."""

    def __init__(self, folder: Path, validators: int, others: int, plan: Snapshotting, params: Params) -> None:
        self.folder = folder
        self.begun = now()
        self.validators = [Validator(key_of("validator", number).public, 10) for number in range(validators)]
        self._ports = free_ports(validators + others)
        self._plan = plan
        self._params = params
        self._open: dict[int, CometBft] = {}

    def __enter__(self) -> Members:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number in sorted(self._open):
            self.close(number)

    def start(self, number: int, joining: Joining | None = None, version: str | None = None) -> CometBft:
        """One member's engine, started."""
        peers = [
            f"{address_of(key_of('node', at).public).hex()}@127.0.0.1:{port}" for at, port in enumerate(self._ports)
        ]
        local = Local(
            cometbft() if version is None else cometbft(version),
            key_of("validator", number),
            key_of("node", number),
            Addresses(
                f"127.0.0.1:{self._ports[number]}",
                tuple(peer for at, peer in enumerate(peers) if at != number),
                one_host=True,
            ),
            Pace(commit_s=0.1, idle_s=0.5),
            self._plan,
        )
        engine = CometBft(
            self.folder / str(number),
            Kv([MEMBER], self._params),
            local,
            chain=CHAIN,
            genesis=genesis_of(self.begun),
            genesis_time=self.begun,
            validators=self.validators,
            clock=now,
            monotonic=time.monotonic,
            joining=joining,
        )
        self._open[number] = engine
        engine.start()
        return engine

    def close(self, number: int) -> None:
        """End one, as its node would."""
        engine = self._open.pop(number, None)
        if engine is not None:
            engine.close(0)

    def fetch(self, number: int) -> Fetch:
        """Asks a member's CometBFT by its own socket, as its node does for others."""
        return Rpc(self.folder / str(number) / "run" / RPC_SOCKET).fetch

    def joining(self, sources: Sequence[Fetch]) -> Joining:
        """What it takes to join: a header that follows from the genesis."""
        client = LightClient(CHAIN, self.validators, trusted_at=self.begun)
        return trust(client, sources, now(), self._plan.span)
