"""Beside a wallet's file: the network that it is of, fetched from whoever answers and believed by its hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import CareMeshError, Refused, StorageFailed, Tampered, Unavailable
from caremesh.ledger.forks import Fork
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.wallet.kept_network import KeptNetwork, beside, fetch, keep, keep_fork, load
from tests.support.network_file import network_file
from tests.support.serving import Served
from tests.support.serving import served as behind_a_door

AWAY = "https://127.0.0.1:9"
OTHER = "https://127.0.0.1:10"


@pytest.fixture
def door(mesh: LocalMesh, tmp_path: Path) -> Iterator[Served]:
    """The hospital's node."""
    with behind_a_door(mesh, "hospital", tmp_path) as running:
        yield running


@pytest.fixture
def kept(mesh: LocalMesh) -> KeptNetwork:
    hospital, practice = mesh.did("hospital"), mesh.did("practice")
    return KeptNetwork(file=network_file(mesh), relay=hospital, addresses={practice: OTHER, hospital: AWAY})


@pytest.fixture
def wallet(tmp_path: Path) -> Path:
    return tmp_path / "my.wallet"


def gives_out(door: Served, file: bytes) -> bytes:
    """Let a node answer with this network file. Its hash."""
    door.service.network_file = lambda: file  # type: ignore[method-assign]
    return sha256(file)


def met(kind: type[CareMeshError], work: Callable[[], object]) -> tuple[str, str]:
    """Code and place of an error of this kind."""
    with pytest.raises(kind) as caught:
        work()
    return caught.value.code, caught.value.place


# --- the file ---------------------------------------------------------------------------------------------


def test_it_is_kept_beside_the_wallet_for_its_owner_only(kept: KeptNetwork, wallet: Path) -> None:
    keep(wallet, kept)
    [path] = wallet.parent.iterdir()
    assert path == beside(wallet) == wallet.parent / "my.wallet.network"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == codec.encode(kept)
    plain = codec.decode(path.read_bytes())
    assert plain == {
        "kind": "caremesh/network", "file": kept.file, "relay": kept.relay, "addresses": kept.addresses
    }  # fmt: skip
    assert load(wallet) == kept


def test_what_is_kept_later_takes_the_place_of_what_was_kept(kept: KeptNetwork, wallet: Path) -> None:
    keep(wallet, kept)
    keep(wallet, replace(kept, addresses={}))
    assert load(wallet) == replace(kept, addresses={})
    assert [path.name for path in wallet.parent.iterdir()] == ["my.wallet.network"]


def test_of_two_wallets_in_a_folder_each_has_its_own(kept: KeptNetwork, wallet: Path) -> None:
    other = wallet.with_name("your.wallet")
    keep(wallet, kept)
    assert load(other) is None
    keep(other, replace(kept, relay="did:caremesh:other"))
    assert load(wallet) == kept


def test_a_disk_that_does_not_take_it_is_told_with_the_files_name(kept: KeptNetwork, tmp_path: Path) -> None:
    gone = tmp_path / "no-such-folder/my.wallet"
    assert met(StorageFailed, lambda: keep(gone, kept)) == ("storage.01", "my.wallet.network")


def test_a_wallet_with_nothing_beside_it_has_no_network(wallet: Path) -> None:
    wallet.write_bytes(b"a wallet")
    assert load(wallet) is None


@pytest.mark.promise("P6")
@pytest.mark.parametrize("how", ["cut", "more", "empty", "another kind", "a word too many", "a word too few"])
def test_a_file_that_is_not_such_a_file_is_refused_with_its_name(kept: KeptNetwork, wallet: Path, how: str) -> None:
    good = codec.encode(kept)
    plain = codec.decode(good)
    assert isinstance(plain, dict)
    bad = {
        "cut": good[:-1],
        "more": good + b"\0",
        "empty": b"",
        "another kind": codec.encode({**plain, "kind": "caremesh/other"}),
        "a word too many": codec.encode({**plain, "more": 1}),
        "a word too few": codec.encode({word: value for word, value in plain.items() if word != "relay"}),
    }
    beside(wallet).write_bytes(bad[how])
    assert met(Tampered, lambda: load(wallet)) == ("wallet.63", "my.wallet.network")


def test_what_cannot_be_read_is_refused_with_its_name(wallet: Path) -> None:
    beside(wallet).mkdir()
    assert met(Tampered, lambda: load(wallet)) == ("wallet.63", "my.wallet.network")


def test_it_is_the_network_with_its_hash_and_no_other(kept: KeptNetwork, mesh: LocalMesh) -> None:
    assert kept.has(sha256(kept.file))
    another = network_file(mesh, {"hospital": {"name": "Another"}})
    assert not kept.has(sha256(another))
    assert not replace(kept, file=another).has(sha256(kept.file))


# --- what shows a fork --------------------------------------------------------------------------------------


def test_a_fork_is_kept_beside_the_wallet_named_by_its_height_and_hash(mesh: LocalMesh, wallet: Path) -> None:
    for _ in range(3):
        mesh.tick()
    newest = mesh.engine.light_block().signed.content().height
    steps = [mesh.engine.light_block(newest - back) for back in (3, 2, 0)]
    fork = Fork(v=1, kind="fork", chain=mesh.chain, one=steps, other=[mesh.engine.light_block(newest - 1)])
    content = codec.encode(fork)
    path = keep_fork(wallet, fork)
    assert path == wallet.parent / f"fork-{newest}-{sha256(content).hex()[:16]}.fork"
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    again = keep_fork(wallet, replace(fork, other=steps))
    assert again != path, "another fork of the same height has a file of its own"
    assert path.read_bytes() == content
    gone = wallet.parent / "no-such-folder/my.wallet"
    assert met(StorageFailed, lambda: keep_fork(gone, fork)) == ("storage.01", path.name)


# --- the ways to it -----------------------------------------------------------------------------------------


def test_it_is_opened_with_its_relay_a_clock_and_the_addresses_that_it_keeps(door: Served, mesh: LocalMesh) -> None:
    hospital = mesh.did("hospital")
    file = network_file(mesh, {"hospital": {"endpoints": [AWAY]}})
    with KeptNetwork(file=file, relay=hospital, addresses={hospital: door.url}).open(mesh.clock) as network:
        assert (network.chain, network.relay, network.clock) == (CHAIN, hospital, mesh.clock)
        assert network.ask(hospital, lambda client: client.network_file()) == network_file(mesh)
    with (
        KeptNetwork(file=file, relay=hospital).open(mesh.clock) as network,
        pytest.raises(Unavailable, match=r"client\.02"),
    ):
        network.ask(hospital, lambda client: client.network_file())


@pytest.mark.promise("P6")
def test_a_broken_network_file_is_not_opened(kept: KeptNetwork, mesh: LocalMesh) -> None:
    for file in (b"", kept.file[:-1], codec.encode({"genesis": b"", "validators": []})):
        broken = replace(kept, file=file)
        assert met(Tampered, lambda broken=broken: broken.open(mesh.clock)) == ("wallet.63", "")  # type: ignore[misc]


# --- fetched ------------------------------------------------------------------------------------------------


def test_the_network_of_a_node_is_fetched_and_its_member_found_by_the_address(door: Served, mesh: LocalMesh) -> None:
    file = network_file(mesh, {"hospital": {"endpoints": [AWAY, door.url]}, "practice": {"endpoints": [AWAY]}})
    assert fetch(door.url, gives_out(door, file)) == KeptNetwork(file=file, relay=mesh.did("hospital"))


def test_a_member_that_is_named_may_have_another_address_than_the_file_says(door: Served, mesh: LocalMesh) -> None:
    hospital, practice = mesh.did("hospital"), mesh.did("practice")
    file = network_file(mesh, {"hospital": {"endpoints": [door.url]}, "practice": {"endpoints": [AWAY]}})
    digest = gives_out(door, file)
    moved = KeptNetwork(file=file, relay=practice, addresses={practice: door.url})
    assert fetch(door.url, digest, practice) == moved
    assert fetch(door.url, digest, hospital) == KeptNetwork(file=file, relay=hospital), "it is where the file says"


@pytest.mark.promise("P6")
def test_a_network_of_another_hash_is_not_believed_whoever_gives_it_out(door: Served, mesh: LocalMesh) -> None:
    file = network_file(mesh, {"hospital": {"endpoints": [door.url]}})
    digest = gives_out(door, file)
    for wrong in (network_file(mesh), file + b"\0", b""):
        gives_out(door, wrong)
        assert met(Tampered, lambda: fetch(door.url, digest)) == ("wallet.63", "")
    gives_out(door, b"no network")
    assert met(Tampered, lambda: fetch(door.url, sha256(b"no network"))) == ("wallet.63", "")


def test_an_address_that_is_not_one_founding_members_is_refused(door: Served, mesh: LocalMesh) -> None:
    nobodys = gives_out(door, network_file(mesh, {"hospital": {"endpoints": [AWAY]}}))
    refused = ("wallet.66", door.url)
    assert met(Refused, lambda: fetch(door.url, nobodys)) == refused
    assert met(Refused, lambda: fetch(door.url, nobodys, "did:caremesh:nobody")) == refused
    here = {"endpoints": [door.url]}
    of_two = gives_out(door, network_file(mesh, {"hospital": here, "practice": here}))
    assert met(Refused, lambda: fetch(door.url, of_two)) == refused
    assert fetch(door.url, of_two, mesh.did("practice")).relay == mesh.did("practice")


@pytest.mark.promise("P10")
def test_where_nobody_answers_it_is_said_where() -> None:
    assert met(Unavailable, lambda: fetch(AWAY, bytes(32))) == ("client.02", AWAY)
