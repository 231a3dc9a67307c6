"""The network as a wallet reaches it, way by way: who is asked, under which name, at which address, how often."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.client.node import Node, Patience, Target
from caremesh.client.signing import Identity
from caremesh.client.wallet import WalletClient
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.contracts.network.queries import params_key
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.light import LightBlock
from caremesh.types import Height
from caremesh.wallet import network as ways
from caremesh.wallet.network import Network, read_network
from caremesh.wallet.proven import MAX_AGE_S
from tests.support.comet_headers import CHAIN as COMET
from tests.support.comet_headers import FOUR, header, signed
from tests.support.network_file import network_file
from tests.support.relayed import RelayedMesh

AWAY = "https://127.0.0.1:9"
ONCE = Patience(tries=1)
NAMES = {
    "hospital": {"name": "Clinic"},
    "laboratory": {"name": "Analyses"},
    "payer": {"name": "Clinic West"},
    "practice": {"name": "Clinic East"},
    "regulator": {"name": "Board"},
}


# --- what a network file says -----------------------------------------------------------------------------


@pytest.mark.promise("P6")
def test_a_key_that_is_written_as_text_is_no_key(served: RelayedMesh) -> None:
    mesh = served.mesh
    good = network_file(mesh)
    file, founders = read_network(good)
    assert [each.member for each in founders.members] == [each.home.did for each in mesh.members.values()]
    genesis = codec.decode(file.genesis)
    plain = codec.decode(good)
    plain["validators"][0]["key"] = base64.b64encode(plain["validators"][0]["key"]).decode()  # type: ignore[index,call-overload]
    with pytest.raises(Tampered, match=r"wallet\.63"):
        read_network(codec.encode(plain))
    genesis["members"][0]["key"] = base64.b64encode(genesis["members"][0]["key"]).decode()  # type: ignore[index,call-overload]
    with pytest.raises(Tampered, match=r"wallet\.63"):
        read_network(codec.encode(replace(file, genesis=codec.encode(genesis))))


def test_a_member_is_named_by_its_did_its_name_or_what_is_in_one_name_only(served: RelayedMesh) -> None:
    mesh = served.mesh
    with Network(network_file(mesh, NAMES), mesh.relay, mesh.clock) as network:
        for name in NAMES:
            assert network.did(mesh.did(name)) == mesh.did(name)
            assert network.name_of(mesh.did(name)) == NAMES[name]["name"]
        assert network.did("clinic") == mesh.did("hospital"), "its whole name, though others' names begin with it"
        assert network.did("clinic EAST") == network.did("east") == mesh.did("practice")
        for wrong in ("clinic ", "a", "nobody"):
            with pytest.raises(Refused, match=r"wallet\.13") as caught:
                network.did(wrong)
            assert caught.value.place == "Analyses, Board, Clinic, Clinic East, Clinic West"
        assert network.name_of("did:caremesh:nobody") == "did:caremesh:nobody"


# --- who is asked -----------------------------------------------------------------------------------------


@pytest.mark.promise("P10")
def test_the_first_that_answers_is_enough_and_when_nobody_does_the_last_is_named(served: RelayedMesh) -> None:
    mesh, file = served.mesh, network_file(served.mesh)
    dids = [member.home.did for member in mesh.members.values()]
    nowhere = dict.fromkeys(dids, AWAY)
    with Network(file, mesh.relay, mesh.clock, addresses=nowhere, patience=ONCE) as network:
        with pytest.raises(Unavailable, match=r"client\.02"):
            network.first(lambda client: client.network_file())
        assert network.requests == len(dids)
    one = nowhere | {mesh.did("payer"): served.doors["payer"].url}
    with Network(file, mesh.relay, mesh.clock, addresses=one, patience=ONCE) as network:
        assert network.first(lambda client: client.network_file()) == file
        assert 2 <= network.requests <= len(dids), "the relay is the first"


def test_what_is_asked_of_the_ledger_is_answered_with_its_proof(network: Network, served: RelayedMesh) -> None:
    engine = served.mesh.engine
    height = engine.status().height
    for key in (params_key(), b"no such key"):
        assert network.query(key, height) == engine.query(key, height)
    assert network.requests == 2
    with served.network(away="hospital", patience=ONCE) as lonely:
        assert lonely.query(params_key(), height) == engine.query(params_key(), height)
    with pytest.raises(BadInput, match=r"ledger\.11"):
        network.query(params_key(), height + 1)
    assert network.requests == 3, "what one refuses, no other is asked for"


@pytest.mark.promise("P4")
def test_a_block_that_comes_in_between_does_not_part_a_node_from_its_witness(
    network: Network, served: RelayedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = served.mesh.engine
    newest_of = engine.light_block

    def moving(height: Height | None = None) -> LightBlock:
        found = newest_of(height)
        if height is None:
            served.mesh.tick()
        return found

    monkeypatch.setattr(engine, "light_block", moving)
    before = engine.status().height
    assert network.subject_ledger().reader().height == before
    assert engine.status().height == before + 1
    assert network.requests == 2, "the relay for its newest header, one witness for that of the same height"


def test_before_its_first_transaction_a_wallet_reads_what_the_network_begins_with(
    served: RelayedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CometBFT's first header proves the state of height 0."""
    mesh, now = served.mesh, served.mesh.clock()
    founding = mesh.founding
    genesis = codec.encode(replace(founding.document, chain=COMET, time=now))
    file = codec.encode(replace(founding, genesis=genesis, validators=FOUR))
    first = signed(replace(header(1, FOUR), time=now), FOUR, 0, 1, 2)
    monkeypatch.setattr(mesh.engine, "light_block", lambda _=None: first)
    addresses = {mesh.relay: served.doors["hospital"].url}
    with Network(file, mesh.relay, mesh.clock, addresses=addresses) as network:
        assert network.subject_ledger().reader().height == 0
        assert network.light_block() == first


def test_who_has_headers_of_another_chain_is_asked_for_what_leads_there(
    served: RelayedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, asked = served.mesh, []
    first = mesh.engine.light_block()
    other = replace(first.signed.own(), chain=f"{first.signed.own().chain}.7")
    later = replace(first, signed=replace(first.signed, header=codec.encode(other)))
    monkeypatch.setattr(mesh.engine, "light_block", lambda _=None: later)

    async def none(_: WalletClient) -> None:
        asked.append("crossing")

    monkeypatch.setattr(WalletClient, "crossing", none)
    addresses = {mesh.relay: served.doors["hospital"].url}
    with (
        Network(network_file(mesh), mesh.relay, mesh.clock, addresses=addresses, patience=ONCE) as network,
        pytest.raises(CareMeshError) as caught,
    ):
        network.subject_ledger().reader()
    assert asked == ["crossing"]
    assert caught.value.code == "light.06"


# --- what is learned on the way ---------------------------------------------------------------------------


def test_who_was_admitted_later_or_moved_is_found_as_the_ledger_says(served: RelayedMesh) -> None:
    mesh, practice = served.mesh, served.mesh.did("practice")
    moved = SetEndpoints(member=practice, endpoints=[served.doors["practice"].url, AWAY])
    assert not mesh.send([mesh.member("practice").home.requester], moved).code
    addresses = {mesh.relay: served.doors["hospital"].url}
    later = network_file(mesh, without=["practice"])
    with Network(later, mesh.relay, mesh.clock, addresses=addresses, patience=ONCE) as network:
        assert network.name_of(practice) == practice
        assert network.ask(practice, lambda client: client.network_file()) == network_file(mesh)
        assert network.name_of(practice) == mesh.name_of(practice)
        assert network.did(mesh.name_of(practice)) == practice
    keys = replace(mesh.member("practice").home.admission().keys, node=SigningKey.generate().public)
    other = {"name": "As it was", "keys": keys, "endpoints": [AWAY]}
    former = network_file(mesh, {"practice": other})
    with Network(former, mesh.relay, mesh.clock, addresses=addresses, patience=ONCE) as network:
        assert network.did("as it was") == practice
        with pytest.raises(Unavailable, match=r"client\.02"):
            network.ask(practice, lambda client: client.network_file())
        reader = network.proven.reader()
        asked = network.requests
        network.meet(reader)
        assert network.requests - asked <= 3, "of all members together: bounds, elements, what they name"
        assert network.ask(practice, lambda client: client.network_file()) == network_file(mesh)
        assert network.name_of(practice) == mesh.name_of(practice)


def test_who_holds_blocks_is_known_for_as_long_as_an_act_may_rely_on_it(served: RelayedMesh) -> None:
    mesh = served.mesh
    mesh.tick()
    now = mesh.clock()
    addresses = {door.home.did: door.url for door in served.doors.values()}
    with Network(network_file(mesh), mesh.relay, lambda: now, addresses=addresses) as network:

        def requests() -> int:
            before = network.requests
            network.blocks_of(bytes(32), mesh.relay, SigningKey.generate(), [])
            return network.requests - before

        assert requests() > 0
        assert requests() == 0
        now += MAX_AGE_S
        assert requests() == 0
        mesh.clock.advance(MAX_AGE_S + 1)  # type: ignore[attr-defined]
        mesh.tick()
        now = mesh.clock()
        assert requests() > 0


def test_only_what_came_after_a_cursor_is_handed_out(network: Network, served: RelayedMesh) -> None:
    mesh, channel = served.mesh, SigningKey.generate()
    inbox = mesh.member("hospital").inbox
    inbox.leave(channel.public, b"one", mesh.did("practice"))
    first = network.messages(mesh.relay, channel)
    assert [each.sealed for each in first.messages] == [b"one"]
    inbox.leave(channel.public, b"two", mesh.did("practice"))
    assert [each.sealed for each in network.messages(mesh.relay, channel, first.cursor).messages] == [b"two"]
    assert [each.sealed for each in network.messages(mesh.relay, channel).messages] == [b"one", b"two"]


# --- what is believed and how nodes are reached -----------------------------------------------------------


@pytest.mark.promise("P6")
def test_who_has_a_network_file_may_come_back_after_any_time(served: RelayedMesh) -> None:
    """The hash of the file was handed over in person: its founders are trusted without end."""
    mesh = served.mesh
    mesh.tick()
    file, _ = read_network(network_file(mesh))
    genesis = codec.decode(file.genesis)
    assert isinstance(genesis, dict)
    old = codec.encode(replace(file, genesis=codec.encode(genesis | {"time": mesh.clock() - 50 * 365 * 86_400})))
    addresses = {mesh.relay: served.doors["hospital"].url}
    with Network(old, mesh.relay, mesh.clock, addresses=addresses) as network:
        assert network.light_block() == mesh.engine.light_block()


def test_who_is_no_member_is_refused_by_its_name(network: Network) -> None:
    with pytest.raises(Refused, match=r"wallet\.13") as caught:
        network.ask("did:caremesh:nobody", lambda client: client.network_file())
    assert caught.value.place == "did:caremesh:nobody"


def test_one_way_to_a_node_serves_until_it_has_moved(served: RelayedMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    class Counted(Node):
        def __init__(self, target: Target, identity: Callable[[], Identity], **others: Any) -> None:
            made.append((target.url, others["patience"].tries))
            super().__init__(target, identity, **others)

    monkeypatch.setattr(ways, "Node", Counted)
    mesh, practice = served.mesh, served.mesh.did("practice")
    hospital, home = served.doors["hospital"].url, served.doors["practice"].url
    moved = SetEndpoints(member=practice, endpoints=[home])
    assert not mesh.send([mesh.member("practice").home.requester], moved).code
    former = network_file(mesh, {"practice": {"endpoints": [AWAY]}})
    with Network(
        former, mesh.relay, mesh.clock, addresses={mesh.relay: hospital}, patience=Patience(tries=2)
    ) as network:
        for _ in range(3):
            network.ask(mesh.relay, lambda client: client.network_file())
            with pytest.raises(Unavailable, match=r"client\.02"):
                network.ask(practice, lambda client: client.network_file())
        assert made == [(hospital, 2), (AWAY, 2)]
        network.meet(network.proven.reader())
        for _ in range(3):
            network.ask(practice, lambda client: client.network_file())
        assert made == [(hospital, 2), (AWAY, 2), (home, 2)]
