"""Lists that are proven entry by entry: both bounds in one request, then 256 entries in each, whatever their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused, Tampered, Unavailable
from caremesh.ledger.blocks import HEADER_DOMAIN, HeaderSignature, validators_hash
from caremesh.ledger.light import Answer, LightBlock, LightClient
from caremesh.ledger.state import View
from caremesh.types import Height
from caremesh.wallet.proven import MAX_AGE_S, ProvenLedger, ProvenReader, bounds, elements
from tests.support.kv import CHAIN, LISTS, MEMBER, START_S, VALUES, DropFirst, Kv, engine, transaction

OWNER, OLDEST, COUNT = b"owner", 3, 600
BOUNDS = [LISTS.first_key(OWNER), LISTS.count_key(OWNER)]
BASE = LISTS.count_key(OWNER).removesuffix(b"/count")


def keys(begin: int, end: int) -> list[bytes]:
    return [LISTS.key(index, OWNER) for index in range(begin, end)]


class Long(Kv):
    """A ledger that begins with a long list."""

    def genesis(self, state: View, document: bytes) -> None:
        super().genesis(state, document)
        for index in range(COUNT):
            LISTS.append(state, b"%d" % index, OWNER)
        for item in (b"a", b"b", b"c"):
            LISTS.append(state, item, b"short")
        LISTS.drop_first(state, b"short")


class Noted:
    """A node that notes what it is asked."""

    did = "node"

    def __init__(self, made: Embedded) -> None:
        self.engine = made
        self.asked: list[list[bytes]] = []
        self.heights: list[Height | None] = []

    def light_block(self, height: Height | None = None) -> LightBlock:
        self.heights.append(height)
        return self.engine.light_block(height)

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        self.asked.append(list(keys))
        self.heights.append(height)
        return [self.engine.query(key, height) for key in keys]


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    made = engine(tmp_path_factory.mktemp("long"), Long([MEMBER]))
    try:
        for number in range(OLDEST):
            assert not made.submit(transaction(DropFirst(owner=OWNER), salt=b"%08d" % number)).result.code
        yield made
    finally:
        made.close()


@pytest.fixture
def node(long: Embedded) -> Noted:
    return Noted(long)


@pytest.fixture
def reader(node: Noted) -> ProvenReader:
    light = LightClient(CHAIN, node.engine.validators, trusted_at=START_S)
    return ProvenLedger(light, lambda: [node], lambda: START_S).reader()


def test_a_list_of_any_length_is_read_whole_in_few_requests(reader: ProvenReader, node: Noted) -> None:
    assert LISTS.items(reader, OWNER) == [b"%d" % index for index in range(OLDEST, COUNT)]
    pages = [keys(begin, min(begin + 256, COUNT)) for begin in range(OLDEST, COUNT, 256)]
    assert node.asked == [BOUNDS, *pages]
    assert reader.requests == 4


def test_of_a_short_list_what_has_gone_is_not_asked_for(reader: ProvenReader, node: Noted) -> None:
    assert LISTS.items(reader, b"short") == [b"b", b"c"]
    assert node.asked[1:] == [[LISTS.key(1, b"short"), LISTS.key(2, b"short")]]


def test_the_newest_of_a_list_come_together(reader: ProvenReader, node: Noted) -> None:
    assert LISTS.bounds(reader, OWNER) == (OLDEST, COUNT)
    for index in (COUNT - 1, COUNT - 256, COUNT - 2):
        assert LISTS.get(reader, index, OWNER) == b"%d" % index
    assert node.asked == [BOUNDS, keys(COUNT - 256, COUNT)]
    assert LISTS.get(reader, COUNT - 257, OWNER) == b"%d" % (COUNT - 257)
    assert node.asked[2:] == [keys(COUNT - 257, COUNT - 256)], "what is known is not asked for again"
    assert LISTS.get(reader, COUNT, OWNER) is None
    assert LISTS.get(reader, OLDEST - 1, OWNER) is None
    assert node.asked[3:] == [keys(COUNT, COUNT + 1), keys(OLDEST - 1, OLDEST + 255)]


def test_of_a_list_whose_bounds_are_not_known_one_entry_is_asked_for(reader: ProvenReader, node: Noted) -> None:
    assert elements(reader, BASE) == []
    assert LISTS.get(reader, 5, OWNER) == b"5"
    for known in BOUNDS:
        reader.fetch([known])
        asked = list(node.asked)
        assert elements(reader, BASE) == (keys(COUNT - 256, COUNT) if known == BOUNDS[1] else [])
        assert node.asked == asked, "nothing is asked for in passing"
    assert node.asked == [keys(5, 6), [BOUNDS[0]], [BOUNDS[1]]]


def test_the_bound_that_is_known_alone_says_nothing_of_the_list(reader: ProvenReader, node: Noted) -> None:
    reader.fetch([BOUNDS[1]])
    assert elements(reader, BASE) == []
    assert node.asked == [[BOUNDS[1]]]


def test_a_list_of_nobody_is_empty_and_what_is_no_list_is_asked_for_alone(reader: ProvenReader, node: Noted) -> None:
    assert LISTS.items(reader, b"nobody") == []
    assert VALUES.get(reader, b"genesis") is not None
    others = [LISTS.first_key(b"nobody"), LISTS.count_key(b"nobody")]
    assert node.asked == [others, [VALUES.key(b"genesis")]]
    assert bounds(BOUNDS[1]) == BOUNDS
    beside = BASE + b"-" + bytes(7) + b"\x05"
    LISTS.bounds(reader, OWNER)
    assert reader.get(beside) is None
    assert node.asked[2:] == [BOUNDS, [beside]]


@pytest.mark.parametrize("oldest", [OLDEST, COUNT - 1, COUNT])
def test_entries_from_one_on_are_256_at_most(reader: ProvenReader, oldest: int) -> None:
    reader.fetch(BOUNDS)
    assert elements(reader, BASE, oldest) == keys(oldest, min(oldest + 256, COUNT))


def test_who_has_asked_nothing_yet_believes_nothing_and_has_seen_no_fork(node: Noted) -> None:
    light = LightClient(CHAIN, node.engine.validators, trusted_at=START_S)
    fresh = ProvenLedger(light, lambda: [node], lambda: START_S)
    assert (fresh.block, fresh.fork, fresh.faults) == (None, None, [])
    fresh.reader()
    assert fresh.block == node.engine.light_block()
    assert fresh.fork is None


def test_a_header_is_acted_on_for_a_minute_and_by_who_has_seen_no_later_one(node: Noted) -> None:
    newest = node.engine.light_block().signed.content()
    now = newest.time + MAX_AGE_S

    def readers() -> ProvenLedger:
        light = LightClient(CHAIN, node.engine.validators, trusted_at=START_S)
        return ProvenLedger(light, lambda: [node], lambda: now)

    assert readers().reader(newest.proves).height == newest.proves
    with pytest.raises(Refused, match=r"wallet\.60") as caught:
        readers().reader(newest.proves + 1)
    assert caught.value.place == f"height {newest.height}"
    now += 1
    with pytest.raises(Refused, match=r"wallet\.60") as caught:
        readers().reader()
    assert caught.value.place == f"height {newest.height}"


def test_values_are_asked_for_at_the_height_of_the_reader(reader: ProvenReader, node: Noted) -> None:
    reader.fetch(BOUNDS)
    assert node.heights == [None, reader.height]


def test_who_answers_for_other_keys_is_named_and_where_nobody_is_asked_nobody_answered(
    reader: ProvenReader, node: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match=r"wallet\.62"):
        reader.fetch(BOUNDS, [])
    monkeypatch.setattr(node, "answers", lambda keys, height: [node.engine.query(b"other", height) for _ in keys])
    with pytest.raises(Tampered, match=r"wallet\.61") as caught:
        reader.fetch(BOUNDS)
    assert caught.value.place == "node"


def test_a_header_of_validators_that_are_not_known_is_followed_back_by_those_in_between(node: Noted) -> None:
    """A stranger's header of height 3: the node is asked for 1 and 2, after which nobody has named the stranger."""
    block, stranger = node.engine.light_block(3), SigningKey.generate()
    own = [replace(block.validators[0], key=stranger.public)]
    data = codec.encode(replace(block.signed.content(), validators=validators_hash(own)))
    signature = HeaderSignature(key=stranger.public, signature=stranger.sign(HEADER_DOMAIN + data))
    forged = LightBlock(replace(block.signed, header=data, signatures=[signature]), own)

    class Forging(Noted):
        def light_block(self, height: Height | None = None) -> LightBlock:
            found = super().light_block(height)
            return forged if height is None else found

    forging = Forging(node.engine)
    light = LightClient(CHAIN, node.engine.validators, trusted_at=START_S)
    with pytest.raises(Tampered, match=r"light\.02"):
        ProvenLedger(light, lambda: [forging], lambda: START_S).reader()
    assert forging.heights == [None, 1, 2]
