"""CometBFT's own ``abci-cli`` asks the application, on the socket where a node's CometBFT asks too."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from caremesh.consensus.cometbft.engine import SOCKET, CometBft
from tests.support.comet_engine import PATIENT_S, comet, now, short_folder, signed
from tests.support.kv import VALUES, Put
from tools.cometbft import abci_cli

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Said(NamedTuple):
    """What the program prints of an answer. ``code``: of the response, OK or a number; the rest by name."""

    code: str
    named: dict[str, str]


class Asked:
    """An application with one block behind it, and the program that asks."""

    def __init__(self, folder: Path, engine: CometBft) -> None:
        self.engine = engine
        self._address = f"unix://{folder / 'run' / SOCKET}"

    def run(self, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(abci_cli()), "--address", self._address, "--log_level", "error", *words]
        return subprocess.run(
            command,
            input=lines,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENT_S,
            check=False,
        )

    def __call__(self, *words: str) -> list[Said]:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        found = []
        for text in done.stdout.split("-> code: ")[1:]:
            code, *rest = text.splitlines()
            found.append(Said(code, dict(re.findall(r"^-> ([a-z.]+): (.*)$", "\n".join(rest), re.MULTILINE))))
        return found


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    with short_folder() as folder:
        engine = comet(folder, begun=now())
        try:
            engine.start()
            engine.submit_soon(signed(Put(key=b"a", value=b"1"))).result(PATIENT_S)
            yield Asked(folder, engine)
        finally:
            engine.close(0)


def as_word(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def test_it_says_who_it_is_and_repeats_what_is_said(asked: Asked) -> None:
    assert asked("info") == [Said("OK", {"data": "caremesh", "data.hex": f"0x{b'caremesh'.hex().upper()}"})]
    assert asked("echo", "hello")[0].named["data"] == "hello"


def test_transactions_are_let_in_or_refused_by_the_ledgers_code(asked: Asked) -> None:
    assert asked("check_tx", as_word(signed(Put(key=b"b", value=b"2")))) == [Said("OK", {})]
    expired = signed(Put(key=b"b", value=b"2"), lives_s=-1)
    for wrong, code in ((as_word(expired), "ledger.07"), ('"no transaction"', "codec.01")):
        [said] = asked("check_tx", wrong)
        assert (said.code, said.named["data"]) == ("1", code)
        assert said.named["log"].endswith(".")


def test_state_is_answered_with_what_proves_it(asked: Asked) -> None:
    key = VALUES.key(b"a")
    [said] = asked("query", as_word(key), "--path", "/state")
    assert said.code == "OK"
    assert said.named["key.hex"] == key.hex().upper()
    assert int(said.named["height"]) >= 1
    assert b"1".hex() in said.named["value.hex"].lower()
    for words, code in ((("--path", "/other"), "consensus.24"), (("--path", "/state", "--height", "999999"), "ledger")):
        [refused] = asked("query", as_word(key), *words)
        assert refused.code == "1"
        assert refused.named["log"].startswith(code)


def test_a_proposal_without_height_and_time_is_not_accepted(asked: Asked) -> None:
    """The program names neither; what is proposed has to be the next block."""
    assert asked("process_proposal", as_word(signed(Put(key=b"b", value=b"2"))))[0].named["status"] == "REJECT"
    assert asked("prepare_proposal", '"no transaction"') == [], "nothing of it would be in a block"


def test_several_commands_on_one_connection(asked: Asked) -> None:
    raw = as_word(signed(Put(key=b"c", value=b"3")))
    done = asked.run("batch", lines=f"echo one\ninfo\ncheck_tx {raw}\ncheck_tx {raw}\necho two\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("-> code: OK") == 5
    assert [line for line in done.stdout.splitlines() if line.startswith("-> data: ")] == [
        "-> data: one",
        "-> data: caremesh",
        "-> data: two",
    ]


def test_blocks_go_on_beside_it(asked: Asked) -> None:
    before = asked.engine.status().height
    asked.engine.submit_soon(signed(Put(key=b"d", value=b"4"))).result(PATIENT_S)
    assert asked.engine.status().height > before
    assert not asked.engine.stopped


@pytest.mark.promise("P5")
def test_a_block_that_cometbft_has_not_decided_ends_the_application_before_it_counts() -> None:
    """The program's own names no height, time or hash; nothing of it is in the ledger afterwards."""
    with short_folder() as folder:
        engine = comet(folder, begun=now())
        try:
            engine.start()
            engine.submit_soon(signed(Put(key=b"a", value=b"1"))).result(PATIENT_S)
            done = Asked(folder, engine).run("finalize_block", as_word(signed(Put(key=b"a", value=b"2"))))
            assert "consensus.27" in done.stdout + done.stderr
            assert engine.stopped
            assert engine.machine.reader().get(VALUES.key(b"a")) == b"\x411"
        finally:
            engine.close(0)
