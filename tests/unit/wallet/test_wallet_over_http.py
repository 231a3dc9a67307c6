"""A wallet over the network: real servers over TLS, no copy of the ledger, the same person as in one process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.client import wire
from caremesh.client.node import Node
from caremesh.client.wallet import WalletClient
from caremesh.consensus.interface import Committed
from caremesh.contracts.consent import queries as consents
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.gateway.inquiring import Wish, inquire
from caremesh.node.founding import CHAIN
from caremesh.node.serving_wallets import tell
from caremesh.node.sponsoring import QUOTA_OF_ALL
from caremesh.sealing import certificate, custody
from caremesh.sealing import letter as letters
from caremesh.sealing.custody import ErasureConfirmation
from caremesh.testing.person import Person
from caremesh.wallet import state as states
from caremesh.wallet.network import Network, read_network
from caremesh.wallet.templates import period
from tests.support.case import PASSPHRASE, Case
from tests.support.relayed import RelayedMesh

pytestmark = pytest.mark.slow
_numbers = count(1)


class Far(Case):
    """A person whose wallet comes by the network."""

    def __init__(self, network: Network, served: RelayedMesh, folder: Path) -> None:
        self.mesh = served.mesh
        self.clock = served.mesh.clock  # type: ignore[assignment]
        self.name = f"far{next(_numbers)}"
        self.path = folder / f"{self.name}.wallet"
        self.network = network
        self.person, self.phrase = Person.create(network, self.path, PASSPHRASE)
        self.check = self.person.join(
            self.mesh.invite("hospital", self.name), categories=["conditions", "demographics", "laboratory"]
        )
        self.doctor = self.mesh.member("practice").home.practitioner(CHAIN)


@pytest.fixture
def far(network: Network, served: RelayedMesh, tmp_path: Path) -> Far:
    return Far(network, served, tmp_path)


def code(work: object, *arguments: object) -> str:
    with pytest.raises(CareMeshError) as caught:
        work(*arguments)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.promise("P2")
@pytest.mark.promise("P4")
def test_enrol_share_read_audit_revoke_restore(far: Far, tmp_path: Path) -> None:
    far.add(1, 2)
    [invited] = far.mesh.member("hospital").invitations.listed(far.name)
    assert invited.check == far.check
    shared = far.share()
    assert far.read(shared) == [1, 2]
    audit = far.person.audit()
    assert [(access.outcome, access.released) for access in audit.accesses] == [("permitted", "yes")]
    assert audit.is_complete
    assert not audit.findings
    far.person.revoke(shared.record.id)
    assert far.refusal(shared).startswith("access.")
    again = Person.restore(far.network, tmp_path / "again", PASSPHRASE, far.phrase)
    assert again.wallet.state.relationships[0].streams
    assert [each.id for each in again.wallet.state.shares] == [shared.record.id]
    assert again.wallet.state.relay == far.mesh.relay


def test_how_many_requests_an_act_takes(far: Far, tmp_path: Path) -> None:
    """What is asked grows with sources and transactions, not with what the ledger has of each stream."""
    far.add(1)

    def requests(act: object) -> int:
        before = far.network.requests
        act()  # type: ignore[operator]
        return far.network.requests - before

    shared = far.share()
    few = requests(far.person.audit)
    for _ in range(5):
        far.read(shared)
    assert requests(far.person.audit) <= few + 2, "elements of lists, and what they name"
    assert requests(lambda: far.share(categories=("laboratory",))) <= 36
    assert requests(lambda: far.person.revoke(shared.record.id)) <= 6, "two headers, two of proofs, sponsor, ledger"
    assert requests(lambda: far.person.destroyed(shared.record.id)) == 3
    assert requests(lambda: Person.restore(far.network, tmp_path / "r", PASSPHRASE, far.phrase)) <= 40


def test_words_wait_at_the_relay_that_the_wallet_chose(far: Far, served: RelayedMesh) -> None:
    far.add(1)
    far.person.wallet.choose_relay(far.did("payer"))
    far.share()
    practice = served.mesh.member("practice")
    mine = {located.stream.id for located in states.streams(far.wallet.state)}
    known = next(each for each in practice.gateway(served.mesh).shares() if each.streams[0].stream in mine)
    assert known.relay == far.did("payer")
    until, expires = period(far.clock(), 9)[1], period(far.clock(), 30)[1]
    _, sealed = inquire(
        CHAIN, practice.home.requester, practice.home.node_key, known, known.streams,
        Wish(["COC"], ["read"], until, expires, "To plan your care."), practice.ledger, far.clock(),
    )  # fmt: skip
    tell(practice, served.doors["practice"].leave, known.channel_key, sealed, known.relay)
    payer = served.mesh.member("payer").inbox
    assert len(payer.waiting(known.channel_key).messages) == 1
    channel = states.keys_of(far.wallet.state, far.did("practice")).channel().signing
    assert far.network.notices(far.did("payer"), channel) == payer.newest(known.channel_key)
    assert [request.text for request in far.person.requests()] == ["To plan your care."]
    assert payer.waiting(known.channel_key).messages == [], "taken, kept, acknowledged"
    assert [request.text for request in far.person.requests()] == ["To plan your care."]


def test_only_who_holds_the_channel_key_takes_its_messages(far: Far, served: RelayedMesh) -> None:
    channel = states.keys_of(far.wallet.state, far.did("hospital")).channel().signing
    inbox = served.mesh.member("hospital").inbox
    left = inbox.leave(channel.public, b"sealed", far.did("practice"))
    other = SigningKey.generate()
    relay = far.mesh.relay
    assert far.network.messages(relay, other).messages == []
    assert far.network.acknowledge(relay, other, [left]) == 0
    assert [each.id for each in far.network.messages(relay, channel).messages] == [left]
    assert far.network.acknowledge(relay, channel, [left]) == 1


def test_only_members_leave_messages_and_no_letter_goes_further_than_one_step(far: Far, served: RelayedMesh) -> None:
    channel = states.keys_of(far.wallet.state, far.did("hospital")).channel().signing
    assert code(far.network.ask, far.mesh.relay, lambda client: client.leave(channel.public, b"x")) == "api.05"
    portal = served.doors["hospital"].portal
    node: Node = portal.node(lambda: served.doors["hospital"].as_member("practice"))
    client = WalletClient(node)
    assert code(portal.call, lambda: client.letter(far.did("payer"), b"x")) == "api.60"


def test_a_sponsor_signs_for_the_key_that_asks(far: Far) -> None:
    far.add(1)
    real = far.network.sponsor()
    stranger = SigningKey.generate()
    seen: list[bytes] = []

    class Stolen:
        did = real.did

        def sponsor(self, tx_bytes: bytes, key: SigningKey) -> bytes:
            seen.append(key.public)
            return real.sponsor(tx_bytes, stranger)

    shared = far.share()
    assert code(far.wallet.revoke, shared.record.id, far.ledger, Stolen()) == "relay.31"
    assert seen
    far.person.revoke(shared.record.id)


@pytest.mark.promise("P1")
def test_what_belongs_to_one_act_comes_under_one_key_and_no_other_act_under_that(far: Far, served: RelayedMesh) -> None:
    """The relay's outbox counts subjects by it, and cannot tell that two acts are of the same one."""
    far.add(1)
    acts: list[list[bytes]] = []
    service = served.doors["hospital"].service
    submit = service.submit_batched

    def watched(subject: bytes, raw: bytes) -> Committed:
        acts[-1].append(subject)
        return submit(subject, raw)

    service.submit_batched = watched  # type: ignore[method-assign]
    try:
        for _ in range(2):
            acts.append([])
            shared = far.share(categories=("conditions", "laboratory"))
            far.person.revoke(shared.record.id)
    finally:
        del service.submit_batched
    assert all(len(keys) > 1 for keys in acts)
    one, two = map(set, acts)
    assert len(one) == len(two) == 1
    assert one != two


@pytest.mark.promise("P8")
def test_every_keeper_is_asked_whether_it_has_erased_a_segment(far: Far) -> None:
    far.add(1)
    far.add(2)
    made, found = far.person.erase("conditions", 0)
    assert found.faults == []
    shown = certificate.verify(made, far.mesh.light_client(), far.clock())
    assert (shown.missing, shown.unreadable) == ([], True)
    hospital = far.did("hospital")
    key = far.mesh.member("hospital").home.node_key.public
    answers = [custody.read_signed(data, hospital) for data in far.network.confirm_erased(hospital, far.stream, 0)]
    said = [
        custody.open_signed(custody.ERASURE_CONFIRMATION, each, ErasureConfirmation, key, hospital) for each in answers
    ]
    assert said
    assert {(each.member, each.stream, each.segment) for each in said} == {(hospital, far.stream, 0)}
    assert code(far.network.confirm_erased, hospital, far.stream, 1) == "custodian.23"


@pytest.mark.promise("P1")
def test_a_relay_learns_neither_what_a_letter_says_nor_what_came_of_it(far: Far, served: RelayedMesh) -> None:
    """The relay's own view: what it is handed, and what it hands back."""
    seen: list[bytes] = []
    door = served.doors["hospital"]
    carry = door.service.carry

    def watched(member: str, sealed: bytes) -> bytes:
        seen.append(sealed)
        seen.append(carry(member, sealed))
        return seen[-1]

    door.service.carry = watched  # type: ignore[method-assign]
    try:
        far.share()
        wrong = replace(served.mesh.invite("practice", "somebody"), code="z" * 16)
        assert code(far.person.join, wrong, 3, ["conditions"]) == "relay.20"
    finally:
        del door.service.carry
    assert len(seen) == 4
    assert len({len(each) for each in seen[0::2]}) == 1
    assert len({len(each) for each in seen[1::2]}) == 1, "success and refusal look alike"
    said = b"".join(seen)
    assert not any(word in said for word in (b"conditions", b"somebody", b"relay.20", far.wallet.state.seed))


def test_a_letter_that_was_changed_on_the_way_is_refused(far: Far, served: RelayedMesh) -> None:
    payer = served.mesh.member("payer").home
    posted = letters.write(payer.did, payer.hpke_public, "share", b"x")
    bent = posted.sealed[:-1] + bytes([posted.sealed[-1] ^ 1])
    assert code(far.network.send_letter, payer.did, bent) == "relay.02"
    with pytest.raises(Tampered, match="custody"):
        letters.outcome(posted, far.network.send_letter(payer.did, posted.sealed))


def test_a_wallet_believes_the_network_that_its_invitation_names(served: RelayedMesh, network: Network) -> None:
    file = network.ask(served.mesh.relay, lambda client: client.network_file())
    assert file == codec.encode(served.mesh.founding)
    invitation = served.mesh.invite("hospital", "whoever", again=True)
    _, founders = read_network(file, invitation.network)
    assert founders.chain == served.mesh.chain
    for given, digest in ((file + b"\0", invitation.network), (file, bytes(32)), (b"", None)):
        with pytest.raises(Tampered, match=r"wallet\.63"):
            read_network(given, digest)


@pytest.mark.promise("P3")
@pytest.mark.promise("P10")
def test_a_share_is_taken_back_by_way_of_any_member_when_the_relay_is_away(far: Far, served: RelayedMesh) -> None:
    far.add(1)
    shared = far.share()
    addresses = {door.home.did: door.url for door in served.doors.values()}
    addresses[far.mesh.relay] = "https://127.0.0.1:9"
    file = codec.encode(served.mesh.founding)
    with Network(file, far.mesh.relay, far.clock, addresses=addresses) as lonely:
        person = Person.open(lonely, far.path, PASSPHRASE)
        person.revoke(shared.record.id)
        assert person.destroyed(shared.record.id).confirmed == 3
    assert far.consent(shared).status == "revoked"


@pytest.mark.promise("P3")
def test_a_relay_that_does_not_want_to_holds_up_no_revocation(far: Far, served: RelayedMesh) -> None:
    far.add(1)
    shared = far.share()
    service = served.doors["hospital"].service

    def unwilling(*_: object) -> bytes:
        raise Refused(QUOTA_OF_ALL)

    service.sponsor = unwilling  # type: ignore[method-assign]
    try:
        far.person.revoke(shared.record.id)
        assert code(lambda: far.person.share("practice", ["laboratory"], days=3)) == "relay.33", (
            "nothing else goes round it"
        )
    finally:
        del service.sponsor
    assert far.consent(shared).status == "revoked"


@pytest.mark.promise("P10")
def test_reading_goes_on_when_the_relay_is_away(far: Far, served: RelayedMesh) -> None:
    far.add(1)
    addresses = {door.home.did: door.url for door in served.doors.values()}
    addresses[far.mesh.relay] = "https://127.0.0.1:9"
    file = codec.encode(served.mesh.founding)
    with Network(file, far.mesh.relay, far.clock, addresses=addresses) as lonely:
        reader = lonely.subject_ledger().reader()
        assert consents.of_stream(reader, far.stream) == []
        assert lonely.proven.faults[0].code == "client.02"


@pytest.mark.promise("P1")
def test_what_a_relay_logs_and_keeps_says_nothing_of_anyone(far: Far, served: RelayedMesh) -> None:
    far.add(1)
    shared = far.share()
    far.read(shared)
    far.person.requests()
    far.person.audit()
    far.person.revoke(shared.record.id)
    for each in (replace(far.mesh.invite("hospital", far.name, again=True), code="y" * 16),):
        code(far.person.join, each, 3, ["conditions"])
    streams = [stream.id for entry in far.wallet.state.relationships for stream in entry.streams]
    keys = [
        states.keys_of(far.wallet.state, far.did(name)).channel().signing.public for name in ("hospital", "practice")
    ]
    said = "".join(door.said.getvalue() for door in served.doors.values())
    assert "wallet.letter" in said, "it is logged that something was carried"
    forbidden = [far.name, "conditions", "Fever", far.check, *(item.hex() for item in (*streams, *keys))]
    forbidden += [wire.text_of(item) for item in (*streams, *keys)]
    assert [word for word in forbidden if word in said] == []


def test_notices_resume_where_they_were(far: Far, served: RelayedMesh) -> None:
    channel = states.keys_of(far.wallet.state, far.did("hospital")).channel().signing
    inbox, relay = served.mesh.member("hospital").inbox, far.mesh.relay
    inbox.leave(channel.public, b"one", far.did("practice"))
    first = far.network.notices(relay, channel)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(far.network.notices, relay, channel, first)
        inbox.leave(SigningKey.generate().public, b"for another", far.did("practice"))
        inbox.leave(channel.public, b"two", far.did("practice"))
        assert second.result(30) == inbox.newest(channel.public) > first
    assert code(far.network.notices, relay, channel, "not a cursor") == "api.17"


def test_a_person_without_a_relay_is_served_by_each_member_itself(far: Far, served: RelayedMesh) -> None:
    channel = states.keys_of(far.wallet.state, far.did("practice")).channel().signing
    practice = served.mesh.member("practice")
    tell(practice, served.doors["practice"].leave, channel.public, b"sealed", None)
    [left] = practice.inbox.waiting(channel.public).messages
    assert left.sealed == b"sealed"
