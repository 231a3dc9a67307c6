"""A network of CometBFT nodes with the builtin kvstore on loopback, for as long as a tool records what it does."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

FIRST_PORT: Final = 21_600
POWER: Final = "10"
_WAIT_S: Final = 60.0


class Node:
    """One CometBFT process and its folder."""

    def __init__(self, binary: Path, home: Path, port: int) -> None:
        """``port``: of its RPC; the next is that of its peers."""
        self._binary, self.home, self.port = binary, home, port
        self._process: subprocess.Popen[bytes] | None = None
        key = json.loads((home / "config" / "priv_validator_key.json").read_text())
        self.seed: bytes = base64.b64decode(key["priv_key"]["value"])[:32]
        self.public: str = key["pub_key"]["value"]
        self.address: str = key["address"]

    @property
    def peer(self) -> str:
        """How others name it."""
        done = subprocess.run(
            [str(self._binary), "show-node-id", "--home", str(self.home)], capture_output=True, text=True, check=True
        )
        return f"{done.stdout.strip()}@127.0.0.1:{self.port + 1}"

    def configure(self, peers: Sequence[str]) -> None:
        """Ports of loopback, blocks only when there are transactions, no index, no discovery."""
        path = self.home / "config" / "config.toml"
        text = path.read_text()
        section = ""
        lines = []
        wanted = {
            ("", "proxy_app"): '"kvstore"',
            ("rpc", "laddr"): f'"tcp://127.0.0.1:{self.port}"',
            ("rpc", "pprof_laddr"): '""',
            ("p2p", "laddr"): f'"tcp://127.0.0.1:{self.port + 1}"',
            ("p2p", "persistent_peers"): json.dumps(",".join(peers)),
            ("p2p", "pex"): "false",
            ("p2p", "allow_duplicate_ip"): "true",
            ("p2p", "addr_book_strict"): "false",
            ("consensus", "timeout_commit"): '"300ms"',
            ("consensus", "create_empty_blocks"): "false",
            ("tx_index", "indexer"): '"null"',
        }
        for line in text.splitlines():
            if found := re.fullmatch(r"\[(.+)\]", line):
                section = found[1]
            name = line.partition(" = ")[0]
            lines.append(f"{name} = {wanted[section, name]}" if (section, name) in wanted else line)
        path.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Run it, at low priority."""
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nice", "-n", "10", str(self._binary), "start", "--home", str(self.home)], stdout=log, stderr=log
            )

    def stop(self) -> None:
        """End it and wait for it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def ask(self, path: str, **query: object) -> Any:
        """What its RPC answers, whole. Raises OSError, or LookupError for an error that it tells."""
        given = urllib.parse.urlencode({name: str(value) for name, value in query.items()})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}?{given}", timeout=20) as answer:
            found = json.loads(answer.read())
        if "error" in found:
            raise LookupError(found["error"])
        return found

    def height(self) -> int:
        """Of its newest block; 0 while it does not answer, or does not take part yet."""
        try:
            found = self.ask("status")["result"]["sync_info"]
        except (OSError, LookupError):
            return 0
        return 0 if found["catching_up"] else int(found["latest_block_height"])

    def reach(self, height: int) -> None:
        """Wait until it has a height and takes part. Raises TimeoutError."""
        end = time.monotonic() + _WAIT_S
        while self.height() < height:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.home.name} is at {self.height()}, not at {height}")
            time.sleep(0.1)

    def send(self, tx: str) -> int:
        """Put a transaction into a block; its height. It is there when the next block is."""
        done = self.ask("broadcast_tx_commit", tx=f'"{tx}"')["result"]
        if done["check_tx"]["code"] or done["tx_result"]["code"]:
            raise LookupError(done)
        return int(done["height"])

    def give_power(self, other: Node, power: int) -> int:
        """Make another node a validator of this power from two blocks on; 0: none any more."""
        return self.send(f"val=ed25519!{other.public}!{power}")


@contextlib.contextmanager
def network(binary: Path, folder: Path, chain: str, validators: int, more: int) -> Iterator[list[Node]]:
    """Running nodes: so many validators of equal power, and more that are none yet. They end with the block."""
    subprocess.run(
        [str(binary), "testnet", "--v", str(validators), "--n", str(more), "--o", str(folder)],
        check=True,
        capture_output=True,
    )
    count = validators + more
    nodes = [Node(binary, folder / f"node{number}", FIRST_PORT + 2 * number) for number in range(count)]
    peers = [node.peer for node in nodes]
    for number, node in enumerate(nodes):
        node.configure([peer for other, peer in enumerate(peers) if other != number])
        path = node.home / "config" / "genesis.json"
        genesis = json.loads(path.read_text())
        genesis["chain_id"] = chain
        for validator in genesis["validators"]:
            validator["power"] = POWER
        path.write_text(json.dumps(genesis))
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            node.reach(1)
        yield nodes
    finally:
        for node in nodes:
            node.stop()
