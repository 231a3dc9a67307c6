"""After each block: what its events and the time have ended goes, what is missing is fetched, both are signed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Cursor
from caremesh.contracts.consent.messages import Redelegate, Revoke, Scope
from caremesh.contracts.network import queries as network
from caremesh.contracts.records.messages import Erase, Reseal
from caremesh.contracts.streams.messages import SetCustodians
from caremesh.crypto.reencryption import seal_hash
from caremesh.crypto.signatures import stream_of
from caremesh.custodian.touched import Touched
from caremesh.errors import ErrorCode, Unavailable
from caremesh.ledger.application import Event
from caremesh.sealing import custody
from caremesh.sealing.custody import DestroyConfirmation, ErasureConfirmation, SealAnswer, SealDeposit, StreamRequest
from caremesh.sealing.segment import seal_anew
from tests.support.keepers import Keeper, Keepers, names, refusal, said
from tests.support.world import Actor


def erase(keepers: Keepers, segment: int = 0) -> None:
    keepers.must(Erase(stream=keepers.stream, segment=segment), keepers.stream_key, keepers.practice)


@pytest.mark.promise("P3")
def test_a_revocation_destroys_at_its_block_and_is_confirmed(keepers: Keepers) -> None:
    keepers.add()
    consent, other = keepers.share(), keepers.share(purposes=["HPAYMT"])
    keeper = keepers.keeper
    assert keeper.follow() == []
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    for off, at in ((7, keepers.now + 7), (-7, keepers.now)):
        keepers.clock_off_s = off
        each = keepers.keepers[0 if off > 0 else 1]
        [confirmed] = each.followed(DestroyConfirmation)
        assert confirmed == DestroyConfirmation(consent=consent.id, custodian=each.did, at=at)
        assert each.followed(DestroyConfirmation) == []
        assert [name.split("/")[1] for name in names(each, "fragment/")] == [other.id.hex()]


def test_each_event_is_looked_at_once(keepers: Keepers) -> None:
    keeper = keepers.keeper
    keeper.follow()
    assert keeper.copy.asked_from == [], "at a start everything is looked at"
    height = keepers.height - 1
    keepers.add()
    keeper.follow()
    keeper.follow()
    assert keeper.copy.asked_from == [str(Cursor.after(each)) for each in (height, keepers.height - 1)]


@pytest.mark.promise("P3")
def test_when_events_were_missed_everything_is_looked_at(keepers: Keepers) -> None:
    keepers.add()
    consent = keepers.share()
    keeper = keepers.keeper
    keeper.follow()
    keeper.deposit_seal(keepers.signed_seal(keepers.seal_deposit(keepers.seal(b"nobody registers it"))))
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    keepers.forgotten = keepers.height
    keepers.now += network.params(keepers.view).deposit_ttl_s
    [confirmed] = keeper.followed(DestroyConfirmation)
    assert confirmed.consent == consent.id
    assert len(names(keeper, "seal/")) == 1, "and what nobody registered is gone"


@pytest.mark.promise("P3")
def test_time_alone_ends_a_consent(keepers: Keepers) -> None:
    keepers.add()
    consent = keepers.share()
    keeper, late = keepers.keepers[:2]
    keeper.follow()
    late.follow()
    keepers.now = consent.ends - 1
    assert keeper.follow() == []
    keepers.clock_off_s = 1
    assert len(keeper.followed(DestroyConfirmation)) == 1, "by its own clock"
    keepers.now, keepers.clock_off_s = consent.ends, -1
    assert len(late.followed(DestroyConfirmation)) == 1, "by the header"


@pytest.mark.promise("P3")
def test_anybody_may_ask_that_no_fragment_is_left_of_a_consent_that_is_over(keepers: Keepers) -> None:
    keepers.add()
    consent, other = keepers.share(), keepers.share(purposes=["HPAYMT"])
    keeper, late = keepers.keepers[:2]
    for each in (consent.id, bytes(32)):
        assert refusal(lambda each=each: keeper.confirm_destroyed(each)) == ("custodian.24", "")
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    for each, off, at in ((keeper, 9, keepers.now + 9), (late, -9, keepers.now)):
        keepers.clock_off_s = off
        told = said(custody.DESTROY_CONFIRMATION, each.confirm_destroyed(consent.id), DestroyConfirmation, each)
        assert told == DestroyConfirmation(consent=consent.id, custodian=each.did, at=at)
        assert [name.split("/")[1] for name in names(each, "fragment/")] == [other.id.hex()], "gone before it is said"
        assert refusal(lambda each=each: each.confirm_destroyed(other.id)) == ("custodian.24", "")
    keepers.clock_off_s, keepers.now = 0, other.ends
    assert keeper.confirm_destroyed(other.id)


@pytest.mark.promise("P8")
def test_an_erasure_is_confirmed_with_the_version_that_went(keepers: Keepers) -> None:
    keepers.add()
    sealed = keepers.add(b"2")
    keeper = keepers.keeper
    keeper.follow()
    descriptor, cid, seal = seal_anew(sealed.segment_key, sealed.descriptor, keepers.reading.public)
    keeper.deposit_reseal(keepers.sealed_reseal(keepers.reseal_deposit(descriptor, seal)))
    keepers.must(
        Reseal(stream=keepers.stream, segment=1, descriptor=cid, seal=seal_hash(seal), size_class=sealed.size_class),
        keepers.stream_key,
        keepers.practice,
    )
    erase(keepers)
    keepers.clock_off_s = 4
    confirmed = sorted(keeper.followed(ErasureConfirmation), key=lambda each: each.segment)
    both = {"stream": keepers.stream, "member": keeper.did, "kept": "seals", "at": keepers.now + 4}
    assert confirmed == [
        ErasureConfirmation(segment=0, version=0, erased=True, **both),  # type: ignore[arg-type]
        ErasureConfirmation(segment=1, version=1, erased=False, **both),  # type: ignore[arg-type]
    ]
    assert names(keeper, "seal/") == [f"seal/{keepers.stream.hex()}/{cid.encode()}"]


@pytest.mark.promise("P8")
def test_anybody_may_ask_that_nothing_of_what_is_erased_is_left(keepers: Keepers) -> None:
    keepers.add()
    keeper, late = keepers.keepers[:2]
    assert refusal(lambda: keeper.confirm_erased(keepers.stream, 0)) == ("custodian.23", "")
    assert refusal(lambda: keeper.confirm_erased(keepers.stream, 1)) == ("custodian.23", "")
    assert refusal(lambda: keeper.confirm_erased(bytes(32), 0)) == ("custodian.23", "")
    keepers.share(purposes=["HPAYMT"])
    erase(keepers)
    for each, off, at in ((keeper, 9, keepers.now + 9), (late, -9, keepers.now)):
        keepers.clock_off_s = off
        told = said(custody.ERASURE_CONFIRMATION, each.confirm_erased(keepers.stream, 0), ErasureConfirmation, each)
        assert told == ErasureConfirmation(
            stream=keepers.stream, segment=0, version=0, erased=True, member=each.did, kept="seals", at=at
        )
        assert names(each, "seal/") == []


@pytest.mark.promise("P3")
def test_anybody_may_ask_that_no_fragment_of_what_is_over_is_left(keepers: Keepers) -> None:
    keepers.add()
    consent, ends = keepers.share(), keepers.share(purposes=["HPAYMT"])
    keeper, late = keepers.keepers[:2]
    keeper.deposit_seal(keepers.signed_seal(keepers.seal_deposit(keepers.seal(b"waits"))))
    for asked in (consent.id, bytes(32)):
        assert refusal(lambda a=asked: keeper.confirm_destroyed(a)) == ("custodian.24", "")  # type: ignore[misc]
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)

    def confirmed(by: Keeper, asked: bytes) -> DestroyConfirmation:
        return said(custody.DESTROY_CONFIRMATION, by.confirm_destroyed(asked), DestroyConfirmation, by)

    for each, off, at in ((keeper, 9, keepers.now + 9), (late, -9, keepers.now)):
        keepers.clock_off_s = off
        assert confirmed(each, consent.id) == DestroyConfirmation(consent=consent.id, custodian=each.did, at=at)
        assert [name.split("/")[1] for name in names(each, "fragment/")] == [ends.id.hex()]
        assert confirmed(each, consent.id).at == at, "again, when nothing is left to destroy"
    keepers.now, keepers.clock_off_s = ends.ends - 1, 0
    assert refusal(lambda: keeper.confirm_destroyed(ends.id)) == ("custodian.24", "")
    keepers.clock_off_s = 1
    assert confirmed(keeper, ends.id).at == ends.ends, "by its own clock"
    keepers.now, keepers.clock_off_s = ends.ends, -1
    assert confirmed(late, ends.id).at == ends.ends, "by the header"
    assert names(keeper, "fragment/") == names(late, "fragment/") == []


@pytest.mark.promise("P8")
def test_a_consent_of_which_all_was_erased_is_let_go_of(keepers: Keepers) -> None:
    keepers.add()
    keepers.add(b"2")
    listed = keepers.share(scope=Scope(kind="listed", segments=[0]))
    keepers.share(purposes=["HPAYMT"])
    keeper = keepers.keeper
    keeper.follow()
    erase(keepers)
    raw = keeper.follow()
    first = said(custody.DESTROY_CONFIRMATION, raw[0], DestroyConfirmation, keeper)
    second = said(custody.ERASURE_CONFIRMATION, raw[1], ErasureConfirmation, keeper)
    assert len(raw) == 2
    assert (first.consent, second.segment) == (listed.id, 0)


@pytest.mark.promise("P3")
def test_a_new_delegation_leaves_one_fragment(keepers: Keepers) -> None:
    keepers.add()
    consent = keepers.share()
    keeper = keepers.keeper
    keeper.follow()
    deposits = keepers.fragments(consent.id)
    keepers.put_fragments(deposits)
    assert keeper.follow() == []
    assert len(names(keeper, "fragment/")) == 2
    anew = Redelegate(
        consent=consent.id,
        epoch=0,
        receiving_key=keepers.receiving.public,
        verifying_key=deposits[keeper.did].verifying,
        fragments=keepers.commitments(deposits),
    )
    keepers.must(anew, keepers.stream_key, keepers.practice)
    assert keeper.follow() == []
    assert len(names(keeper, "fragment/")) == 1


# --- seals that are missing --------------------------------------------------------------------------------


def lacking(keepers: Keepers) -> Keeper:
    """A custodian that has seen everything so far; then a segment comes whose seal it was not given."""
    keepers.add(b"0")
    keepers.keeper.follow()
    sealed = keepers.seal(b"1")
    for keeper in keepers.keepers[1:]:
        keeper.deposit_seal(keepers.signed_seal(keepers.seal_deposit(sealed)))
    keepers.registered(sealed)
    return keepers.keeper


@pytest.mark.promise("P10")
def test_a_seal_that_is_missing_is_fetched_after_the_block_that_registers_it(keepers: Keepers) -> None:
    keeper = lacking(keepers)
    keeper.follow()
    assert len(names(keeper, "seal/")) == 1, "it knows nobody to ask"
    keepers.meet()
    keeper.follow()
    assert len(names(keeper, "seal/")) == 2, "it asks until it has it"
    sealed = keepers.sealed[1]
    assert keeper._keeping.seal(keepers.stream, sealed.descriptor_cid) == SealDeposit(
        stream=keepers.stream,
        source=str(keepers.hospital.did),
        descriptor=sealed.descriptor,
        seal=sealed.seal,
        permit=b"",
        permit_signature=bytes(64),
    )
    assert not keeper._wanted
    keeper.vault.destroy(names(keeper, "seal/"))
    keeper.follow()
    assert names(keeper, "seal/") == [], "it is not asked for for ever"


def test_what_is_missing_stays_so_until_it_is_there(keepers: Keepers) -> None:
    keeper = lacking(keepers)
    keeper.follow()
    another = keepers.seal(b"2")
    keepers.keepers[1].deposit_seal(keepers.signed_seal(keepers.seal_deposit(another)))
    keepers.registered(another)
    keeper.follow()
    keeper.follow()
    assert list(keeper._wanted) == [(keepers.stream, each.descriptor_cid) for each in keepers.sealed[1:]]
    keepers.meet()
    keeper.follow()
    assert not keeper._wanted


def test_what_is_missing_of_one_stream_is_not_forgotten_for_another(keepers: Keepers) -> None:
    keeper = lacking(keepers)
    keeper.follow()
    owner = Actor("another stream", stream=True)
    stream = stream_of(owner.key.public)
    permit = keepers.permit(owner, stream=stream, key=owner.key.public)
    sealed = keepers.seal(b"2", stream=stream)
    register = keepers.register(
        stream=stream,
        descriptor=sealed.descriptor_cid,
        seal=sealed.seal_hash,
        size_class=sealed.size_class,
        permit=permit,
    )
    keepers.must(register, keepers.hospital)
    keeper.follow()
    assert list(keeper._wanted) == [
        (keepers.stream, keepers.sealed[1].descriptor_cid),
        (stream, sealed.descriptor_cid),
    ]


def test_a_seal_that_was_deposited_late_is_fetched_no_more(keepers: Keepers) -> None:
    keeper = lacking(keepers)
    keeper.follow()
    assert list(keeper._wanted) == [(keepers.stream, keepers.sealed[1].descriptor_cid)]
    keeper.deposit_seal(keepers.signed_seal(keepers.seal_deposit(keepers.sealed[1])))
    keeper.follow()
    assert not keeper._wanted


def test_who_is_no_custodian_of_a_stream_fetches_nothing_of_it(keepers: Keepers) -> None:
    keepers.add()
    keepers.meet()
    keeper = keepers.keeper
    keeper.follow()
    others = [each.did for each in keepers.keepers[1:]]
    keepers.must(
        SetCustodians(
            stream=keepers.stream, custodians=others, threshold=2, permit=keepers.permit(custodians=others, serial=2)
        ),
        keepers.stream_key,
        keepers.practice,
    )
    sealed = keepers.seal(b"2")
    for each in keepers.keepers[1:]:
        permit = keepers.permit(custodians=others, serial=2)
        deposit = keepers.seal_deposit(sealed, permit=permit.permit, permit_signature=permit.signature)
        each.deposit_seal(keepers.signed_seal(deposit))
    keepers.must(
        replace(
            keepers.register(descriptor=sealed.descriptor_cid, seal=sealed.seal_hash, size_class=sealed.size_class),
            permit=None,
        ),
        keepers.hospital,
    )
    keeper.follow()
    assert not keeper._wanted
    assert len(names(keeper, "seal/")) == 1


@pytest.mark.promise("P10")
def test_a_release_fetches_what_it_lacks_and_believes_the_ledger_alone(keepers: Keepers) -> None:
    keeper = lacking(keepers)
    receipt = keepers.receipt(keepers.share())

    class Fellow:
        """Tells the truth, another seal, another descriptor, nothing, or not at all."""

        def __init__(self, true: Keeper, lie: str = "") -> None:
            self.true, self.lie, self.asked = true, lie, 0

        def seals(self, data: bytes) -> bytes:
            self.asked += 1
            request = custody.open_signed(
                custody.SEAL_REQUEST, custody.read_signed(data), StreamRequest, keeper.actor.key.public
            )
            assert (request.stream, request.custodian, request.at) == (keepers.stream, self.true.did, keepers.now)
            signed = custody.read_signed(self.true.seals(data))
            answer = codec.decode_as(signed.payload, SealAnswer)
            if self.lie == "silent":
                raise Unavailable(ErrorCode("test.01", "silent"))
            if self.lie == "garbage":
                return b"\xa0"
            if self.lie == "other answer":
                return codec.encode(replace(signed, payload=b"\xa0"))
            seals = {
                "": answer.seals,
                "nothing": [],
                "other seal": [replace(held, seal=replace(held.seal, ciphertext=b"other")) for held in answer.seals],
                "other descriptor": [replace(held, descriptor=held.descriptor + b"?") for held in answer.seals],
            }[self.lie]
            return codec.encode(replace(signed, payload=codec.encode(replace(answer, seals=seals))))

    def release() -> list[bytes]:
        return keeper.release(keepers.ask_release(receipt))

    me, (first, second) = Fellow(keeper), keepers.keepers[1:]
    for lie in ("silent", "garbage", "other answer", "nothing", "other seal", "other descriptor"):
        liar = Fellow(first, lie)
        keeper.meet({keeper.did: me, first.did: liar})
        assert refusal(release) == ("custodian.12", "")
        assert (me.asked, liar.asked) == (0, 1)
        assert len(names(keeper, "seal/")) == 1
    true, unasked = Fellow(second), Fellow(second)
    keeper.meet({keeper.did: me, first.did: Fellow(first, "silent"), second.did: true})
    assert len(release()) == 2
    assert (me.asked, true.asked) == (0, 1)
    keeper.meet({second.did: unasked})
    assert len(release()) == 2
    assert unasked.asked == 0, "it keeps what it fetched"


def test_nothing_is_fetched_of_what_the_ledger_does_not_name(keepers: Keepers) -> None:
    sealed = keepers.add()
    keepers.meet()
    keeper = keepers.keeper

    def fetched(stream: bytes = keepers.stream, descriptor: bytes = sealed.descriptor) -> SealDeposit | None:
        return keeper._from_fellows(keepers.view, stream, codec.cid_of_cbor(descriptor))

    keeper.vault.destroy(names(keeper, "seal/"))
    assert fetched(descriptor=b"?") is None
    assert fetched(stream=bytes(32)) is None
    assert fetched() is not None
    descriptor, cid, seal = seal_anew(sealed.segment_key, sealed.descriptor, keepers.reading.public)
    keepers.must(
        Reseal(stream=keepers.stream, segment=0, descriptor=cid, seal=seal_hash(seal), size_class=sealed.size_class),
        keepers.stream_key,
        keepers.practice,
    )
    assert fetched() is None, "it was sealed anew"
    assert fetched(descriptor=descriptor) is None, "no fellow has it"


@pytest.mark.parametrize(
    ("kind", "attributes", "touched"),
    [
        ("consent/revoked", {"consent": b"c", "stream": b"s"}, Touched([b"c"], [], [], [])),
        ("consent/redelegated", {"consent": b"c", "stream": b"s"}, Touched([], [b"c"], [], [])),
        ("consent/offered", {"offer": b"o", "stream": b"s"}, Touched([], [], [], [])),
        ("records/registered", {"stream": b"s", "segment": 1}, Touched([], [], [b"s"], [])),
        ("records/erased", {"stream": b"s", "segment": 1}, Touched([], [], [b"s"], [b"s"])),
        ("access/permitted", {"consent": b"c", "stream": b"s"}, Touched([], [], [], [])),
    ],
)
def test_what_an_event_touches(kind: str, attributes: dict[str, object], touched: Touched) -> None:
    found = Touched([], [], [], [])
    found.add(Event(type=kind, height=1, tx=bytes(36), attributes=attributes))
    assert found == touched


def test_each_stream_is_looked_at_once() -> None:
    assert Touched([], [], [b"b", b"a", b"b"], []).registered == [b"a", b"b"]
