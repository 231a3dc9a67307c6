"""Networks of CometBFT for benches: ours, and CometBFT's own key-value store, which checks no signature.

Both have the same configuration, both are sent transactions of the same lengths in the same way: from this process,
over the RPC of the first node, many in a request; what became of them is asked of that RPC too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from bench._network import CHAIN, Network, populate
from bench._validator import Plan, Told, addresses, validators, voting_key
from caremesh.consensus.cometbft import config
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.config import Pace
from caremesh.consensus.cometbft.engine import RPC_SOCKET
from caremesh.consensus.cometbft.joining import HOME, STATE
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.errors import Unavailable
from caremesh.types import Seconds
from tests.support.comet_network import free_ports, node_key
from tools.cometbft import cometbft

PATIENT_S: Final = 120.0
HANDED: Final = 400
"""Transactions of one request, as our own node hands them over."""
WAITING: Final = 16_000
"""As many wait at most; a mempool that is full drops the rest without a word."""
POLL_S: Final = 0.05
_METAS: Final = 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Made(NamedTuple):
    """A block: when its header says that it was proposed, and how many transactions are in it."""

    height: int
    time_s: float
    txs: int


class Load(NamedTuple):
    """What became of a load. ``cpu_s``: processor time of all processes of the network, by kind."""

    txs: int
    taken_s: float
    blocks: list[Made]
    cpu_s: dict[str, float]

    @property
    def rate(self) -> float:
        """Committed transactions a second."""
        return self.txs / self.taken_s


class Chain:
    """Nodes that run. ``rpc``: of the first; ``pids``: of the processes, by kind."""

    def __init__(self, folders: Sequence[Path], sockets: Sequence[Path]) -> None:
        self.folders: Final = folders
        self.rpc: Final = Rpc(sockets[0])
        self._all: Final = [Rpc(each) for each in sockets]
        self.processes: Final[list[subprocess.Popen[str]]] = []
        self.committed = 0
        self._seen = 0

    def wait(self) -> None:
        """Until every node has its first block, and all are connected. Raises TimeoutError."""
        until = time.monotonic() + PATIENT_S
        for rpc in self._all:
            while True:
                with contextlib.suppress(Unavailable):
                    if _height(rpc) >= 1 and len(rpc.connected()) == len(self._all) - 1:
                        break
                if time.monotonic() > until:
                    raise TimeoutError("a node does not begin")
                time.sleep(POLL_S)
        self.new()

    def new(self) -> list[Made]:
        """The blocks since this was last asked."""
        found: list[Made] = []
        while True:
            asked = {"minHeight": str(self._seen + 1), "maxHeight": str(self._seen + _METAS)}
            if _height(self.rpc) <= self._seen:
                return found
            told = json.loads(self.rpc.fetch("/blockchain", asked))["result"]["block_metas"]
            rows = sorted((_made(each) for each in told), key=lambda row: row.height)
            self._seen = rows[-1].height
            self.committed += sum(row.txs for row in rows)
            found += rows

    def load(self, raws: Sequence[bytes]) -> Load:
        """Send all of them, and wait until all are in blocks. Raises TimeoutError."""
        blocks, sent, begun = self.new(), 0, self.committed
        blocks.clear()
        cpu, start = self.cpu(), time.perf_counter()
        asked = until = start
        while (done := self.committed - begun) < len(raws):
            now = time.perf_counter()
            if sent < len(raws) and sent - done < WAITING:
                self.rpc.hand_over(raws[sent : sent + HANDED])
                sent += HANDED
            elif now - asked < POLL_S:
                time.sleep(POLL_S)
            if now - asked >= POLL_S:
                made, asked = self.new(), now
                blocks += made
                until = now if any(row.txs for row in made) else until
                if now - until > PATIENT_S:
                    raise TimeoutError(f"{len(raws) - self.committed + begun} transactions stay out of blocks")
        taken = time.perf_counter() - start
        return Load(len(raws), taken, blocks, {kind: used - cpu[kind] for kind, used in self.cpu().items()})

    def idle(self, count: int) -> list[float]:
        """Seconds between the times of so many blocks and those before them, with nothing to do."""
        blocks: list[Made] = self.new()
        until = time.monotonic() + PATIENT_S
        while len(blocks) < count + 2:
            if time.monotonic() > until:
                raise TimeoutError("no blocks")
            time.sleep(1)
            blocks += self.new()
        return intervals(blocks)[1:]

    def cpu(self) -> dict[str, float]:
        """Processor seconds so far: of the applications' processes, and of CometBFT's."""
        used = {"application": 0.0, "cometbft": 0.0}
        for process in self.processes:
            for pid in _with_children(process.pid):
                name, ticks = _used(pid)
                used["cometbft" if name.startswith("cometbft") else "application"] += ticks / _TICKS
        return used

    def told(self) -> list[Told]:
        """What our validators say that became of everything."""
        return [_asked(process) for process in self.processes]


def intervals(blocks: Sequence[Made]) -> list[float]:
    """Seconds between one block's time and the next's."""
    return [after.time_s - before.time_s for before, after in pairwise(blocks)]


@contextlib.contextmanager
def ours(folder: Path, network: Network, count: int, state: Path) -> Iterator[Chain]:
    """Validators of ours, each with a copy of a populated state; the last with ``state`` itself."""
    folder.mkdir()
    (folder / "genesis").write_bytes(network.genesis)
    folders, ports = [folder / str(number) for number in range(count)], free_ports(count)
    made = Chain(folders, [each / "run" / RPC_SOCKET for each in folders])
    with _ending(made):
        for number, each in enumerate(folders):
            each.mkdir()
            if number < count - 1:
                shutil.copytree(state, each / STATE)
            else:
                state.rename(each / STATE)
            plan = Plan(str(each), str(folder / "genesis"), network.start, number, ports)
            (each / "plan").write_bytes(msgspec.json.encode(plan))
            made.processes.append(_begun([sys.executable, "-m", "bench._validator", str(each / "plan")], each))
        for process in made.processes:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError("a validator does not begin: look at its log")
        made.wait()
        yield made


@contextlib.contextmanager
def peers(folder: Path, count: int, start: Seconds) -> Iterator[Chain]:
    """The same number of CometBFT's own key-value stores, under the same configuration."""
    folders, ports = [folder / str(number) for number in range(count)], free_ports(count)
    made = Chain(folders, [each / RPC_SOCKET for each in folders])
    document = config.genesis_json(Beginning(CHAIN, b"", start, validators(count)))
    with _ending(made):
        for number, each in enumerate(folders):
            each.mkdir(parents=True)
            home, application = each / HOME, Path("nowhere")
            config.write(
                home,
                genesis_json=document,
                application=application,
                rpc=each / RPC_SOCKET,
                addresses=addresses(ports, number),
                validator=voting_key(number),
                node=node_key(number),
                pace=Pace(),
            )
            written = home / "config" / "config.toml"
            text = written.read_text("utf-8").replace(f'proxy_app = "unix://{application}"', 'proxy_app = "kvstore"')
            written.write_text(text.replace('abci = "socket"', 'abci = "local"'), "utf-8")
            made.processes.append(_begun([str(cometbft()), "start", "--home", str(home)], each))
        made.wait()
        yield made


def like(raws: Sequence[bytes]) -> list[bytes]:
    """As many transactions of the same lengths that the key-value store takes: no two alike, a key and a value."""
    return [b"%032x=" % int.from_bytes(os.urandom(16)) + b"v" * (len(raw) - 33) for raw in raws]


def state(folder: Path, network: Network, streams: int) -> int:
    """A populated state in a folder; how many keys there are."""
    return populate(folder, CHAIN, network.genesis, network.rows(streams), network.start)


@contextlib.contextmanager
def _ending(made: Chain) -> Iterator[None]:
    try:
        yield
    finally:
        for process in made.processes:
            if process.stdin is not None:
                process.stdin.close()
            if process.args[0] != sys.executable:  # type: ignore[index]
                process.terminate()
        for process in made.processes:
            process.wait(PATIENT_S)
            if process.stdout is not None:
                process.stdout.close()


def _begun(command: list[str], folder: Path) -> subprocess.Popen[str]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)


def _asked(process: subprocess.Popen[str]) -> Told:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("nobody to ask")
    process.stdin.write("\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Told)


def _height(rpc: Rpc) -> int:
    told = json.loads(rpc.fetch("/status", {}))
    return int(told["result"]["sync_info"]["latest_block_height"])


def _made(meta: dict[str, Any]) -> Made:
    header = meta["header"]
    whole, _, rest = header["time"].removesuffix("Z").partition(".")
    begun = datetime.fromisoformat(f"{whole}+00:00").timestamp()
    return Made(int(header["height"]), begun + float(f"0.{rest or 0}"), int(meta["num_txs"]))


def _with_children(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text("utf-8").split():
                found += _with_children(int(child))
    return found


def _used(pid: int) -> tuple[str, int]:
    """(name, ticks of processor time) of a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return "", 0
    name, _, rest = text.partition("(")[2].rpartition(")")
    user, system = rest.split()[11:13]
    return name, int(user) + int(system)
