"""A wallet's own blocks over the network: by links, of the members that hold the stream, checked by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.blobs.errors import OVER_QUOTA
from caremesh.blobs.interface import NOT_HELD
from caremesh.blobs.links import LIFE_S
from caremesh.blobs.placement import placed, preferred
from caremesh.codec import CID
from caremesh.consensus.interface import STOPPED
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused, Unavailable
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.testing.person import Person
from caremesh.types import Did
from caremesh.wallet.linked import PER_LINK
from caremesh.wallet.network import Network
from caremesh.wallet.proven import MAX_AGE_S, Fault
from caremesh.wallet.reseal import Blocks, Record, blocks_of
from tests.support.case import PASSPHRASE, Case
from tests.support.relayed import RelayedMesh, relayed
from tests.support.suspending import suspend

pytestmark = pytest.mark.slow
_numbers = count(1)
HOLDERS = ("hospital", "laboratory", "payer")
NO_SUCH_ROUTE = "api.14"


class Far(Case):
    """A person whose wallet comes by the network, with one segment of two conditions."""

    def __init__(self, network: Network, served: RelayedMesh, folder: Path) -> None:
        self.mesh = served.mesh
        self.clock = served.mesh.clock  # type: ignore[assignment]
        self.name = f"linked{next(_numbers)}"
        self.path = folder / f"{self.name}.wallet"
        self.network = network
        self.person, self.phrase = Person.create(network, self.path, PASSPHRASE)
        self.person.join(self.mesh.invite("hospital", self.name), categories=["conditions", "demographics"])
        self.doctor = self.mesh.member("practice").home.practitioner(CHAIN)
        self.add(1, 2)

    def own(self) -> list[str]:
        return sorted(record.id.rpartition("-")[2] for _, record in self.person.records("conditions"))

    def record(self, number: int) -> Record:
        return Record("Condition", f"{self.name}-c{number}")

    def order(self) -> list[Did]:
        """The holders of the stream, those first that are asked first for its blocks."""
        return preferred(self.stream, self.mesh.holders())

    def holding(self, cid: CID) -> set[str]:
        return {name for name in HOLDERS if self.stream in self.mesh.member(name).home.blocks.streams_of(cid)}

    def blocks(self, *data: bytes) -> dict[CID, bytes]:
        return {codec.cid_of_raw(each): each for each in data}


@pytest.fixture
def far(network: Network, served: RelayedMesh, tmp_path: Path) -> Far:
    return Far(network, served, tmp_path)


def name_of(far: Far, did: Did) -> str:
    return next(name for name in HOLDERS if far.did(name) == did)


@contextmanager
def replaced(owner: object, name: str, by: object) -> Iterator[None]:
    setattr(owner, name, by)
    try:
        yield
    finally:
        delattr(owner, name)


def test_own_records_a_new_epoch_and_a_dropped_record(far: Far, tmp_path: Path) -> None:
    shared = far.share()
    assert far.own() == ["c1", "c2"]
    far.person.new_epoch("conditions")
    assert far.own() == ["c1", "c2"]
    assert far.read(shared) == [1, 2], "what is shared stays shared"
    far.person.drop("conditions", 0, [far.record(1)])
    assert far.own() == ["c2"]
    assert far.read(shared) == [2]
    assert {fault.code for fault in far.network.faults} <= {NO_SUCH_ROUTE}, "members that hold no blocks"
    again = Person.restore(far.network, tmp_path / "again", PASSPHRASE, far.phrase)
    assert [record.id for _, record in again.records("conditions")] == [f"{far.name}-c2"]


def test_a_block_goes_to_as_many_members_as_the_network_wants_in_the_order_of_its_placement(far: Far) -> None:
    data = far.blocks(b"one", b"two")
    linked(far, data).put(data)
    for cid in data:
        assert far.holding(cid) == set(HOLDERS), "the practice and the regulator hold none: the next in order do"
    order = placed(far.stream, far.did("hospital"), [member.home.did for member in far.mesh.members.values()])
    last = max(order.index(far.did(name)) for name in HOLDERS)
    in_vain = set(order[:last]) - {far.did(name) for name in HOLDERS}
    assert {fault.node for fault in far.network.faults if fault.code == NO_SUCH_ROUTE} == in_vain


def test_the_source_of_a_stream_is_asked_to_hold_its_blocks_before_all_others(far: Far) -> None:
    order = preferred(far.stream, [member.home.did for member in far.mesh.members.values()])
    data, source = far.blocks(b"brought"), order[-1]
    taking = next(name for name in HOLDERS if far.did(name) != source)
    blocks = far.network.blocks_of(far.stream, source, far.located.keys.signing(0), list(data))
    with ExitStack() as stack:
        for name in HOLDERS:
            if name != taking:
                stack.enter_context(replaced(far.mesh.member(name).holder, "put_many", too_full))
        with pytest.raises(Unavailable, match=r"blobs\.08") as caught:
            blocks.put(data)
    asked = [line.rpartition(": ")[0] for line in caught.value.place.split("; ")]
    assert asked == [source, *(did for did in order[:-1] if did != far.did(taking))]


@pytest.mark.promise("P6")
def test_a_member_that_gives_another_block_is_named_and_the_next_is_asked(far: Far) -> None:
    liar = far.order()[0]
    store = far.mesh.holders()[liar]
    with replaced(store, "get", lambda _: b"something else"):
        assert far.own() == ["c1", "c2"]
    assert Fault(liar, "blobs.01") in far.network.faults


@pytest.mark.promise("P6")
def test_when_no_member_has_a_block_whole_all_are_named(far: Far) -> None:
    with ExitStack() as stack:
        for store in far.mesh.stores():
            stack.enter_context(replaced(store, "get", lambda _: b"something else"))
        with pytest.raises(Unavailable, match=r"blobs\.09") as caught:
            far.own()
    for did in far.order():
        assert f"{did}: blobs.01" in caught.value.place


@pytest.mark.promise("P10")
def test_a_member_that_lost_its_blocks_or_is_away_is_done_without(far: Far, served: RelayedMesh) -> None:
    first = far.order()[0]
    store = far.mesh.holders()[first]
    with replaced(store, "get", lost):
        assert far.own() == ["c1", "c2"]
    assert Fault(first, "blobs.02") in far.network.faults
    with served.network(away=name_of(far, first)) as lonely:
        person = Person.open(lonely, far.path, PASSPHRASE)
        assert len(person.records("conditions")) == 2
        away = [fault for fault in lonely.faults if fault == Fault(first, "client.02")]
        assert len(away) >= 2, "for each block it is known that it is away"


@pytest.mark.promise("P5")
def test_nothing_is_said_to_be_stored_with_fewer_copies_than_the_network_wants(far: Far) -> None:
    full = far.mesh.member("payer").holder
    asked: list[Did] = []

    def busy(member: Did, _: object) -> None:
        asked.append(member)
        raise Unavailable(STOPPED)

    for by, said in ((too_full, OVER_QUOTA), (busy, STOPPED)):
        with replaced(full, "put_many", by), pytest.raises(Unavailable, match=rf"blobs\.08.*{said.code}"):
            far.person.drop("conditions", 0, [far.record(1)])
    assert len(asked) == 1, "another holder is asked, and not the same one again"
    assert Fault(far.did("payer"), OVER_QUOTA.code) in far.network.faults
    assert [segment.version for segment in far.segments()] == [0]
    assert far.own() == ["c1", "c2"]
    far.person.drop("conditions", 0, [far.record(1)])
    assert far.own() == ["c2"]


@pytest.mark.promise("P2")
def test_only_the_streams_own_key_gets_links(far: Far) -> None:
    data = far.blocks(b"mine")
    linked(far, data).put(data)
    stranger = far.network.blocks_of(far.stream, far.did("hospital"), SigningKey.generate(), list(data))
    with pytest.raises(Unavailable, match=r"blobs\.09") as caught:
        stranger.get(*data)
    assert caught.value.place.count("api.05") == len(HOLDERS)
    with pytest.raises(CareMeshError, match=rf"api\.05|{NO_SUCH_ROUTE}"):
        stranger.put(data)


def test_who_holds_blocks_is_looked_at_anew_and_who_is_suspended_is_not_asked(tmp_path: Path) -> None:
    with (
        LocalMesh(tmp_path / "mesh", SettableClock()) as mesh,
        relayed(mesh, tmp_path) as doors,
        doors.network() as network,
    ):
        far = Far(network, doors, tmp_path)
        assert far.own() == ["c1", "c2"]
        suspend(mesh, "laboratory")
        far.clock.advance(MAX_AGE_S + 1)
        mesh.tick()
        data = far.blocks(b"new")
        with pytest.raises(Unavailable, match=r"blobs\.08") as caught:
            linked(far, data).put(data)
        assert far.did("laboratory") not in caught.value.place
        assert far.holding(*data) == {"hospital", "payer"}


def test_a_link_that_has_expired_is_asked_for_again(far: Far) -> None:
    data = far.blocks(b"first", b"second")
    blocks = linked(far, data)
    blocks.put(data)
    first, second = data
    assert blocks.get(first) == b"first"
    far.clock.advance(LIFE_S + 1)
    far.mesh.tick()
    asked = far.network.requests
    assert blocks.get(second) == b"second"
    assert far.network.requests - asked == 3, "in vain, a link, the block"


def test_more_blocks_than_a_link_may_name(far: Far) -> None:
    data = far.blocks(*(bytes([number]) for number in range(PER_LINK + 6)))
    blocks = linked(far, data)
    blocks.put(data)
    asked = far.network.requests
    assert [blocks.get(cid) for cid in data] == list(data.values())
    assert far.network.requests - asked <= len(data) + 2 + 2 * 2, "two links of each who is asked"


def linked(far: Far, data: dict[CID, bytes]) -> Blocks:
    return blocks_of(far.located, 0, list(data), far.network)


def lost(cid: CID) -> bytes:
    raise Unavailable(NOT_HELD, cid.encode())


def too_full(*_: object) -> None:
    raise Refused(OVER_QUOTA)
