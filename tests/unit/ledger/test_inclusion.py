"""The proof of what became of a transaction, on headers made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import Tampered
from caremesh.ledger import history
from caremesh.ledger.application import Event, Told
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.blocks import Header
from caremesh.ledger.inclusion import Entries, Inclusion, block_path, check_entries, check_inclusion, leaves_of
from caremesh.ledger.light import Answer
from caremesh.ledger.proofs import Proof
from caremesh.ledger.trie import BUCKET_BITS, leaf_hash
from tests.support.kv import Put, transaction

SIGNED = [transaction(Put(key=b"%d" % number, value=b"1")) for number in range(5)]
IDS = [bytes(codec.cid_of_cbor(codec.decode(raw)[0])) for raw in SIGNED]  # type: ignore[index]
CODES = ["", "", "kv.01", "", "kv.02"]
TOLD = [
    Told(tx, code, [] if code else [Event(type="kv/put", height=1, tx=tx, attributes={"index": 0})])
    for tx, code in zip(IDS, CODES, strict=True)
]
LEAVES = [told.leaf() for told in TOLD]
LOG, MADE = history.append(history.NO_LEAVES, LEAVES)


def proven(key: bytes, value: bytes) -> tuple[bytes, Answer]:
    """(root, proof) of a state that holds one key."""
    state, digest = AuthenticatedMap(), sha256(key)
    state.load([(digest, leaf_hash(digest, sha256(value)))])
    bucket = int.from_bytes(digest[:2], "big") >> (16 - BUCKET_BITS)
    return state.root, Answer(key, 1, Proof(siblings=state.flat.siblings(bucket, {}), value=value))


def header(app_hash: bytes) -> Header:
    return Header(
        chain="kv",
        height=1,
        time=1,
        previous=bytes(32),
        txs=history.tree_root(leaves_of(SIGNED, of_comet=False)),
        app_hash=app_hash,
        validators=bytes(32),
        next_validators=bytes(32),
    )


def inclusion(number: int, log: Answer) -> Inclusion:
    nodes = {(level, index): node for level, index, node in MADE}
    return Inclusion(
        height=1,
        code=CODES[number],
        events=TOLD[number].events,
        signed=SIGNED[number],
        position=number,
        count=len(SIGNED),
        block_path=block_path(SIGNED, number, of_comet=False),
        index=number,
        path=history.path(lambda level, index: nodes[level, index], number, len(SIGNED)),
        log=log,
    )


@pytest.mark.promise("P4")
@pytest.mark.parametrize("number", range(len(SIGNED)))
def test_each_of_a_block_is_proven(number: int) -> None:
    root, log = proven(history.STATE_KEY, codec.encode(LOG))
    check_inclusion(inclusion(number, log), IDS[number], header(root), header(root))


@pytest.mark.promise("P4")
def test_a_log_under_another_key_of_the_state_is_none() -> None:
    root, log = proven(b"someone/wrote/this", codec.encode(LOG))
    with pytest.raises(Tampered) as caught:
        check_inclusion(inclusion(2, log), IDS[2], header(root), header(root))
    assert caught.value.code == "light.16"


@pytest.mark.promise("P4")
def test_another_height_than_that_of_its_block_is_no_proof() -> None:
    root, log = proven(history.STATE_KEY, codec.encode(LOG))
    with pytest.raises(Tampered) as caught:
        check_inclusion(replace(inclusion(2, log), height=2), IDS[2], header(root), header(root))
    assert caught.value.code == "light.16"


@pytest.mark.promise("P4")
@pytest.mark.parametrize("value", [b"\xa0", b"\xff", b""], ids=["no log", "no value", "nothing"])
def test_what_is_no_log_is_no_proof(value: bytes) -> None:
    root, log = proven(history.STATE_KEY, value)
    with pytest.raises(Tampered) as caught:
        check_inclusion(inclusion(2, log), IDS[2], header(root), header(root))
    assert caught.value.code == "light.16"


def entries(start: int, end: int, log: Answer) -> Entries:
    nodes = {(level, index): node for level, index, node in MADE}
    beside = history.outside(lambda level, index: nodes[level, index], start, end, len(LEAVES))
    return Entries(1, start, TOLD[start:end], beside, log)


@pytest.mark.promise("P4")
def test_what_was_told_is_proven_all_together() -> None:
    root, log = proven(history.STATE_KEY, codec.encode(LOG))
    assert check_entries(entries(0, 5, log), header(root)) == 5
    assert check_entries(entries(1, 4, log), header(root)) == 5
    assert check_entries(Entries(1, 5, [], [], log), header(root)) == 5, "of nothing nothing is said but the length"


def _event(told: Told, **other: object) -> Told:
    return replace(told, events=[replace(told.events[0], **other)])


BENT = {
    "another event": lambda found: replace(found, told=[_event(found.told[0], type="kv/other"), *found.told[1:]]),
    "another attribute": lambda found: replace(
        found, told=[_event(found.told[0], attributes={"index": 1}), *found.told[1:]]
    ),
    "another height": lambda found: replace(found, told=[_event(found.told[0], height=2), *found.told[1:]]),
    "no event": lambda found: replace(found, told=[replace(found.told[0], events=[]), *found.told[1:]]),
    "an event twice": lambda found: replace(
        found, told=[replace(found.told[0], events=found.told[0].events * 2), *found.told[1:]]
    ),
    "another code": lambda found: replace(found, told=[replace(found.told[0], code="kv.01"), *found.told[1:]]),
    "another transaction": lambda found: replace(found, told=[replace(found.told[0], tx=IDS[0]), *found.told[1:]]),
    "one fewer": lambda found: replace(found, told=found.told[1:]),
    "elsewhere": lambda found: replace(found, start=0),
    "a log under another key": lambda found: replace(found, log=replace(found.log, key=b"kv/value/0")),
}


@pytest.mark.promise("P4")
@pytest.mark.parametrize("bend", BENT.values(), ids=BENT)
def test_what_was_not_told_like_that_is_not_proven(bend: Callable[[Entries], Entries]) -> None:
    root, log = proven(history.STATE_KEY, codec.encode(LOG))
    with pytest.raises(Tampered):
        check_entries(bend(entries(1, 4, log)), header(root))


@pytest.mark.promise("P4")
def test_entries_under_no_log_are_no_proof() -> None:
    root, log = proven(history.STATE_KEY, b"\xa0")
    with pytest.raises(Tampered) as caught:
        check_entries(entries(1, 4, log), header(root))
    assert caught.value.code == "light.16"
