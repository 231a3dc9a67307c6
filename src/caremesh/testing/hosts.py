"""Each node of a network on a host of its own, with a network between them that can be cut, slow and lossy.

A host is a network namespace, left and entered through its gate alone (``gate.py``). Where the system lets us have no
namespaces, hosts are addresses of one loopback interface, and one gate stands before all of them: the same faults, but
nothing would stop a node from going round it, and whose CometBFT it is that connects is not to be known, so that only
namespaces can cut these from each other. Which of the two it is, is said in ``kind``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final

import httpx
import msgspec
from msgspec.structs import replace

from caremesh.testing.gate import ELSEWHERE, PEERS, RULES, Rules, Spec
from caremesh.testing.namespaces import are_to_be_had, entering
from caremesh.testing.nodes import NotReady, free_ports

SOURCE: Final = "TESTING_SOURCE"
"""The address from which a node on a host without a namespace goes out: see ``bent.py``."""
_GATE: Final = "caremesh.testing.gate"
_WITHIN_S: Final = 60.0


class Hosts:
    """A place for each node: see ``Places``. Close it once the nodes have ended."""

    def __init__(self, folder: Path, names: Sequence[str], *, namespaces: bool | None = None) -> None:
        """``folder``: for sockets and rules. ``namespaces``: whether to use them; found out when not given."""
        self._folder: Final = folder
        self._namespaces: Final = are_to_be_had() if namespaces is None else namespaces
        self.kind: Final = "network namespaces" if self._namespaces else "addresses of one loopback interface"
        self.names: Final = list(names)
        ports = iter(free_ports(2 * len(names)))
        self._said: Final = {
            door: (f"127.0.0.{number}", next(ports))
            for number, name in enumerate(names, 11)
            for door in (name, name + PEERS)
        }
        """Where others are told to go: there stands a gate."""
        self._within: Final = self._said if self._namespaces else self._beside()
        """Where the node listens."""
        self._rules = Rules()
        self._gates: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True)
        self._write()
        try:
            for spec in self._specs():
                self._start(spec)
            self._wait()
        except BaseException:
            self.close()
            raise

    def url(self, name: str) -> str:
        """See ``Places``."""
        host, port = self._said[name]
        return f"https://{host}:{port}"

    def peers(self, name: str) -> str:
        """See ``Places``."""
        host, port = self._said[name + PEERS]
        return f"{host}:{port}"

    def flags(self, name: str) -> Mapping[str, str]:
        """See ``Places``."""
        (host, port), (peers_host, peers_port) = self._within[name], self._within[name + PEERS]
        return {
            "listen_host": host,
            "listen_port": str(port),
            "peers_host": peers_host,
            "peers_port": str(peers_port),
            "peers_one_host": "true",
        }

    def command(self, name: str, command: Sequence[str]) -> list[str]:
        """See ``Places``."""
        return [*(entering(self._gates[name].pid) if self._namespaces else []), *command]

    def environment(self, name: str) -> Mapping[str, str]:
        """See ``Places``."""
        return {} if self._namespaces else {SOURCE: self._within[name][0]}

    def is_ready(self, home: Path) -> bool:
        """See ``Places``; asked from elsewhere, as anyone would."""
        try:
            return self.readiness(home.name)[0] == 200
        except httpx.TransportError:
            return False

    def readiness(self, name: str) -> tuple[int, dict[str, bool]]:
        """Status and checks. Raises httpx.TransportError when nobody answers."""
        answer = httpx.get(f"{self.url(name)}/readyz", timeout=10.0, trust_env=False, verify=False)  # noqa: S501
        try:
            return answer.status_code, dict(answer.json()["checks"])
        except (ValueError, KeyError):
            return answer.status_code, {}

    def split(self, side: Iterable[str]) -> None:
        """No byte passes between these and all others, until ``heal``. Who is elsewhere reaches everybody."""
        mine = set(side)
        self.set(
            cut=[(one, other) for one, other in product(self.names, repeat=2) if one in mine and other not in mine]
        )

    def heal(self) -> None:
        """Everything passes, at once."""
        self.set(cut=[], delay_s=0.0, loss=0.0)

    def set(self, **changes: object) -> None:
        """Change the rules; they hold at every gate when this returns. Raises NotReady."""
        self._rules = replace(self._rules, version=self._rules.version + 1, **changes)
        self._write()
        self._wait()

    def close(self) -> None:
        """End all gates."""
        for gate in self._gates.values():
            assert gate.stdin is not None  # noqa: S101 - a pipe
            gate.stdin.close()
        for gate in self._gates.values():
            try:
                gate.wait(_WITHIN_S)
            except subprocess.TimeoutExpired:
                gate.kill()
                gate.wait()
        self._gates = {}

    def _beside(self) -> dict[str, tuple[str, int]]:
        return {
            door: (f"127.0.1.{number}", self._said[door][1])
            for number, name in enumerate(self.names, 11)
            for door in (name, name + PEERS)
        }

    def _specs(self) -> list[Spec]:
        folder = str(self._folder)
        if not self._namespaces:
            sources = {self._within[name][0]: name for name in self.names}
            return [Spec(folder, ELSEWHERE, False, self._said, {}, self._within, sources)]  # noqa: FBT003
        inside = [
            Spec(
                folder=folder,
                name=name,
                isolated=True,
                listen={door: said for door, said in self._said.items() if door not in (name, name + PEERS)},
                mine={door: self._within[door] for door in (name, name + PEERS)},
            )
            for name in self.names
        ]
        return [Spec(folder=folder, name=ELSEWHERE, isolated=False, listen=self._said), *inside]

    def _start(self, spec: Spec) -> None:
        words = [sys.executable, "-m", _GATE, msgspec.json.encode(spec).decode()]
        self._gates[spec.name] = subprocess.Popen(words, stdin=subprocess.PIPE)  # noqa: S603 - our own command

    def _write(self) -> None:
        beside = self._folder / f"{RULES}.new"
        beside.write_bytes(msgspec.json.encode(self._rules))
        beside.replace(self._folder / RULES)

    def _wait(self) -> None:
        end = time.monotonic() + _WITHIN_S
        for name, gate in self._gates.items():
            mark = self._folder / f"{name}.at"
            while not mark.exists() or mark.read_text("utf-8") != str(self._rules.version):
                if time.monotonic() > end or gate.poll() is not None:
                    raise NotReady(f"gate of {name}")
                time.sleep(0.01)
