"""Every field of every object from outside, bent in every way: a coded refusal that names the object, never a crash.

The bent object is signed, and sealed, by the one who may sign it: what is tried are the checks of the content, not the
signature. Where a bent field makes another valid object (another text for people, another nonce of one's own), that is
said in ``free``; everything else must be refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import PERMIT_DOMAIN
from caremesh.crypto import envelope
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import Seal, check_fragment, open_original
from caremesh.errors import BadInput, CareMeshError
from caremesh.gateway import gather
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import certificate, channel, custody, inquiry
from caremesh.sealing.channel import hear_profile, hear_share
from caremesh.sealing.descriptor import read_descriptor, read_manifest
from caremesh.testing.clock import SettableClock
from caremesh.wallet import index
from caremesh.wallet import state as states
from caremesh.wallet.logs import own_log, read_log
from caremesh.wallet.phrase import seed_of
from caremesh.wallet.records import own_seals
from caremesh.wallet.state import read_state
from caremesh.wallet.store import WalletFile
from tests.support.bending import bent
from tests.support.case import PASSPHRASE, Case

pytestmark = [pytest.mark.slow, pytest.mark.promise("P6")]


SIZE = "descriptor last bit"
"""That of its size class: another descriptor, which nobody will register."""


class Object(NamedTuple):
    """``good``: its plain value; ``read``: what takes its encoding; ``areas``: whose codes may refuse it; ``free``:
    fields that may be other valid ones, by a name of their path, or with the way in which they may; ``*``: any."""

    good: Any
    read: Callable[[bytes], object]
    areas: tuple[str, ...]
    free: tuple[object, ...] = ()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("fields")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        made = Case(mesh, folder)
        made.add(1, 2)
        made.shared = made.share()  # type: ignore[attr-defined]
        made.read(made.shared)  # type: ignore[attr-defined]
        made.deposit = kept(made)  # type: ignore[attr-defined]
        yield made


def signed(domain: str, payload: bytes, key: SigningKey) -> bytes:
    signature = key.sign(domain.encode() + b"\0" + payload)
    return codec.encode(custody.Signed(payload=payload, key=key.public, signature=signature))


def plain(value: Any) -> Any:
    return codec.decode(codec.encode(value))


# --- the objects ------------------------------------------------------------------------------------------------------


def profile(case: Case) -> Object:
    home = case.mesh.member("hospital").home
    keys = states.keys_of(case.wallet.state, home.did).channel()
    sealed = case.wallet.profile(home.did, case.reader)
    good = hear_profile(CHAIN, home.did, home.hpke_private, sealed)
    domain = channel.SEALING_PROFILE

    def read(data: bytes) -> object:
        message = envelope.hpke_seal(
            home.hpke_public, signed(domain, data, keys.signing), domain.encode(), home.did.encode()
        )
        return hear_profile(CHAIN, home.did, home.hpke_private, message)

    return Object(plain(good), read, ("custody",), ("category", "channel_hpke", "entries", "relay null"))


def share(case: Case) -> Object:
    home = case.mesh.member("practice").home
    keys = states.keys_of(case.wallet.state, home.did).channel()
    good = case.mesh.member("practice").gateway(case.mesh).shares()[-1]

    def read(data: bytes) -> object:
        message = envelope.hpke_seal(
            home.hpke_public, signed(channel.SHARE, data, keys.signing), channel.SHARE.encode(), home.did.encode()
        )
        return hear_share(CHAIN, home.did, home.hpke_private, message)

    return Object(
        plain(good),
        read,
        ("custody",),
        ("id", "category", "stream", "consent", "subject", "channel_hpke", "streams reversed", "relay null"),
    )


def permit(case: Case) -> Object:
    """As a custodian meets it, with a seal; signed by the stream's key."""
    deposit = plain_deposit(case)
    node = case.mesh.member("hospital").home.node_key
    key = case.located.keys.signing(0)

    def read(data: bytes) -> object:
        changed = deposit | {"permit": data, "permit_signature": key.sign(PERMIT_DOMAIN + data)}
        raw = signed(custody.SEAL_DEPOSIT, codec.encode(changed), node)
        return case.mesh.member("payer").custodian.deposit_seal(raw)

    free = ("until", "serial", "max_segments", "threshold", "epoch", "reading_key", "chain", "custodians", "rotation")
    return Object(codec.decode(deposit["permit"]), read, ("custodian", "custody", "signatures"), free)


def kept(case: Case) -> dict[str, Any]:
    """What a custodian keeps of the first segment's seal."""
    descriptor = case.segments()[0].descriptor
    assert descriptor is not None
    stored = case.mesh.member("payer").home.vault.get(f"seal/{case.stream.hex()}/{descriptor.encode()}")
    found: dict[str, Any] = codec.decode(stored or b"")["deposit"]
    return found


def plain_deposit(case: Case) -> dict[str, Any]:
    """The same, as the source deposited it."""
    found: dict[str, Any] = case.deposit  # type: ignore[attr-defined]
    return found


def seal_deposit(case: Case) -> Object:
    node = case.mesh.member("hospital").home.node_key

    def read(data: bytes) -> object:
        return case.mesh.member("payer").custodian.deposit_seal(signed(custody.SEAL_DEPOSIT, data, node))

    return Object(plain_deposit(case), read, ("custodian", "custody", "signatures", "sealing"), (SIZE,))


def reseal_deposit(case: Case) -> Object:
    home = case.mesh.member("payer").home
    held = plain_deposit(case)
    good = {"stream": case.stream, "custodian": home.did, "descriptor": held["descriptor"], "seal": held["seal"]}
    domain = custody.RESEAL_DEPOSIT

    def read(data: bytes) -> object:
        raw = signed(domain, data, case.located.keys.signing(0))
        message = envelope.hpke_seal(home.hpke_public, raw, domain.encode(), home.did.encode())
        return case.mesh.member("payer").custodian.deposit_reseal(message)

    return Object(good, read, ("custodian", "custody", "sealing"), (SIZE,))


def fragment_deposit(case: Case) -> Object:
    home = case.mesh.member("payer").home
    name, *_ = home.vault.names(f"fragment/{case.shared.record.items[0].consent.hex()}/")  # type: ignore[attr-defined]
    good = codec.decode(home.vault.get(name) or b"")["deposit"]
    domain = custody.FRAGMENT_DEPOSIT

    def read(data: bytes) -> object:
        raw = signed(domain, data, case.located.keys.signing(0))
        message = envelope.hpke_seal(home.hpke_public, raw, domain.encode(), home.did.encode())
        return case.mesh.member("payer").custodian.deposit_fragment(message)

    return Object(good, read, ("custodian", "custody", "reencryption"), ("consent", "epoch"))


class Parts(msgspec.Struct):
    """A fragment and its keys."""

    fragment: bytes
    verifying: bytes
    delegating: bytes
    receiving: bytes


def fragment(case: Case) -> Object:
    """The fragment itself, and the keys that it is for."""
    deposit = fragment_deposit(case).good
    good = {name: deposit[name] for name in ("fragment", "verifying", "delegating", "receiving")}

    def read(data: bytes) -> object:
        parts = codec.decode_as(data, Parts)
        return check_fragment(parts.fragment, parts.verifying, parts.delegating, parts.receiving)

    return Object(good, read, ("reencryption", "codec"))


def release_request(case: Case) -> Object:
    receipt = case.ask(case.shared.record.items[0].consent)  # type: ignore[attr-defined]
    me = case.mesh.member("payer").custodian
    [segment] = case.segments()
    good = {
        "receipt": receipt.id, "stream": case.stream, "descriptors": [segment.descriptor], "custodian": me.did,
        "nonce": bytes(16), "at": case.clock(),
    }  # fmt: skip

    def read(data: bytes) -> object:
        me._answered.clear()
        return me.release(signed(custody.RELEASE_REQUEST, data, case.doctor.key))

    return Object(good, read, ("custodian", "custody"), ("nonce", "at", "descriptors"))


def stream_request(case: Case) -> Object:
    me = case.mesh.member("payer").custodian
    good = {"stream": case.stream, "custodian": me.did, "nonce": bytes(16), "at": case.clock()}

    def read(data: bytes) -> object:
        me._answered.clear()
        me.seals(signed(custody.SEAL_REQUEST, data, case.located.keys.signing(0)))
        me._answered.clear()
        return me.stream_log(signed(custody.LOG_REQUEST, data, case.located.keys.signing(0)))

    return Object(good, read, ("custodian", "custody"), ("nonce", "at"))


def seal_answer(case: Case) -> Object:
    """As the wallet meets it: it takes nothing that is not the ledger's."""
    home = case.mesh.member("payer").home

    class Keeper:
        data: bytes = b""

        def own_seals(self, custodian: str, request: bytes) -> bytes:  # noqa: ARG002
            asked = codec.decode(custody.read_signed(request).payload)
            value = codec.decode(self.data)
            if isinstance(value, dict) and value.get("nonce") == bytes(16):
                value["nonce"] = asked["nonce"]
            return signed(custody.SEAL_ANSWER, codec.encode(value), home.node_key)

    keeper = Keeper()

    def read(data: bytes) -> object:
        keeper.data = data
        found = own_seals(case.reader, case.located, keeper, case.clock())
        assert all(code.split(".")[0] in {"custody", "wallet", "sealing"} for _, code in found.faults)
        return found

    held = plain_deposit(case)
    seals = [{"descriptor": held["descriptor"], "seal": held["seal"]}]
    good = {"stream": case.stream, "custodian": home.did, "nonce": bytes(16), "seals": seals}
    return Object(good, read, ("wallet",), ("seals",))


def log_answer(case: Case) -> Object:
    """As the wallet reads it from a file: whether its entries hold together is for the audit to say."""
    home = case.mesh.member("payer").home
    case.mesh.anchor_logs()
    said = own_log(case.reader, case.located, home.did, case.mesh, case.clock()).signed
    assert said is not None

    def read(data: bytes) -> object:
        raw = codec.decode_as(signed(custody.LOG_ANSWER, data, home.node_key), custody.Signed)
        found = case.wallet.audit(case.reader, [read_log(case.reader, raw)])
        assert found.findings, "one log of three is not everything"
        return found

    return Object(codec.decode(said.payload), read, ("custody", "wallet"), ("*",))


def descriptor(case: Case) -> Object:
    good = codec.decode(plain_deposit(case)["descriptor"])
    free = ("stream", "source", "seal", "commitment", "manifest", "blocks", "size_class", 0, 1)
    return Object(good, read_descriptor, ("sealing",), free)


def manifest(_: Case) -> Object:
    """JSON, so its own spelling; a reader walks it against the blocks, which the tests of segments try."""
    entry = ["application/fhir+json", "Condition", "c1", "", "", [[0, 0, 300]]]

    def read(data: bytes) -> object:
        value = codec.decode(data)
        return read_manifest(msgspec.json.encode(value), "manifest")

    return Object({"v": 1, "records": [entry, entry]}, read, ("sealing", "codec"), ("*",))


def seal(case: Case) -> Object:
    kept = plain_deposit(case)["seal"]
    key = case.located.keys.reading(0)

    def read(data: bytes) -> object:
        return open_original(key, codec.decode_as(data, Seal))

    return Object(kept, read, ("reencryption", "codec"))


def wallet_state(case: Case) -> Object:
    def read(data: bytes) -> object:
        return read_state(data, "wallet")

    return Object(plain(case.wallet.state), read, ("wallet",), ("*",))


def index_entry(case: Case) -> Object:
    state = case.wallet.state
    key = index.locator(state.seed)
    good = index.read(index.sealed(state))

    class Keeper:
        data: bytes = b""

        def get_index(self, member: str, locator: bytes) -> bytes:  # noqa: ARG002
            return signed(index.INDEX, self.data, key)

        def put_index(self, member: str, data: bytes) -> None:
            raise AssertionError(member, data)

    keeper = Keeper()

    def read(data: bytes) -> object:
        keeper.data = data
        found = index.find(state.seed, state.chain, case.reader, keeper)
        assert (found.state is None) == bool(found.faults)
        if found.faults:
            assert {code.split(".")[0] for _, code in found.faults} <= {"wallet", "custody"}
            raise CareMeshError(index.INDEX_CHANGED, "index")
        return found

    return Object(plain(good), read, ("wallet",))


def words_of_a_request(case: Case) -> Object:
    home = case.mesh.member("practice").home
    keys = states.keys_of(case.wallet.state, home.did).channel()
    good = {
        "chain": CHAIN, "member": home.did, "channel_key": keys.signing.public, "text": "Why",
        "asked": [{"offer": bytes(32), "stream": case.stream, "salt": bytes(16)}],
    }  # fmt: skip

    def read(data: bytes) -> object:
        raw = signed(inquiry.INQUIRY, data, home.node_key)
        domain = inquiry.INQUIRY.encode()
        case.wallet.hear(envelope.hpke_seal(keys.hpke_public, raw, domain, keys.signing.public), case.reader)
        raise AssertionError("there is no such offer")

    return Object(good, read, ("custody", "wallet"))


def release(case: Case) -> Object:
    """As the recipient meets it: nothing is opened with it, and its maker is named."""
    payer, practice = case.mesh.member("payer"), case.mesh.member("practice").home
    receipt = case.ask(case.shared.record.items[0].consent)  # type: ignore[attr-defined]
    segment, consent = case.segments()[0], consents.consent(case.reader, receipt.consent)
    stream = streams.stream(case.reader, case.stream)
    assert consent is not None
    assert stream is not None
    assert segment.descriptor is not None
    request = custody.ReleaseRequest(
        receipt=receipt.id,
        stream=case.stream,
        descriptors=[segment.descriptor],
        custodian=payer.home.did,
        nonce=os.urandom(16),
        at=case.clock(),
    )
    asked = signed(custody.RELEASE_REQUEST, codec.encode(request), case.doctor.key)
    [good] = payer.custodian.release(asked)
    wanted = gather.Wanted(receipt, consent, stream, [segment])

    def read(data: bytes) -> object:
        answer = signed(custody.RELEASE, data, payer.home.node_key)
        found = gather._checked(wanted, payer.home.did, practice.receiving, [answer], case.reader)
        if isinstance(found, gather.Fault):
            assert found.error.place == found.custodian == payer.home.did
            raise found.error
        return found

    plain_good = codec.decode(custody.read_signed(good).payload)
    return Object(plain_good, read, ("custody", "gateway", "reencryption"), ("at", "log"))


OBJECTS = (
    release,
    profile, share, permit, seal_deposit, reseal_deposit, fragment_deposit, fragment, release_request, stream_request,
    seal_answer, log_answer, descriptor, manifest, seal, wallet_state, index_entry, words_of_a_request,
)  # fmt: skip


def spelled(other: Any) -> bytes | None:
    """The encoding of a bent value, when there is one."""
    try:
        return codec.encode(other)
    except (TypeError, ValueError, OverflowError):
        return None


def refusal(read: Callable[[bytes], object], data: bytes, areas: tuple[str, ...]) -> str:
    """The code with which these bytes are refused; "" when they are read. Anything else but a coded error fails."""
    try:
        read(data)
    except CareMeshError as error:
        return checked(error, areas)
    return ""


def checked(error: CareMeshError, areas: tuple[str, ...]) -> str:
    """The code, of an error by one of these areas that has a sentence and says nothing personal."""
    assert error.code.split(".")[0] in areas, error
    assert error.error.sentence
    assert not any(secret in str(error) for secret in ("case1", "Fever", "conditions")), error
    return error.code


@pytest.mark.parametrize("make", OBJECTS, ids=lambda make: make.__name__)
def test_every_field_bent_in_every_way_is_refused_with_a_code(case: Case, make: Callable[[Case], Object]) -> None:
    made = make(case)
    assert (refusal(made.read, codec.encode(made.good), made.areas) == "") == (make is not words_of_a_request)
    tried, passed = 0, []
    for path, how, other in bent(made.good):
        data = spelled(other)
        if data is None or data == codec.encode(made.good):
            continue
        tried += 1
        code = refusal(made.read, data, made.areas)
        if not code and "*" not in made.free and not {*path, f"{(*path, '')[-2]} {how}"} & set(made.free):
            passed.append((path, how))
    assert passed == []
    assert tried > 20


def test_a_certificate_shows_what_it_showed_or_nothing(case: Case) -> None:
    case.add(7)
    made, _ = case.person.erase("conditions", 1)
    client, now = case.mesh.light_client(), case.clock()
    shown = certificate.verify(made, client, now)
    found: list[certificate.Erasure] = []

    def read(data: bytes) -> None:
        found.append(certificate.verify(certificate.read(data), client, now))

    for path, how, other in bent(plain(made)):
        data = spelled(other)
        if data is None:
            continue
        found.clear()
        areas = ("certificate", "custody", "evidence", "light", "proof", "map", "ledger", "codec")
        if not refusal(read, data, areas):
            assert (found[0].stream, found[0].segment) == (shown.stream, shown.segment), f"{path} {how}"
            assert set(found[0].confirmed) <= set(shown.confirmed), f"{path} {how}"


@pytest.mark.parametrize("which", ["profile", "seal deposit", "index"])
def test_every_flipped_byte_of_what_is_signed_or_sealed_is_noticed(case: Case, which: str) -> None:
    """Whoever is on the way holds no key: of a message not a bit may change."""
    home = case.mesh.member("hospital").home
    deposit = signed(custody.SEAL_DEPOSIT, codec.encode(plain_deposit(case)), home.node_key)
    messages: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
        "profile": (
            case.wallet.profile(home.did, case.reader),
            lambda data: hear_profile(CHAIN, home.did, home.hpke_private, data),
        ),
        "seal deposit": (deposit, case.mesh.member("payer").custodian.deposit_seal),
        "index": (index.sealed(case.wallet.state), index.read),
    }
    data, read = messages[which]
    assert refusal(read, data, ()) == ""
    for at in range(0, len(data), max(1, len(data) // 300)):
        assert refusal(read, data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :], ("custody", "custodian")), at
    for end in range(0, len(data), max(1, len(data) // 60)):
        assert refusal(read, data[:end], ("custody", "custodian")), end


def test_a_wallet_file_with_any_field_bent_is_named(case: Case, tmp_path: Path) -> None:
    tried = 0
    for path, how, other in bent(codec.decode(case.path.read_bytes())):
        if path in (("content",), ("salt",)) and how in {"last bit", "zeros", "longer"}:
            continue  # each costs a stretched passphrase; the first bit stands for all
        file = tmp_path / f"bent{tried}"
        file.write_bytes(codec.encode(other))
        tried += 1
        with pytest.raises(CareMeshError) as caught:
            WalletFile.open(file, PASSPHRASE)
        assert caught.value.code in {"wallet.05", "wallet.06", "envelope.03"}, f"{path} {how}"
        assert caught.value.place == file.name
    assert tried > 30


@pytest.mark.parametrize("how", ["a word less", "a word more", "another word", "no word", "a very long word"])
def test_a_phrase_that_was_written_down_wrongly_is_named(case: Case, how: str) -> None:
    words = case.phrase.split()
    changed = {
        "a word less": words[:-1],
        "a word more": [*words, words[0]],
        "another word": ["zzzz", *words[1:]],
        "no word": ["", *words[1:]],
        "a very long word": ["x" * 100_000, *words[1:]],
    }[how]
    with pytest.raises(BadInput) as caught:
        seed_of(" ".join(changed))
    assert caught.value.code in {"wallet.01", "wallet.02", "wallet.03"}
    assert not {word for word in words if len(word) > 4} & set(str(caught.value).split())
