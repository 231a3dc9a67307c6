"""Nodes of one network as processes of their own, on loopback: homes, founding, starting, stopping by process id."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from caremesh.contracts.network.messages import Params
from caremesh.node import doors, joining
from caremesh.node.desk import Desk
from caremesh.node.founding import FILE, EngineName, Founding
from caremesh.node.member import FOUNDERS, MemberHome
from caremesh.node.mesh import OPERATOR, PARAMS
from caremesh.node.readiness import is_ready
from caremesh.node.supervisor import STATE
from caremesh.types import Seconds

CHAIN: Final = "caremesh-nodes"
COMMAND: Final = (str(Path(sys.executable).with_name("caremesh")), "node")
FLAGS: Final[Mapping[str, str]] = {"block_every_s": "2.0", "retry_first_s": "0.1", "api_workers": "1"}
READY_WITHIN_S: Final = 90.0
_PORTS: Final = range(20_000, 32_000)
T = TypeVar("T")


class NotReady(Exception):
    """A node did not come up, or down, in time; its log is in the message."""


class Places(Protocol):
    """Where the nodes of a network run. ``home`` names a node's folder, which is its name."""

    def url(self, name: str) -> str:
        """Where others reach it: ``https://host:port``."""
        ...

    def peers(self, name: str) -> str:
        """Where others' CometBFT reach its CometBFT: ``host:port``."""
        ...

    def flags(self, name: str) -> Mapping[str, str]:
        """Where it listens, for members and wallets and for other members' CometBFT."""
        ...

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """What runs a command there; it keeps its process id."""
        ...

    def environment(self, name: str) -> Mapping[str, str]:
        """What it finds besides in its environment."""
        ...

    def is_ready(self, home: Path) -> bool:
        """What ``/readyz`` says; False when nobody answers."""
        ...

    def close(self) -> None:
        """Once all have ended."""
        ...


class OneHost:
    """All nodes on the loopback address, each with a port of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        found = free_ports(2 * len(names))
        self._ports = dict(zip(names, found[::2], strict=True))
        self._peers = dict(zip(names, found[1::2], strict=True))

    def url(self, name: str) -> str:
        """See ``Places``."""
        return f"https://127.0.0.1:{self._ports[name]}"

    def peers(self, name: str) -> str:
        """See ``Places``."""
        return f"127.0.0.1:{self._peers[name]}"

    def flags(self, name: str) -> Mapping[str, str]:
        """See ``Places``."""
        return {
            "listen_port": str(self._ports[name]),
            "peers_port": str(self._peers[name]),
            "peers_one_host": "true",
        }

    def command(self, name: str, command: Sequence[str]) -> list[str]:  # noqa: ARG002 - all run here
        """See ``Places``."""
        return list(command)

    def environment(self, name: str) -> Mapping[str, str]:  # noqa: ARG002 - see above
        """See ``Places``."""
        return {}

    def is_ready(self, home: Path) -> bool:
        """See ``Places``."""
        return is_ready(home)

    def close(self) -> None:
        """See ``Places``."""


class NodeProcess:
    """One node: its home, and the process that keeps its processes."""

    def __init__(
        self, home: Path, keys: MemberHome, command: Sequence[str], flags: Mapping[str, str], places: Places
    ) -> None:
        self.home = home
        self.keys = keys
        self.environment: dict[str, str] = {}
        """What it finds besides in its environment, from its next start on."""
        self._places = places
        self.program: Sequence[str] = command
        """What runs it, from its next start on."""
        self._flags = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)]
        self._process: subprocess.Popen[bytes] | None = None
        self._told = False
        self.desk = Desk(home / doors.RUN / doors.SOCKET)

    def start(self) -> None:
        """Begin; see ``wait_ready``."""
        self._told = False
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._places.command(self.home.name, [*self.program, "--home", str(self.home), *self._flags]),
                env={**os.environ, **self._places.environment(self.home.name), **self.environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        if self._process is None:
            raise NotReady(self.home.name)
        return self._process.pid

    def parts(self) -> dict[str, Any]:
        """What the supervisor says of its processes."""
        try:
            found: dict[str, Any] = json.loads((self.home / doors.RUN / STATE).read_text("utf-8"))["parts"]
        except (FileNotFoundError, KeyError):
            return {}
        return found

    def ready(self) -> bool:
        """What ``/readyz`` says."""
        return self._places.is_ready(self.home)

    def wait(self, holds: Callable[[], T], within_s: float = READY_WITHIN_S) -> T:
        """What ``holds`` gives, once that is true of something. Raises NotReady."""
        end = time.monotonic() + within_s
        while not (found := holds()):
            if time.monotonic() > end or (self._process is not None and self._process.poll() is not None):
                raise NotReady(f"{self.home.name}\n{self.log()[-4_000:]}")
            time.sleep(0.05)
        return found

    def end(self) -> None:
        """Tell it to end; ``stop`` waits for that."""
        if self._process is not None and not self._told:
            self._told = True
            self._process.send_signal(signal.SIGTERM)

    def stop(self, within_s: float = 30.0) -> int:
        """End it in order; its exit code. Raises NotReady when it does not end."""
        if self._process is None:
            return 0
        self.end()
        process, self._process = self._process, None
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # the second one ends it at once
            process.wait(within_s)
            raise NotReady(f"{self.home.name} did not end\n{self.log()[-4_000:]}") from None
        finally:
            self.desk.close()
            self.desk = Desk(self.home / doors.RUN / doors.SOCKET)  # for when it is started again

    def kill(self) -> None:
        """End the supervisor as a crash would; its parts notice by themselves."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def kill_part(self, part: str) -> None:
        """End one of its processes as a crash would. Raises NotReady when there is none in time."""
        pid = int(self.wait(lambda: self.parts().get(part, {}).get("pid")))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def log(self) -> str:
        """All that it has logged."""
        return (self.home / "log").read_text("utf-8", errors="replace")


class Network:
    """Five members in ``folder``, each with a home and a node of its own. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        params: Params = PARAMS,
        flags: Mapping[str, str] = FLAGS,
        command: Sequence[str] = COMMAND,
        now: Callable[[], Seconds] = lambda: int(time.time()),
        places: Callable[[Sequence[str]], Places] | None = None,
        cometbft: Path | None = None,
        validators: Collection[str] | None = None,
    ) -> None:
        """``places``: where the nodes run, when that is not all on one host.

        ``cometbft``: the program by which all five order blocks together; without it the operator's node orders them.
        ``validators``: by whom alone they are ordered, where not by all.
        """
        self.folder = folder
        self.nodes: dict[str, NodeProcess] = {}
        names = [each.name for each in FOUNDERS]
        ordering = (names if validators is None else validators) if cometbft else ()
        self.places: Final[Places] = OneHost(names) if places is None else places(names)
        admissions = {}
        for profile in FOUNDERS:
            home, made = joining.begin(
                folder / profile.name,
                chain=CHAIN,
                name=profile.label,
                roles=profile.roles,
                country=profile.jurisdiction,
                address=self.places.url(profile.name),
                peers=self.places.peers(profile.name) if profile.name in ordering else "",
            )
            home.practitioner(CHAIN)  # their key is made here, before another process owns the home
            admissions[profile.name] = joining.read_admission(made, profile.name)
            mine = {**self.places.flags(profile.name), "admin_port": "0", **flags}
            if cometbft:
                mine["cometbft_program"] = str(cometbft)
            self.nodes[profile.name] = NodeProcess(folder / profile.name, home, command, mine, self.places)
        others = [each for name, each in admissions.items() if name != OPERATOR]
        engine: EngineName = "cometbft" if cometbft else "embedded"
        self.founding: Founding = joining.found(folder / OPERATOR, others, now(), params, engine)
        file = (folder / OPERATOR / FILE).read_bytes()
        for name in admissions:
            joining.join(folder / name, file)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, names: Sequence[str] = ()) -> None:
        """Start these, or all, and wait until each is ready. Raises NotReady."""
        meant = [self.nodes[name] for name in names or self.nodes]
        for node in meant:
            node.start()
        for node in meant:
            node.wait(node.ready)

    def close(self) -> None:
        """End all, those that follow first."""
        trouble = None
        for name, node in self.nodes.items():
            if name != OPERATOR:
                node.end()
        for name in sorted(self.nodes, key=lambda name: name == OPERATOR):
            try:
                self.nodes[name].stop()
            except NotReady as error:
                trouble = error
        self.places.close()
        if trouble is not None:
            raise trouble


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses just now, nor is given by the system when they connect to somebody."""
    found: set[int] = set()
    while len(found) < count:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)
