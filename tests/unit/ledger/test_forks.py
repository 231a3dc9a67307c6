"""Two headers of one height are found by asking a second node, and shown to whoever trusts the founders."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger import forks
from caremesh.ledger.blocks import Validator
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import LightBlock, LightClient
from caremesh.types import Height
from tests.support.comet_headers import CHAIN, FOUR, KEYS, NOW, header, members, name_of, signed
from tools import comet_own

SILENT = Unavailable(forks.NO_FORK)
LATER = members(3, 4, 5, 6)
STRANGERS = members(6, 7, 8)
PERIOD_S = 1_000


class Node:
    """Shows headers of a chain; where it stands for itself, others."""

    def __init__(self, did: str, blocks: dict[Height, LightBlock], error: CareMeshError | None = None) -> None:
        self.did = did
        self._blocks = blocks
        self._error = error

    def light_block(self, height: Height | None = None) -> LightBlock:
        if self._error is not None:
            raise self._error
        return self._blocks[max(self._blocks) if height is None else height]


def block(height: int, *by: int, of: list[Validator] | None = None, **changes: object) -> LightBlock:
    validators = FOUR if of is None else of
    made: CometHeader = replace(header(height, validators), **changes)
    return signed(made, validators, *by)


def change(height: int) -> dict[Height, LightBlock]:
    """A chain whose set is another from a height on."""
    found = {number: block(number, 0, 1, 2) for number in range(1, height)}
    found[height - 1] = block(height - 1, 0, 1, 2, next_validators=name_of(LATER))
    return found | {number: block(number, 3, 4, 5, of=LATER) for number in range(height, height + 3)}


@pytest.fixture
def root() -> LightClient:
    return LightClient(CHAIN, FOUR, trusted_at=NOW, trust_period_s=PERIOD_S)


def compare(root: LightClient, shown: LightBlock, *witnesses: Node, now: int = NOW + 60) -> forks.Compared:
    return forks.compare(root, Node("primary", {shown.signed.content().height: shown}), shown, witnesses, now)


def test_who_agrees_who_is_silent_and_who_lies_is_told_apart(root: LightClient) -> None:
    shown = block(5, 0, 1, 2)
    again = block(5, 1, 2, 3)
    found = compare(
        root,
        shown,
        Node("away", {}, SILENT),
        Node("same", {5: again}),
        Node("few", {5: block(5, 0, 1, app_hash=b"1")}),
        Node("strangers", {height: block(height, 6, 7, 8, of=STRANGERS) for height in range(1, 6)}),
        Node("elsewhere", {5: block(4, 0, 1, 2)}),
    )
    assert found.agreed == ["same"]
    assert found.silent == [("away", "light.13")]
    assert found.lied == [("few", "light.01"), ("strangers", "light.02"), ("elsewhere", "light.08")]
    assert root.height == 0


@pytest.mark.promise("P4")
@pytest.mark.promise("P6")
def test_a_fork_is_found_and_shown(root: LightClient) -> None:
    one, other = block(5, 0, 1, 2), block(5, 1, 2, 3, app_hash=b"1")
    with pytest.raises(forks.Forked, match=r"light\.07") as caught:
        compare(root, one, Node("other", {5: other}))
    assert caught.value.place == "height 5"
    data = codec.encode(caught.value.fork)
    shown = forks.verify(forks.read(data), root, NOW + 60)
    assert shown.height == 5
    assert {shown.one, shown.other} == {one.signed.content().hash(), other.signed.content().hash()}
    assert shown.twice == sorted([KEYS[1].public, KEYS[2].public])
    assert (shown.same_round, shown.power, shown.total) == (True, 20, 40)
    assert shown.differs == ["app_hash"]
    assert root.height == 0
    assert pickle.loads(pickle.dumps(caught.value)).fork == caught.value.fork  # noqa: S301 - made a line above


@pytest.mark.promise("P4")
def test_a_fork_by_two_rounds_and_of_nothing_from_the_state(root: LightClient) -> None:
    one, other = block(5, 0, 1, 2), block(5, 0, 1, 2, round=1, txs=b"1" * 32)
    with pytest.raises(forks.Forked) as caught:
        compare(root, one, Node("other", {5: other}))
    shown = forks.verify(caught.value.fork, root, NOW + 60)
    assert (shown.same_round, shown.differs, len(shown.twice)) == (False, [], 3)


@pytest.mark.promise("P4")
def test_a_fork_after_the_set_has_changed_is_shown_from_the_founders(root: LightClient) -> None:
    chain = change(20)
    other = chain | {22: block(22, 4, 5, 6, of=LATER, app_hash=b"1")}
    primary, witness = Node("primary", chain), Node("witness", other)
    with pytest.raises(forks.Forked) as caught:
        forks.compare(root, primary, chain[22], [witness], NOW + 60)
    fork = caught.value.fork
    assert 1 < len(fork.one) < 10
    shown = forks.verify(forks.read(codec.encode(fork)), root, NOW + 60)
    assert shown.twice == sorted([KEYS[4].public, KEYS[5].public])
    assert shown.power == 20


def test_a_fork_for_which_the_first_node_gives_no_steps_is_one_still(root: LightClient) -> None:
    chain = change(20)
    witness = Node("witness", chain | {22: block(22, 4, 5, 6, of=LATER, app_hash=b"1")})
    with pytest.raises(Tampered, match=r"light\.07") as caught:
        forks.compare(root, Node("primary", {}, SILENT), chain[22], [witness], NOW + 60)
    assert not isinstance(caught.value, forks.Forked)


def test_when_trust_has_ended_another_header_cannot_be_judged(root: LightClient) -> None:
    one, other = block(5, 0, 1, 2), block(5, 1, 2, 3, app_hash=b"1")
    with pytest.raises(Refused, match=r"light\.03"):
        compare(root, one, Node("other", {5: other}), now=NOW + PERIOD_S + 1)
    assert compare(root, one, Node("same", {5: one}), now=NOW + PERIOD_S + 1).agreed == ["same"]


def test_a_client_that_is_at_the_height_already_names_the_fork(root: LightClient) -> None:
    root.verify(block(5, 0, 1, 2), NOW + 5)
    with pytest.raises(Tampered, match=r"light\.07"):
        compare(root, block(5, 0, 1, 2), Node("other", {5: block(5, 1, 2, 3, app_hash=b"1")}))


@pytest.mark.promise("P4")
def test_headers_of_the_embedded_engine_fork_alike() -> None:
    four = comet_own.members(0, 1, 2, 3)
    root = LightClient(comet_own.CHAIN, four, trusted_at=comet_own.START_S)
    one = comet_own.signed(5, four, (0, 1, 2), four)
    other = comet_own.signed(5, four, (1, 2, 3), comet_own.members(0, 1))
    with pytest.raises(forks.Forked) as caught:
        compare(root, one, Node("other", {5: other}), now=comet_own.START_S + 60)
    shown = forks.verify(caught.value.fork, root, comet_own.START_S + 60)
    assert (len(shown.twice), shown.same_round, shown.differs) == (2, True, ["next_validators"])


Bend = Callable[[forks.Fork], forks.Fork]
BENT: dict[str, tuple[str, Bend]] = {
    "the same header twice": ("light.13", lambda fork: replace(fork, other=fork.one)),
    "headers of two heights": ("light.13", lambda fork: replace(fork, other=[block(6, 0, 1, 2)])),
    "another chain's name": ("light.13", lambda fork: replace(fork, chain="other")),
    "too few signatures": ("light.01", lambda fork: replace(fork, other=[block(5, 0, 1, app_hash=b"1")])),
    "strangers": ("light.02", lambda fork: replace(fork, other=[block(5, 6, 7, 8, of=STRANGERS)])),
    "from the future": ("light.04", lambda fork: replace(fork, other=[block(5, 0, 1, 2, time=NOW + 900)])),
}


@pytest.mark.promise("P4")
@pytest.mark.parametrize("what", BENT)
def test_what_shows_no_fork_is_refused(root: LightClient, what: str) -> None:
    one, other = block(5, 0, 1, 2), block(5, 1, 2, 3, app_hash=b"1")
    fork = forks.Fork(v=1, kind="fork", chain=CHAIN, one=[one], other=[other])
    assert forks.verify(fork, root, NOW + 60).twice
    code, bend = BENT[what]
    with pytest.raises(CareMeshError) as caught:
        forks.verify(bend(fork), root, NOW + 60)
    assert caught.value.code == code


def test_what_is_no_file_of_a_fork() -> None:
    one = block(5, 0, 1, 2)
    good = codec.encode(forks.Fork(v=1, kind="fork", chain=CHAIN, one=[one], other=[one]))
    empty = codec.encode({**codec.decode(good), "one": []})
    for data in (b"", good[:-1], good + b"\0", empty, codec.encode({})):
        with pytest.raises(Tampered, match=r"light\.14"):
            forks.read(data)
