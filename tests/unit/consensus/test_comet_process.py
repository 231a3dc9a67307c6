"""CometBFT's files, and a program that is started again when it ends and that ends when its owner does."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from caremesh.consensus.cometbft import config, keeper, process
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.consensus.cometbft.process import Supervised
from caremesh.errors import BadInput, ErrorCode
from caremesh.ledger.blocks import Validator
from tests.support.comet_engine import PATIENT_S, VALIDATOR, comet, now
from tests.support.comet_member import is_gone
from tests.support.kv import CHAIN, NODE

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)

GENESIS = config.genesis_json(Beginning(CHAIN, b"\xa1doc", 1_800_000_000, [Validator(VALIDATOR.public, 10)]))
ADDRESSES = config.Addresses("10.0.0.1:26656", ("id@host:26656", "other@host:1"))


def written(home: Path, rpc: Path | int = 26_657) -> Path:
    config.write(
        home,
        genesis_json=GENESIS,
        application=Path("/run/abci.sock"),
        rpc=rpc,
        addresses=ADDRESSES,
        validator=VALIDATOR,
        node=NODE,
    )
    return home / "config"


def test_the_genesis_is_the_same_at_all_members() -> None:
    validators = [Validator(VALIDATOR.public, 10), Validator(NODE.public, 1)]
    one = config.genesis_json(Beginning(CHAIN, b"\xa1doc", 1_800_000_000, validators))
    assert one == config.genesis_json(Beginning(CHAIN, b"\xa1doc", 1_800_000_000, validators[::-1]))
    said = json.loads(one)
    assert (said["chain_id"], said["genesis_time"], said["app_state"]) == (CHAIN, "2027-01-15T08:00:00Z", "a1646f63")
    assert said["consensus_params"]["abci"] == {"vote_extensions_enable_height": "0"}
    assert int(said["consensus_params"]["block"]["max_bytes"]) == 2 * 2**20
    keys = {base64.b64decode(row["pub_key"]["value"]): row["power"] for row in said["validators"]}
    assert keys == {VALIDATOR.public[2:]: "10", NODE.public[2:]: "1"}


def test_the_config_says_what_the_ledger_needs(tmp_path: Path) -> None:
    said = tomllib.loads((written(tmp_path) / "config.toml").read_text())
    assert said["proxy_app"] == "unix:///run/abci.sock"
    assert said["rpc"]["laddr"] == "tcp://127.0.0.1:26657"
    assert said["rpc"]["unsafe"] is False
    assert said["p2p"]["laddr"] == "tcp://10.0.0.1:26656"
    assert said["p2p"]["allow_duplicate_ip"] is False
    assert said["p2p"]["persistent_peers"] == "id@host:26656,other@host:1"
    assert said["mempool"] == {**said["mempool"], "type": "flood", "recheck": False}
    assert said["consensus"]["create_empty_blocks"] is False
    assert (said["consensus"]["timeout_commit"], said["consensus"]["create_empty_blocks_interval"]) == (
        "200ms",
        "8000ms",
    )
    assert (said["p2p"]["max_num_inbound_peers"], said["p2p"]["pex"]) == (40, False)
    assert said["p2p"]["unconditional_peer_ids"] == said["p2p"]["private_peer_ids"] == ""
    assert said["tx_index"]["indexer"] == "null"
    assert said["storage"]["discard_abci_responses"] is True
    unix = tomllib.loads((written(tmp_path, Path("/run/rpc.sock")) / "config.toml").read_text())
    assert unix["rpc"]["laddr"] == "unix:///run/rpc.sock"


def test_behind_a_sentry_nobody_else_is_let_in_and_at_a_sentry_nobody_hears_of_it() -> None:
    where = Path("/run/abci.sock"), Path("/run/rpc.sock")
    behind = config.Addresses("10.0.0.1:1", ("ab@sentry:1", "cd@other:2"), only=True)
    said = tomllib.loads(config.config_toml(*where, behind, config.Pace(), 9))
    assert said["p2p"]["persistent_peers"] == "ab@sentry:1,cd@other:2"
    assert (said["p2p"]["max_num_inbound_peers"], said["p2p"]["unconditional_peer_ids"]) == (0, "ab,cd")
    assert (said["mempool"]["size"], said["mempool"]["cache_size"]) == (9, 18)
    sentry = config.Addresses("0.0.0.0:1", ("ef@others:1",), behind=("12", "34"))
    said = tomllib.loads(config.config_toml(*where, sentry, config.Pace()))
    assert (said["p2p"]["private_peer_ids"], said["p2p"]["unconditional_peer_ids"]) == ("12,34", "12,34")
    assert said["p2p"]["max_num_inbound_peers"] == 40


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = written(tmp_path)
    for name in ("priv_validator_key.json", "node_key.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    key = json.loads((folder / "priv_validator_key.json").read_text())
    assert base64.b64decode(key["priv_key"]["value"]) == VALIDATOR.seed + VALIDATOR.public[2:]
    assert base64.b64decode(key["pub_key"]["value"]) == VALIDATOR.public[2:]


def test_what_was_signed_is_never_forgotten(tmp_path: Path) -> None:
    """A validator that signs a height twice is suspended: writing the config again leaves its memory alone."""
    written(tmp_path)
    state = tmp_path / "data" / "priv_validator_state.json"
    assert json.loads(state.read_text())["height"] == "0"
    state.write_text('{"height": "7", "round": 0, "step": 3}')
    written(tmp_path)
    assert json.loads(state.read_text())["height"] == "7"


def test_a_socket_whose_address_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"consensus\.26"):
        comet(tmp_path / ("x" * 100), begun=now())


# --- processes: a small program in place of CometBFT, for what CometBFT is not needed ------------------


def kept(tmp_path: Path, program: str) -> subprocess.Popen[bytes]:
    """A keeper of a Python program, with the path of a file as its argument."""
    words = [sys.executable, "-c", program, str(tmp_path / "file")]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def let_go(process: subprocess.Popen[bytes]) -> int:
    """Close the keeper's input and wait for its end; its exit code."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    code = process.wait(PATIENT_S)
    process.stdout.close()
    return code


def first_pid(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


def test_the_program_ends_with_the_keepers_input(tmp_path: Path) -> None:
    process = kept(tmp_path, SLEEPS)
    pid = first_pid(process)
    assert let_go(process) == 256 - signal.SIGTERM
    assert is_gone(pid)


def test_the_program_ends_when_the_keeper_is_told_to(tmp_path: Path) -> None:
    process = kept(tmp_path, SLEEPS)
    pid = first_pid(process)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENT_S)
    assert is_gone(pid)
    let_go(process)


def test_the_keeper_ends_with_the_programs_code(tmp_path: Path) -> None:
    process = kept(tmp_path, "import sys; sys.exit(7)")
    first_pid(process)
    assert process.wait(PATIENT_S) == 7
    assert let_go(process) == 7


def test_a_program_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(keeper.__file__).read_text("utf-8").replace("PATIENCE_S: Final = 10", "PATIENCE_S: Final = 0.2")
    quick = tmp_path / "keeper.py"
    quick.write_text(source, "utf-8")
    monkeypatch.setattr(keeper, "__file__", str(quick))
    process = kept(tmp_path, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}")
    pid = first_pid(process)
    assert process.stdout is not None
    process.stdout.readline()
    let_go(process)
    assert is_gone(pid)


def test_the_program_does_not_outlive_a_keeper_that_is_killed(tmp_path: Path) -> None:
    process = kept(tmp_path, SLEEPS)
    pid = first_pid(process)
    process.kill()
    assert is_gone(pid)
    let_go(process)


class Owner:
    """What supervises a program that stands for CometBFT."""

    def __init__(self, folder: Path, program: str, due: Callable[[], bool] = lambda: True) -> None:
        script = folder / "program"
        script.write_text(f"#!{sys.executable}\n{program}\n")
        script.chmod(0o700)
        self.rpc = folder / "rpc.sock"
        self.rpc.write_text("left behind")
        self.drains = 0
        self.gave_up: list[str] = []
        self.changed = threading.Condition()
        self.made = Supervised(
            script,
            folder,
            self.rpc,
            drained=self._drained,
            started=self._started,
            monotonic=time.monotonic,
            gave_up=self._gave_up,
            due=due,
        )
        self.made.start()

    def _drained(self) -> None:
        self.drains += 1

    def _started(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _gave_up(self, error: ErrorCode) -> None:
        with self.changed:
            self.gave_up.append(error.code)
            self.changed.notify_all()

    def until_started(self, times: int) -> int:
        with self.changed:
            assert self.changed.wait_for(lambda: self.made.starts >= times and self.made.pid, PATIENT_S)
        assert self.made.pid is not None
        return self.made.pid


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path, "import time; time.sleep(600)")
    yield made
    made.made.close()


def test_what_ends_is_started_again_after_all_it_asked_was_answered(owner: Owner) -> None:
    first = owner.until_started(1)
    assert not owner.rpc.exists(), "it does not listen where another has left its socket"
    os.kill(first, signal.SIGKILL)
    second = owner.until_started(2)
    assert second != first
    assert owner.drains == 1
    owner.made.close()
    assert is_gone(second)
    assert owner.made.pid is None
    owner.made.close()


def test_it_is_not_started_before_that_is_due(tmp_path: Path) -> None:
    asked = iter([False, False])
    owner = Owner(tmp_path, "import time; time.sleep(600)", lambda: next(asked, True))
    try:
        owner.until_started(1)
        assert next(asked, None) is None, "it was asked until it was due"
        assert owner.drains == 0
    finally:
        owner.made.close()


def test_a_program_that_has_much_to_say_goes_on_and_is_heard(tmp_path: Path) -> None:
    done = tmp_path / "done"
    owner = Owner(
        tmp_path, f"import time; print('x' * 2**20, flush=True); open({str(done)!r}, 'w').close(); time.sleep(600)"
    )
    try:
        owner.until_started(1)
        until = time.monotonic() + PATIENT_S
        while not done.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        while (tmp_path / "cometbft.log").stat().st_size < 2**20:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        owner.made.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_it_says_takes_a_bounded_amount_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(process, "MAX_LOG_BYTES", 200_000)
    last, done = "the last line", tmp_path / "done"
    says = f"print('x' * 999, file=sys.{stream}, flush=True)"
    program = f"import sys, time\nfor _ in range(1_500): {says}\nprint('{last}', file=sys.{stream}, flush=True)"
    owner = Owner(tmp_path, f"{program}\nopen({str(done)!r}, 'w').close(); time.sleep(600)")
    log, before = tmp_path / "cometbft.log", tmp_path / "cometbft.log.1"
    try:
        owner.until_started(1)
        until = time.monotonic() + PATIENT_S
        while not (done.exists() and log.exists() and log.read_text("utf-8").endswith(f"{last}\n")):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert 100_000 < log.stat().st_size + before.stat().st_size <= 400_000
        assert before.stat().st_size > 100_000
        assert sorted(each.name for each in tmp_path.glob("cometbft.log*")) == [log.name, before.name]
    finally:
        owner.made.close()


def test_a_log_that_cannot_be_written_holds_up_nothing(tmp_path: Path) -> None:
    done = tmp_path / "done"
    (tmp_path / "cometbft.log").mkdir()
    owner = Owner(
        tmp_path, f"import time; print('x' * 2**20, flush=True); open({str(done)!r}, 'w').close(); time.sleep(600)"
    )
    try:
        owner.until_started(1)
        until = time.monotonic() + PATIENT_S
        while not done.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        owner.made.close()


def test_one_that_is_to_be_started_again_is(owner: Owner) -> None:
    first = owner.until_started(1)
    owner.made.again()
    assert owner.until_started(2) != first
    assert is_gone(first)
    owner.made.close()
    owner.made.again()


def test_what_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "tmp"
    in_the_way.write_text("where it has its room")
    owner = Owner(tmp_path, "import time; time.sleep(600)")
    try:
        with owner.changed:
            assert not owner.changed.wait_for(lambda: owner.made.starts > 0, 0.05)
        in_the_way.unlink()
        owner.until_started(1)
    finally:
        owner.made.close()


GIVES_UP = """
import signal, sys, time
def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()
signal.signal(signal.SIGTERM, lambda *_: (say("CONSENSUS FAILURE at the end"), sys.exit()))
{said}
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("one", "two", "code"),
    [
        ("CONSENSUS FAI", "LURE!!! err", "consensus.43"),
        ("C", "ONSENSUS FAILURE", "consensus.43"),
        ("panic: StoreBlockHeight (5) > State", "BlockHeight + 1 (1)", "consensus.44"),
        ("panic: StoreBlockHeight (5) >", " StateBlockHeight + 1 (1)", "consensus.44"),
    ],
)
def test_that_it_takes_part_no_more_is_heard_once_in_whatever_pieces_it_is_said(
    tmp_path: Path, one: str, two: str, code: str
) -> None:
    pieces = f'say("x" * 70_000 + "{one}"); time.sleep(0.3); say("{two}"); time.sleep(0.3); say("stack")'
    owner = Owner(tmp_path, GIVES_UP.format(said=pieces))
    try:
        with owner.changed:
            assert owner.changed.wait_for(lambda: owner.gave_up, PATIENT_S)
    finally:
        owner.made.close()
    assert owner.gave_up == [code]
    assert (tmp_path / "cometbft.log").read_text().endswith("at the end")


def test_what_it_says_of_an_end_that_it_was_told_is_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path, GIVES_UP.format(said='say("up")'))
    try:
        end = time.monotonic() + PATIENT_S
        while not (tmp_path / "cometbft.log").exists() or (tmp_path / "cometbft.log").read_text() != "up":
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        owner.made.close()
    assert (tmp_path / "cometbft.log").read_text().endswith("at the end")
    assert owner.gave_up == []


def test_closing_before_the_start_and_twice_is_nothing(tmp_path: Path) -> None:
    made = Supervised(
        tmp_path, tmp_path, tmp_path / "rpc", drained=bool, started=lambda: None, monotonic=time.monotonic
    )
    made.close()
    made.close()
    assert made.starts == 0
