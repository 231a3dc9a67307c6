"""Members of one network follow its operator, each executing every block; a cut is noticed, and ends by itself."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.node import joining, reaching
from caremesh.node.relay import signed_tx
from caremesh.sealing import custody
from caremesh.sealing.custody import StreamRequest
from caremesh.testing.clock import SettableClock
from tests.support.near import Near, found


def until(holds: Callable[[], Any], within_s: float = 60) -> Any:
    end = time.monotonic() + within_s
    while not (found := holds()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("near")
    found(folder, int(time.time()))
    return folder


@pytest.fixture(scope="module")
def clock() -> SettableClock:
    return SettableClock()  # one for all tests: what one of them has put on the ledger is not the next one's future


@pytest.fixture
def near(founded: Path, clock: SettableClock) -> Iterator[Near]:
    made = Near(founded, clock)
    yield made
    made.close()


def same(near: Near) -> bool:
    states = {(node.status().height, node.status().app_hash) for node in near.nodes.values()}
    return len(states) == 1


def move(near: Near, name: str) -> tuple[str, int]:
    """A member tells another address; the address, and the height at which it stands on its own copy."""
    node = near.nodes[name]
    address = f"https://{os.urandom(4).hex()}.example:1"
    message = SetEndpoints(member=node.home.did, endpoints=[address])
    done = node.submit(signed_tx(node.founding.chain, near.clock(), [node.home.requester], message))
    assert not done.code
    return address, done.height


def address(near: Near, at: str, of: str) -> str:
    known = members.member(near.nodes[at].reader(), near.nodes[of].home.did)
    assert known is not None
    return known.endpoints[0]


def ask(near: Near, name: str) -> str:
    """What a custodian answers to a request for seals of a stream that nobody knows."""
    node, key = near.nodes[name], SigningKey.from_seed(os.urandom(32))
    asked = StreamRequest(stream=os.urandom(32), custodian=node.home.did, nonce=os.urandom(16), at=near.clock())
    try:
        node.member.custodian.seals(codec.encode(custody.sign_payload(custody.SEAL_REQUEST, asked, key)))
    except CareMeshError as error:
        return error.code
    return ""


def logged(near: Near, event: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, near.log.getvalue().splitlines()) if line["event"] == event]


@pytest.mark.slow
@pytest.mark.promise("P7")
def test_followers_execute_what_the_operator_orders_and_come_to_the_same(near: Near) -> None:
    for name in ("operator", "first", "second"):
        near.start(name)
    until(lambda: same(near) and near.nodes["first"].status().height > 2)
    assert [isinstance(node.copy, Embedded) for node in near.nodes.values()] == [True, False, False]


@pytest.mark.slow
def test_what_was_submitted_through_a_follower_is_on_its_own_copy_when_the_answer_comes(near: Near) -> None:
    for name in ("operator", "first"):
        near.start(name)
    for _ in range(5):
        told, height = move(near, "first")
        assert near.nodes["first"].status().height >= height
        assert address(near, "first", "first") == told


@pytest.mark.slow
def test_without_its_own_copy_a_follower_does_not_answer(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("operator", "first"):
        near.start(name)
    until(lambda: same(near))
    monkeypatch.setattr("caremesh.node.node.ARRIVES_WITHIN_S", 0.3)
    follower = near.nodes["first"].follower
    assert follower is not None
    monkeypatch.setattr(type(follower._replica), "apply", lambda *_: time.sleep(0.5))
    with pytest.raises(Unavailable) as error:
        move(near, "first")
    assert error.value.code == "consensus.06"


@pytest.mark.slow
@pytest.mark.promise("P3")
def test_a_custodian_that_is_cut_off_refuses_and_resumes_by_itself(near: Near) -> None:
    for name in ("operator", "first", "second"):
        near.start(name)
    until(lambda: same(near) and near.nodes["first"].status().height)
    assert ask(near, "first") == "custodian.22"  # it decides, and this stream is not the asker's
    near.cut = {"first"}
    until(lambda: near.nodes["first"].follower.trouble)
    near.clock.advance(60)
    until(lambda: near.nodes["second"].age_s() < 5)
    assert ask(near, "second") == "custodian.22"
    assert ask(near, "first") == "custodian.01"
    assert not near.nodes["first"].checks()["fresh"]()
    near.cut = set()
    until(lambda: ask(near, "first") == "custodian.22")
    assert near.nodes["first"].checks()["fresh"]()
    assert logged(near, "not following")
    until(lambda: logged(near, "following again"))
    until(lambda: near.nodes["first"].follower.trouble is None)


@pytest.mark.slow
@pytest.mark.promise("P10")
def test_blocks_come_from_another_follower_when_the_operator_is_out_of_reach(near: Near) -> None:
    for name in ("operator", "first", "second"):
        near.start(name)
    until(lambda: same(near) and near.nodes["first"].status().height)
    apart = near.nodes["first"].ways
    near.nodes["first"].follower._sources = lambda: apart.sources()[1:]  # the operator's way is gone
    told, _ = move(near, "second")
    until(lambda: address(near, "first", "second") == told)


@pytest.mark.slow
@pytest.mark.promise("P6")
def test_a_source_that_forges_blocks_is_left_for_an_honest_one(near: Near) -> None:
    for name in ("operator", "first"):
        near.start(name)
    until(lambda: same(near) and near.nodes["first"].status().height)
    node = near.nodes["first"]
    honest = node.ways.sources()[0]

    class Forger:
        name = "forger"

        told = 0

        def blocks(self, start: int, wait_s: float) -> list[Any]:
            return [replace(block, txs=[b"forged"]) for block in honest.blocks(start, wait_s)]

    asked: list[str] = []

    def sources() -> list[Any]:
        asked.append("again")
        return [Forger(), honest]

    node.follower._sources = sources
    told, _ = move(near, "operator")
    until(lambda: address(near, "first", "operator") == told)
    until(lambda: len(asked) > 1)
    told, _ = move(near, "operator")  # the question that was under way went to the honest one: now ask anew
    until(lambda: address(near, "first", "operator") == told)
    until(lambda: any(line.get("code") == "consensus.07" for line in logged(near, "not following")))


@pytest.mark.slow
@pytest.mark.promise("P5")
def test_a_follower_that_was_stopped_goes_on_where_it_was(near: Near) -> None:
    for name in ("operator", "first"):
        near.start(name)
    until(lambda: same(near) and near.nodes["first"].status().height)
    near.stop("first")
    told, _ = move(near, "operator")
    near.start("first")
    until(lambda: address(near, "first", "operator") == told)
    until(lambda: same(near))


@pytest.mark.slow
def test_one_home_is_for_one_process(near: Near) -> None:
    near.start("operator")
    with pytest.raises(Refused) as error:
        near.start("operator")
    assert error.value.code == "node.03"


def test_a_home_without_a_network_is_told_what_to_do(tmp_path: Path) -> None:
    joining.begin(
        tmp_path / "first", chain="c", name="n", roles=["provider"], country="US", address="https://a.example:1"
    )
    with pytest.raises(Refused) as error:
        Near(tmp_path, SettableClock()).start("first")
    assert error.value.code == "node.13"


def test_how_far_a_source_is_comes_with_its_blocks() -> None:
    class Told:
        told = 7

        def blocks(self, start: int, wait_s: float) -> list[Any]:  # noqa: ARG002
            return []

    source = reaching._Source(lambda _: Told(), "did:caremesh:near:x")  # type: ignore[arg-type,return-value]
    assert source.told == 0
    source.blocks(1, 0.0)
    assert source.told == 7
