"""Never locked out: the phrase, and three members who keep what they cannot read, bring everything back."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Leave
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.node.index_keeper import IndexKeeper
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import custody
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import Did
from caremesh.wallet import index
from caremesh.wallet import state as states
from caremesh.wallet.change import Narrower
from caremesh.wallet.records import open_own, own_seals
from caremesh.wallet.reseal import Record
from caremesh.wallet.state import WalletState
from tests.support.case import Case
from tests.support.patient import SILENT
from tests.support.recipes import decrypted, hkdf, multikey, tagged


@pytest.fixture(scope="module")
def known(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Somebody whose state changes no more."""
    made = Case(mesh, tmp_path_factory.mktemp("known"))
    made.add(1)
    made.share()
    return made


class Lying:
    """The way to the keepers: what a member answers, by DID."""

    def __init__(self, mesh: LocalMesh, lies: dict[Did, Callable[[bytes | None], bytes | None]]) -> None:
        self.mesh = mesh
        self.lies = lies

    def put_index(self, member: Did, data: bytes) -> None:
        if member in self.lies:
            raise Unavailable(SILENT, member)
        self.mesh.put_index(member, data)

    def get_index(self, member: Did, locator: bytes) -> bytes | None:
        found = self.mesh.get_index(member, locator)
        return self.lies[member](found) if member in self.lies else found


def keepers(case: Case) -> list[Did]:
    return index.keepers(case.reader, index.locator(case.wallet.state.seed).public)[: index.KEEPERS]


def found(case: Case, lies: dict[Did, Callable[[bytes | None], bytes | None]] | None = None) -> index.Found:
    state = case.wallet.state
    return index.find(state.seed, state.chain, case.reader, Lying(case.mesh, lies or {}))


def away(_: bytes | None) -> bytes | None:
    raise Unavailable(SILENT)


def back(case: Case, folder: Path) -> Person:
    return Person.restore(case.mesh, folder / "again", "new passphrase", case.phrase)


def without_serials(state: WalletState) -> object:
    """A restored wallet signs with higher serials than the lost one may have: all else is as it was."""
    streams = [replace(s.stream, serial=0) for s in states.streams(state)]
    return streams, state.shares, state.pending, state.heard, state.seed


@pytest.mark.promise("P9")
def test_the_phrase_alone_brings_back_everything(case: Case, tmp_path: Path) -> None:
    first = case.share(categories=("conditions", "laboratory"))
    second = case.share(categories=("imaging",), days=9)
    case.person.narrow(first.record.id, Narrower(purposes=["TREAT"], existing=case.mesh.engine.status().height))
    case.person.extend(second.record.id, 20)
    case.person.new_epoch("conditions")
    case.person.drop("conditions", 0, [Record("Condition", f"{case.name}-c1")])
    case.person.erase("conditions", 1)
    case.add(4)
    restored = back(case, tmp_path)
    assert without_serials(restored.wallet.state) == without_serials(case.wallet.state)
    assert len(states.streams(restored.wallet.state)) == 5, "what was enrolled and never written to, too"
    assert [entry.id for entry in restored.wallet.state.shares] == [first.record.id, second.record.id]
    located = states.locate(restored.wallet.state, case.stream)
    seals = own_seals(case.reader, located, case.mesh, case.clock())
    opened = [record for segment in seals.segments for record in open_own(located, segment, case.block)]
    assert sorted(record.id for record in opened) == [f"{case.name}-c2", f"{case.name}-c4"]
    assert [[held.status for held in entry.consents] for entry in restored.shares()] == [["active"] * 2, ["active"]]
    assert restored.keep() == [], "what has changed by being restored is a version of its own"
    restored.new_epoch("conditions")
    restored.revoke(second.record.id)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("lie", ["away", "none", "older", "tampered", "another's", "resigned", "noise"])
def test_one_keeper_away_or_lying_changes_nothing(known: Case, number: int, lie: str) -> None:
    liar, newest = keepers(known)[number], known.wallet.state
    older = index.sealed(replace(newest, version=1, shares=[]))

    def tampered(data: bytes | None) -> bytes | None:
        signed = custody.read_signed(data or b"")
        return codec.encode(replace(signed, signature=bytes([signed.signature[0] ^ 1]) + signed.signature[1:]))

    def resigned(data: bytes | None) -> bytes | None:
        entry = index.read(data or b"")
        stranger = SigningKey.generate()
        forged = replace(entry, locator=stranger.public)
        return codec.encode(custody.sign_payload(index.INDEX, forged, stranger))

    lies: dict[str, tuple[Callable[[bytes | None], bytes | None], str]] = {
        "away": (away, "test.01"),
        "none": (lambda _: None, ""),
        "older": (lambda _: older, "wallet.41"),
        "tampered": (tampered, "custody.01"),
        "another's": (lambda _: index.sealed(replace(newest, seed=os.urandom(32))), "wallet.42"),
        "resigned": (resigned, "wallet.42"),
        "noise": (lambda _: b"noise", "custody.01"),
    }
    answer, code = lies[lie]
    seen = found(known, {liar: answer})
    assert seen.state == newest
    assert index.codes(seen.faults).get(liar, "") == code


@pytest.mark.promise("P9")
def test_two_keepers_away_and_one_left_is_enough_and_none_leaves_the_ledger(case: Case, tmp_path: Path) -> None:
    case.share()
    one, two, three = keepers(case)
    assert found(case, {one: away, two: lambda _: None}).state == case.wallet.state
    nobody = found(case, {one: away, two: away, three: away})
    assert (nobody.state, len(nobody.faults)) == (None, 3)
    for did in (one, two, three):
        name = f"wallet-index/{index.locator(case.wallet.state.seed).public.hex()}"
        case.mesh._by_did(did).home.vault.destroy([name])
    restored = back(case, tmp_path)
    assert {s.stream.category for s in states.streams(restored.wallet.state)} == {"conditions", "demographics"}
    assert [entry.items for entry in restored.wallet.state.shares] == [s.items for s in case.wallet.state.shares]


@pytest.mark.promise("P9")
def test_where_the_index_is_older_the_ledger_is_right(case: Case, tmp_path: Path) -> None:
    old = index.sealed(case.wallet.state)
    shared = case.share()
    case.person.new_epoch("conditions")
    for did in keepers(case):
        name = f"wallet-index/{index.locator(case.wallet.state.seed).public.hex()}"
        case.mesh._by_did(did).home.vault.put({name: old})
    restored = back(case, tmp_path)
    located = states.locate(restored.wallet.state, case.stream)
    assert (located.stream.epoch, [record.items for record in restored.wallet.state.shares]) == (
        1,
        [shared.record.items],
    )
    assert located.stream.serial > case.located.stream.serial
    restored.revoke(restored.wallet.state.shares[0].id)


def test_a_keeper_takes_newer_versions_of_their_owner_and_nothing_else(case: Case) -> None:
    keeper = IndexKeeper(case.mesh.member("payer").home.vault)
    name = index.locator(case.wallet.state.seed).public
    state = replace(case.wallet.state, version=100)
    words = states.Heard(offer=bytes(32), text="why")
    keeper.put(index.sealed(state))
    newer = index.sealed(replace(state, version=101))
    keeper.put(newer)
    keeper.put(newer)
    for refused in (index.sealed(state), index.sealed(replace(state, version=101, pending=[], heard=[words]))):
        with pytest.raises(Refused, match=r"wallet\.41"):
            keeper.put(refused)
    entry = index.read(newer)
    forged = custody.sign_payload(index.INDEX, replace(entry, version=102), SigningKey.generate())
    with pytest.raises(CareMeshError, match=r"custody\.02"):
        keeper.put(codec.encode(forged))
    with pytest.raises(CareMeshError, match=r"custody\.01"):
        keeper.put(b"")
    assert keeper.get(name) == newer
    assert keeper.get(SigningKey.generate().public) is None
    full = IndexKeeper(case.mesh.member("payer").home.vault, limit=0)
    full.put(index.sealed(replace(state, version=103)))
    with pytest.raises(Refused, match=r"node\.10"):
        full.put(index.sealed(replace(state, seed=os.urandom(32))))


@pytest.mark.promise("P1")
def test_a_keeper_reads_nothing(case: Case) -> None:
    case.share(categories=("conditions", "laboratory"))
    state = case.wallet.state
    data = index.sealed(state)
    for secret in (state.seed, case.stream, b"conditions", case.did("practice").encode(), state.shares[0].id):
        assert secret in codec.encode(state)
        assert secret not in data
    assert index.sealed(state) == data, "to leave it again is no change"
    other = index.read(index.sealed(replace(state, version=state.version + 1)))
    assert other.salt != index.read(data).salt, "no key encrypts two contents"
    noise = replace(state, heard=[states.Heard(offer=bytes(32), text=os.urandom(5_000_000).hex())])
    with pytest.raises(BadInput, match=r"wallet\.40"):
        index.sealed(noise)


def test_locator_salt_content_and_keepers_are_by_the_published_recipe(known: Case) -> None:
    state, domain = known.wallet.state, b"caremesh/v1/index"
    entry = index.read(index.sealed(state))
    assert entry.locator == multikey(hkdf(state.seed, domain, b"locator"))
    frame = decrypted(hkdf(state.seed, domain, b"content", entry.salt), entry.content, entry.locator)
    assert entry.salt == hkdf(state.seed, domain, b"salt", sha256(frame).digest())
    active = [member.did for member in members.members(known.reader) if member.status == "active"]
    for name in (entry.locator, SigningKey.from_seed(bytes(32)).public):
        by_hash = sorted(active, key=lambda did: tagged(b"caremesh/v1/index-keeper", name, did.encode()))
        assert index.keepers(known.reader, name) == by_hash


def test_an_entry_that_is_not_its_locators_is_named_an_index(known: Case) -> None:
    entry, stranger = index.read(index.sealed(known.wallet.state)), SigningKey.generate()
    wrong = {
        "custody.01": [b"", codec.encode(custody.sign_payload("another domain", entry, stranger))],
        "custody.02": [codec.encode(custody.sign_payload(index.INDEX, entry, stranger))],
    }
    for code, copies in wrong.items():
        for data in copies:
            with pytest.raises(Tampered) as caught:
                index.read(data)
            assert (caught.value.code, caught.value.place) == (code, "index")


def test_the_largest_index_is_taken_and_one_byte_more_is_not(known: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    state = known.wallet.state
    size = len(index.read(index.sealed(state)).content)
    monkeypatch.setattr(index, "MAX_INDEX_BYTES", size)
    assert len(index.read(index.sealed(state)).content) == size
    monkeypatch.setattr(index, "MAX_INDEX_BYTES", size - 1)
    with pytest.raises(BadInput, match=r"wallet\.40"):
        index.sealed(state)


def test_the_index_is_left_after_each_act_and_again_when_a_keeper_was_away(case: Case) -> None:
    case.share()
    for did in keepers(case):
        data = case.mesh.get_index(did, index.locator(case.wallet.state.seed).public)
        assert data is not None
        assert index.read(data).version == case.wallet.state.version
    one = keepers(case)[0]
    assert case.wallet.keep(case.reader, Lying(case.mesh, {one: away})) == [(one, "test.01")]
    assert case.wallet.keep(case.reader, case.mesh) == []
    assert case.person.keep() == []


@pytest.mark.promise("P9")
def test_when_a_keeper_leaves_the_mesh_another_takes_its_place(tmp_path: Path) -> None:
    with LocalMesh(tmp_path / "mesh", SettableClock()) as mesh:
        case = Case(mesh, tmp_path)
        case.add(1)
        before = keepers(case)
        leaver = next(did for did in before if did not in (case.did("regulator"), case.did("hospital")))
        home = mesh._by_did(leaver).home
        assert mesh.send([home.requester], Leave(member=leaver)).result.code == ""
        after = keepers(case)
        assert leaver not in after
        assert [did for did in before if did != leaver] == [did for did in after if did in before]
        assert found(case).state == case.wallet.state, "those that stayed have it"
        assert case.wallet.keep(case.reader, mesh) == []
        assert all(mesh.get_index(did, index.locator(case.wallet.state.seed).public) for did in after)
