"""What CometBFT takes for other members' RPC: three questions, to whoever the node asks, and nothing else."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from caremesh.consensus.cometbft import facade, rpc
from caremesh.consensus.cometbft.facade import Facade
from caremesh.consensus.cometbft.rpc import NO_ANSWER, Rpc
from caremesh.errors import Unavailable
from tests.support.comet_engine import PATIENT_S, short_folder


class Other:
    """A member who answers what it was told to, the last thing for ever."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: list[bytes | Exception] = [b'{"result": {"it": "is"}, "id": -1}']

    def fetch(self, path: str, query: Mapping[str, str]) -> bytes:
        self.asked.append((path, dict(query)))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found


NOT_YET = b'{"error": {"code": -32603, "data": "height 9 must be less than or equal to the current height 8"}}'


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
def path(other: Other, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(facade, "_AGAIN_S", 0.01)
    with short_folder() as folder:
        made = Facade(folder / "ask.sock", other.fetch)
        made.start()
        yield folder / "ask.sock"
        made.close()


def sent(path: Path, body: bytes, length: str = "") -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1")
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(PATIENT_S)
        connection.sock.connect(str(path))
        connection.putrequest("POST", "/")
        connection.putheader("content-length", length or str(len(body)))
        connection.endheaders(None if length else body)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if answer.status == 200 else None
    finally:
        connection.close()


def call(path: Path, method: str, params: object = None, number: int = 7) -> dict[str, Any]:
    words = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    status, answer = sent(path, json.dumps(words).encode())
    assert status == 200
    assert isinstance(answer, dict)
    assert (answer.pop("jsonrpc"), answer.pop("id")) == ("2.0", number)
    return answer


def test_the_questions_of_a_light_client_go_on_to_others(path: Path, other: Other) -> None:
    assert call(path, "commit", {"height": "5"}) == {"result": {"it": "is"}}
    call(path, "validators", {"height": "5", "page": 1, "per_page": "100"})
    call(path, "consensus_params", {"height": "6"})
    assert other.asked == [
        ("/commit", {"height": "5"}),
        ("/validators", {"height": "5", "page": "1", "per_page": "100"}),
        ("/consensus_params", {"height": "6"}),
    ]


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("broadcast_tx_async", {"tx": "1"}),
        ("broadcast_evidence", {}),
        ("status", {}),
        ("net_info", {}),
        ("", {}),
        ("../commit", {}),
        ("commit", ["5"]),
        ("commit", {"height": "5&x=1"}),
        ("commit", {"height": "-5"}),
        ("commit", {"height": {"a": 1}}),
        ("commit", {"x&height": "5"}),
    ],
)
def test_nothing_else_is_asked_of_anybody(path: Path, other: Other, method: str, params: object) -> None:
    assert call(path, method, params)["error"]["code"] == -32601
    assert other.asked == []


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"5", b"null", b'[{"method": "commit"}]', b"[" * 5_000])
def test_what_is_no_call_is_told_so(path: Path, other: Other, body: bytes) -> None:
    status, answer = sent(path, body)
    assert (status, answer["error"]["code"], answer["id"]) == (200, -32601, None)
    assert other.asked == []


@pytest.mark.parametrize("length", ["70000", "-1", "x"])
def test_a_call_has_a_length_and_a_short_one(path: Path, length: str) -> None:
    assert sent(path, b"", length)[0] == 413


def test_a_refusal_goes_on_too_so_that_cometbft_knows_its_kind(path: Path, other: Other) -> None:
    other.answers = [b'{"error": {"data": "height 3 is not available, lowest height is 5"}}']
    assert call(path, "commit", {"height": "3"}) == {"error": {"data": "height 3 is not available, lowest height is 5"}}
    assert len(other.asked) == 1


@pytest.mark.parametrize("said", [Unavailable(NO_ANSWER), b"", b"nonsense", b"[]", b"{}", b'{"id": 7}'])
def test_who_answers_nothing_is_no_answer(path: Path, other: Other, said: bytes | Exception) -> None:
    other.answers = [said]
    assert call(path, "commit", {"height": "3"})["error"]["code"] == -32603


def test_who_has_not_got_that_far_is_asked_again(path: Path, other: Other) -> None:
    other.answers = [NOT_YET, NOT_YET, b'{"result": 1}']
    assert call(path, "commit", {"height": "9"}) == {"result": 1}
    assert len(other.asked) == 3


def test_but_not_for_ever(other: Other) -> None:
    other.answers = [NOT_YET]
    answer = facade.answer(other.fetch, {"id": 1, "method": "commit", "params": {"height": "9"}}, 0)
    assert "less than or equal" in answer["error"]["data"]


def test_only_the_owner_opens_the_socket(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_that_a_process_left_behind_is_replaced(path: Path, other: Other) -> None:
    made = Facade(path, other.fetch)
    made.start()
    made.close()
    made = Facade(path, other.fetch)  # and one that was never started is closed as well
    made.close()


def test_a_member_is_asked_for_what_it_refuses_as_well() -> None:
    with short_folder() as folder, pytest.raises(Unavailable, match=r"consensus\.25"):
        Rpc(folder / "nobody.sock").fetch("/commit", {"height": "1"})


def test_who_looks_after_a_node_does_not_wait_for_a_cometbft_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "SOON_S", 0.1)
    with short_folder() as folder, socket.socket(socket.AF_UNIX) as silent, ThreadPoolExecutor(1) as pool:
        silent.bind(str(folder / "s"))
        silent.listen()
        asked = pool.submit(Rpc(folder / "s").soon().ordering)
        with pytest.raises(Unavailable, match=r"consensus\.25"):
            asked.result(20)  # less than who asks otherwise would wait
