"""``caremesh doctor`` finds the likeliest faults of a node: each is made here, at a home that was well before."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from caremesh.api import health
from caremesh.api.app import make_app
from caremesh.api.limits import Limits
from caremesh.api.routes import Caller, Route
from caremesh.api.serving import Doors, listen
from caremesh.api.signatures import Head
from caremesh.consensus.compaction import open_for_reading
from caremesh.contracts.members.messages import Keys, SetEndpoints, SetKeys, Suspend
from caremesh.contracts.members.queries import member
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.ledger.transactions import Message
from caremesh.node import founding, joining, node_diagnosis
from caremesh.node.diagnosis import Finding
from caremesh.node.node import Node
from caremesh.node.node_diagnosis import diagnose_node
from caremesh.node.relay import signed_tx
from caremesh.node.running import LEDGER
from caremesh.testing.clock import SettableClock
from tests.support.near import Near, found

pytestmark = pytest.mark.slow


class Anyone:
    def check(self, route: Route, head: Head) -> Caller:  # noqa: ARG002
        return Caller("anyone", "")

    def check_body(self, head: Head, body: bytes) -> None:
        pass


class Answers:
    """A node that answers for a member: ``/healthz`` and nothing else, with a certificate of this key."""

    def __init__(self, did: str, key: SigningKey) -> None:
        listening = listen("127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        context = pins.server_context(pins.make_leaf(did, key, int(time.time())), [])
        app = make_app(health.routes({}, [], "0"), Anyone())
        self._doors = Doors(app, [(listening, lambda: context)], Limits(drain_s=1))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._doors.serve()), name="answers")

    def __enter__(self) -> Answers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        while not self._doors.started:
            time.sleep(0.005)
        self._doors.should_exit = True
        self._thread.join()


class Home(NamedTuple):
    """The home of a member that follows, and the files of all; ``stack``: what is let go of at the end."""

    path: Path
    folder: Path
    stack: ExitStack
    patch: pytest.MonkeyPatch
    later: list[int]

    def findings(self) -> dict[str, Finding]:
        """As if it were asked right after the newest block, or ``later`` by so much: tests may take their time."""
        known = founding.load(self.folder / "operator")
        assert known is not None
        try:
            store = open_for_reading(self.path / LEDGER, known.chain)
        except CareMeshError:
            newest = int(time.time())
        else:
            with store.read() as read:
                head = read.head()
            store.close()
            assert head is not None
            newest = head.time
        now = newest + (self.later[-1] if self.later else 0)
        self.patch.setattr(node_diagnosis, "time", SimpleNamespace(time=lambda: now))
        return {each.check: each for each in diagnose_node(self.path)}

    def settings(self, text: str) -> None:
        (self.path / "caremesh.toml").write_text(text + "\n", "utf-8")

    def tell(self, by: str, message: Callable[[Node, Node], Message]) -> None:
        """The ledger goes on by one transaction of a member, and this home follows it."""
        near = Near(self.folder, SettableClock())
        try:
            operator, first = near.start("operator"), near.start("first")
            until(lambda: first.status().height)
            node = near.nodes[by]
            said = message(operator, first)
            done = operator.submit(signed_tx(node.founding.chain, near.clock(), [node.home.requester], said))
            assert not done.code, done.result
            until(lambda: first.status().height >= done.height)
        finally:
            near.close()


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three members of a network, of which the operator answers where the ledger says; the others have no address."""
    folder = tmp_path_factory.mktemp("well")
    found(folder, int(time.time()))
    home = joining.load_home(folder / "operator")
    with Answers(home.did, home.node_key) as answers:
        made = Home(folder / "first", folder, ExitStack(), pytest.MonkeyPatch(), [])
        for name in ("second", "first", "operator"):
            url = answers.url if name == "operator" else "https://127.0.0.1:1"
            did = joining.load_home(folder / name).did
            move(made, name, did, url)
        (folder / "first" / "caremesh.toml").write_text("listen_port = 0\nadmin_port = 0\n", "utf-8")
        yield folder


def move(home: Home, name: str, did: str, url: str) -> None:
    near = Near(home.folder, SettableClock())
    try:
        for each in ("operator", "first", "second"):
            near.start(each)
        node = near.nodes[name]
        raw = signed_tx(
            node.founding.chain, near.clock(), [node.home.requester], SetEndpoints(member=did, endpoints=[url])
        )
        done = near.nodes["operator"].submit(raw)
        assert not done.code
        for each in near.nodes.values():
            until(lambda each=each: each.status().height >= done.height)
    finally:
        near.close()


@pytest.fixture
def home(well: Path, tmp_path: Path) -> Iterator[Home]:
    folder = Path(shutil.copytree(well, tmp_path / "n"))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        yield Home(folder / "first", folder, stack, patch, [])


OTHERS = {"member second"}
"""Does not run, here as in all of these."""


def test_nothing_is_wrong_where_nothing_is(home: Home) -> None:
    findings = home.findings()
    assert {name for name, each in findings.items() if not each.ok} == OTHERS
    assert len(findings) == 14


# --- the faults -------------------------------------------------------------------------------------------


def slip_in_settings(home: Home) -> None:
    home.settings("listen_prot = 1")


def setting_out_of_limits(home: Home) -> None:
    home.settings("api_workers = 0")


def key_file_lost(home: Home) -> None:
    (home.path / "secrets.key").unlink()


def key_file_open(home: Home) -> None:
    (home.path / "secrets.key").chmod(0o640)


def not_joined(home: Home) -> None:
    (home.path / "founding.cbor").unlink()


def network_file_damaged(home: Home) -> None:
    file = home.path / "founding.cbor"
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))


def port_taken(home: Home) -> None:
    taken = home.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    home.settings(f"listen_port = {taken.getsockname()[1]}\nadmin_port = 0")


def admin_port_taken(home: Home) -> None:
    taken = home.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    home.settings(f"listen_port = 0\nadmin_port = {taken.getsockname()[1]}")


def address_of_another_machine(home: Home) -> None:
    home.settings('listen_host = "192.0.2.1"\nlisten_port = 0\nadmin_port = 0')


def process_that_dies(home: Home) -> None:
    died = {"parts": {"ledger": {"pid": None, "starts": 9, "last": "exit code 5"}}}
    (home.path / "run").mkdir(exist_ok=True)
    (home.path / "run" / "processes.json").write_text(json.dumps(died))


def disk_full(home: Home) -> None:
    home.settings(f"listen_port = 0\nadmin_port = 0\nmin_free_bytes = {2**50}")


def ledger_lost(home: Home) -> None:
    shutil.rmtree(home.path / "ledger")


def ledger_damaged(home: Home) -> None:
    (home.path / "ledger" / "data.mdb").write_bytes(b"x" * 65_536)


def away_for_long(home: Home) -> None:
    home.later.append(3_600)


def clock_behind(home: Home) -> None:
    home.later.append(-3_600)


def clock_other_than_the_others(home: Home) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz or UTC) + timedelta(hours=1)

    home.patch.setattr(node_diagnosis, "datetime", Ahead)


def suspended(home: Home) -> None:
    home.tell("operator", lambda _, first: Suspend(member=first.home.did))


def keys_of_another_home(home: Home) -> None:
    def message(_: Node, first: Node) -> Message:
        known = member(first.reader(), first.home.did)
        assert known is not None
        said = {name: getattr(known.keys, name) for name in Keys.__struct_fields__}
        return SetKeys(member=first.home.did, keys=Keys(**{**said, "node": SigningKey.generate().public}))

    home.tell("first", message)


def operator_away(home: Home) -> None:
    home.tell("operator", lambda node, _: SetEndpoints(member=node.home.did, endpoints=["https://127.0.0.1:1"]))


def another_answers(home: Home) -> None:
    stranger = SigningKey.generate()
    did = joining.load_home(home.folder / "operator").did
    answers = home.stack.enter_context(Answers(did, stranger))
    home.tell("operator", lambda node, _: SetEndpoints(member=node.home.did, endpoints=[answers.url]))


FAULTS: list[tuple[Callable[[Home], None], str, str]] = [
    (slip_in_settings, "settings", "settings.04 listen_prot"),
    (setting_out_of_limits, "settings", "settings.01 api_workers"),
    (key_file_lost, "key file", "No such file"),
    (key_file_open, "key file", "mode 640"),
    (not_joined, "network", "not joined"),
    (network_file_damaged, "network", "node.05"),
    (port_taken, "network's address", "in use"),
    (admin_port_taken, "admin address", "in use"),
    (address_of_another_machine, "network's address", "192.0.2.1"),
    (process_that_dies, "processes", "ledger 9 times (exit code 5)"),
    (disk_full, "disk", "MiB free"),
    (ledger_lost, "ledger", "ledger.33"),
    (ledger_damaged, "ledger", "ledger."),
    (away_for_long, "ledger", "old"),
    (clock_behind, "ledger", "ahead of this clock"),
    (clock_other_than_the_others, "clock against others", "+36"),
    (suspended, "member", "suspended"),
    (keys_of_another_home, "member", "another node key"),
    (operator_away, "operator operator", "client.02"),
    (another_answers, "operator operator", "client.03"),
]


@pytest.mark.parametrize(("fault", "check", "told"), FAULTS, ids=[fault.__name__ for fault, *_ in FAULTS])
def test_doctor_finds_what_is_wrong_and_says_what_to_do(
    home: Home, fault: Callable[[Home], None], check: str, told: str, evidence: Any
) -> None:
    fault(home)
    findings = home.findings()
    wrong = {name for name, each in findings.items() if not each.ok} - OTHERS
    assert wrong == {check}, findings
    assert told in findings[check].found
    assert findings[check].cure
    evidence.fault(fault.__name__.replace("_", " "))
