"""Proofs of real keys that crowd a few buckets, at every kept height, against a model that is a dict per height."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.errors import Tampered
from caremesh.ledger import authenticated_map, trie
from caremesh.ledger import machine as machine_module
from caremesh.ledger.machine import Machine
from caremesh.ledger.proofs import MAX_SIBLINGS, Proof, check_proof, size_bytes
from caremesh.ledger.store import Read
from tests.support.blocks import block, crowding_keys, machine
from tests.support.kv import VALUES, Delete, Put, transaction

GROUPS = crowding_keys()
KEYS = [key for group in GROUPS[:3] for key in group]


def test_the_keys_crowd() -> None:
    digests = [sha256(VALUES.key(key)).digest() for key in GROUPS[0]]
    assert len({trie.bucket_of(digest) for digest in digests}) == 1
    assert len({trie.slot_of(digest) for digest in digests}) == 2


Model = list[tuple[bytes, dict[bytes, bytes]]]


def live(ledger: Machine, blocks: int) -> Model:
    """App hash and content of each height, after blocks that put and delete at random."""
    dice = random.Random(1)  # noqa: S311 - an example, not a secret
    content: dict[bytes, bytes] = {}
    model: Model = [(ledger.head.app_hash, {})]
    for number in range(blocks):
        changes: list[Put | Delete] = []
        for key in dice.sample(KEYS, 4):
            if key in content and dice.random() < 0.6:
                changes.append(Delete(key=key))
                del content[key]
            else:
                content[key] = b"%d" % number
                changes.append(Put(key=key, value=content[key]))
        model.append((block(ledger, transaction(*changes)).app_hash, dict(content)))
    return model


def check(ledger: Machine, model: Model, heights: range) -> None:
    for height in heights:
        app_hash, content = model[height]
        for key in KEYS:
            found, proof, at = ledger.prove(VALUES.key(key), height)
            assert at == height
            assert found == proof.value == (codec.encode(content[key]) if key in content else None)
            assert proof.verify(app_hash, VALUES.key(key)) == found


@pytest.mark.promise("P4")
@pytest.mark.parametrize("kept_from", [1, authenticated_map.KEPT_FROM])
def test_proofs_of_crowded_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_from: int) -> None:
    monkeypatch.setattr(authenticated_map, "KEPT_FROM", kept_from)
    ledger = machine(tmp_path)
    model = live(ledger, 12)
    check(ledger, model, range(13))
    ledger.store.close()
    again = machine(tmp_path)
    check(again, model, range(13))
    again.store.close()


def test_a_path_is_read_once_while_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight heights at a time: undo records are read once for each, and again only for what is new."""
    ledger = machine(tmp_path)
    live(ledger, 12)
    reads: list[int] = []
    undo = Read.undo

    def counting(read: Read, height: int) -> bytes | None:
        reads.append(height)
        return undo(read, height)

    monkeypatch.setattr(Read, "undo", counting)

    def read_for(*heights: int) -> list[list[int]]:
        found = []
        for height in heights:
            reads.clear()
            ledger.prove(VALUES.key(KEYS[0]), height)
            found.append(list(reads))
        return found

    assert read_for(12) == [[]]
    assert read_for(*range(11, 3, -1)) == [list(range(height + 1, 13)) for height in range(11, 3, -1)]
    assert read_for(*range(11, 3, -1)) == [[]] * 8
    assert read_for(12, 3) == [[], list(range(4, 13))]  # the ninth: 11 is the oldest that was asked for
    assert read_for(10, 11) == [[], [12]]
    assert read_for(9) == [list(range(10, 13))]
    block(ledger, transaction(Put(key=KEYS[0], value=b"new")))
    assert read_for(10, 10) == [[13], []]
    ledger.store.close()


def test_a_record_that_went_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the trie is in memory; elsewhere the proof that is made leads to no header."""
    monkeypatch.setattr(authenticated_map, "KEPT_FROM", 1)
    ledger = machine(tmp_path)
    block(ledger, transaction(Put(key=b"a", value=b"1")))
    key = VALUES.key(b"a")
    ledger.store.write(lambda txn: txn.delete(sha256(key).digest(), db=ledger.store._databases["state"]))
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        ledger.prove(key)
    assert caught.value.place == "state key kv/value/000161"
    ledger.store.close()


def test_a_neighbour_that_went_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticated_map, "KEPT_FROM", 1)
    ledger = machine(tmp_path)
    here, absent = GROUPS[0][:2]
    block(ledger, transaction(Put(key=here, value=b"1")))
    assert ledger.prove(VALUES.key(absent))[0] is None
    digest = sha256(VALUES.key(here)).digest()
    ledger.store.write(lambda txn: txn.delete(digest, db=ledger.store._databases["state"]))
    with pytest.raises(Tampered, match=r"ledger\.32") as caught:
        ledger.prove(VALUES.key(absent))
    assert caught.value.place == f"state record {digest.hex()}"
    ledger.store.close()


@pytest.mark.parametrize("bits", [17, 23])
def test_slots_that_are_named_by_other_bits_prove_the_same(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine chooses at its start how deep its map is, by how many keys there are; nobody else can tell."""
    machine(tmp_path / "few").store.close()
    shutil.copytree(tmp_path / "few", tmp_path / "many")
    asked: list[int] = []
    monkeypatch.setattr(machine_module, "bits_for", lambda keys: asked.append(keys) or bits)
    many = machine(tmp_path / "many")
    monkeypatch.undo()
    few = machine(tmp_path / "few")
    with few.store.read() as read:
        assert asked == [len(list(read.leaves()))]
    model: Model = [(few.head.app_hash, {})]
    for number in range(8):
        put = dict.fromkeys(KEYS[number % 3 :: 2], b"%d" % number)
        sent = transaction(*(Put(key=key, value=value) for key, value in put.items()))
        model.append((block(few, sent).app_hash, model[-1][1] | put))
        assert block(many, sent).app_hash == model[-1][0]
    for ledger in (few, many):
        check(ledger, model, range(len(model)))
        ledger.store.close()


def climb(leaf: bytes, key: bytes, siblings: list[bytes]) -> bytes:
    """The root over a leaf, by the definition: below depth 16 the buckets' nodes, above it the upper tree's."""
    number, node = int.from_bytes(sha256(key).digest(), "big"), leaf
    for depth, sibling in zip(range(len(siblings) - 1, -1, -1), siblings, strict=True):
        pair = sibling + node if number >> (255 - depth) & 1 else node + sibling
        node = sha256((b"\1" if depth >= 16 else b"\2") + pair).digest()
    return node


@pytest.mark.parametrize("depth", [16, 17, 24, MAX_SIBLINGS])
def test_a_path_may_be_as_long_as_a_digest_has_bits(depth: int) -> None:
    siblings = [sha256(b"%d" % at).digest() for at in range(depth)]
    leaf = sha256(b"\0" + sha256(b"key").digest() + sha256(b"value").digest()).digest()
    root = climb(leaf, b"key", siblings)
    proof = Proof(siblings=siblings, value=b"value")
    assert proof.verify(root, b"key") == check_proof(root, b"key", proof) == b"value"
    empty = Proof(siblings=siblings)
    assert empty.verify(climb(bytes(32), b"key", siblings), b"key") is None


@pytest.mark.parametrize("depth", [0, 15, MAX_SIBLINGS + 1])
def test_no_other_path_is_one(depth: int) -> None:
    siblings = [bytes(32)] * depth
    leaf = sha256(b"\0" + sha256(b"key").digest() + sha256(b"value").digest()).digest()
    root = climb(leaf, b"key", siblings) if depth <= MAX_SIBLINGS else bytes(32)
    with pytest.raises(Tampered, match=r"proof\.01"):
        Proof(siblings=siblings, value=b"value").verify(root, b"key")


SIXTEEN = [bytes(32)] * 16
LEAF = sha256(b"\0" + sha256(b"key").digest() + sha256(b"value").digest()).digest()
BESIDE = sha256(b"key").digest()[:2] + bytes(30)
OTHER = sha256(b"\0" + BESIDE + sha256(b"value").digest()).digest()

FORGED: list[tuple[bytes, Callable[[], Proof]]] = [
    (LEAF, lambda: Proof(siblings=SIXTEEN, value=b"value", other=[BESIDE, sha256(b"value").digest()])),
    (LEAF, lambda: Proof(siblings=SIXTEEN, other=[sha256(b"key").digest(), sha256(b"value").digest()])),
    (OTHER, lambda: Proof(siblings=SIXTEEN, other=[BESIDE])),
    (OTHER, lambda: Proof(siblings=SIXTEEN, other=[BESIDE, sha256(b"value").digest(), bytes(32)])),
]


@pytest.mark.parametrize(("leaf", "proof"), FORGED)
def test_what_contradicts_itself_proves_nothing(leaf: bytes, proof: Callable[[], Proof]) -> None:
    """Each leads to the root that it is checked against."""
    with pytest.raises(Tampered, match=r"proof\.01"):
        proof().verify(climb(leaf, b"key", SIXTEEN), b"key")


def test_another_leaf_proves_absence() -> None:
    proof = Proof(siblings=SIXTEEN, other=[BESIDE, sha256(b"value").digest()])
    assert proof.verify(climb(OTHER, b"key", SIXTEEN), b"key") is None


def test_the_size_of_a_proof_is_that_of_what_it_carries() -> None:
    assert size_bytes(Proof(siblings=SIXTEEN)) == 512
    assert size_bytes(Proof(siblings=SIXTEEN, value=b"12345")) == 517
    assert size_bytes(Proof(siblings=SIXTEEN, other=[bytes(32), bytes(32)])) == 576
