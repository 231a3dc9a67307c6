"""A new epoch is a boundary: old delegations are dead, old records go on for those who are granted anew."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import open_original, seal_to
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest, ResealDeposit
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.segment import open_segment, seal_anew
from caremesh.types import DAY_S, Did
from caremesh.wallet import state as states
from caremesh.wallet.enrol import Writing
from caremesh.wallet.records import own_seals
from caremesh.wallet.reseal import Blocks, Record
from caremesh.wallet.wallet import Wallet
from tests.support.case import CATEGORIES, PASSPHRASE, Case
from tests.support.patient import Way


def writing(case: Case) -> Writing:
    return Writing(until=(case.clock() // DAY_S + 30) * DAY_S)


def begin_only(case: Case) -> None:
    """A new epoch, and a crash before anything is sealed to it."""

    class Crashing(Way):
        def own_seals(self, custodian: str, request: bytes) -> bytes:  # noqa: ARG002 - the power goes first
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case.wallet.new_epoch(case.stream, writing(case), case.ledger, case.sponsor, Crashing(case.mesh))


@pytest.mark.promise("P3")
def test_old_records_after_a_new_epoch(case: Case) -> None:
    shared = case.share()
    before, old = case.consent(shared), case.segments()
    receipt = case.ask(before.id)
    case.person.new_epoch("conditions")
    after, new = case.consent(shared), case.segments()
    assert (after.epoch, after.receiving_key) == (1, before.receiving_key)
    assert after.verifying_key != before.verifying_key
    assert [(segment.epoch, segment.version) for segment in new] == [(1, 1), (1, 1)]
    assert all(mine.descriptor != other.descriptor for mine, other in zip(old, new, strict=True))
    assert case.read(shared) == [1, 2, 3], "under the same consent, delegated anew"
    assert case.open(receipt) == [1, 2, 3]
    assert case.fragments(after.id) == 3, "the old fragments are destroyed"
    case.add(4)
    assert case.read(shared) == [1, 2, 3, 4], "the source writes on, under the permit of the new epoch"


@pytest.mark.promise("P3")
def test_another_epoch_opens_nothing_before_its_owner_delegates_anew(case: Case) -> None:
    shared = case.share()
    receipt = case.ask(case.consent(shared).id)
    old = [segment.descriptor for segment in case.segments()]
    begin_only(case)
    with pytest.raises(Unavailable, match=r"gateway\.02"):
        case.open(receipt)
    custodian = next(iter(case.mesh.custodians.values()))
    request = ReleaseRequest(
        receipt=receipt.id,
        stream=case.stream,
        descriptors=[cid for cid in old if cid is not None],
        custodian=custodian.did,
        nonce=os.urandom(16),
        at=case.clock(),
    )
    signed = codec.encode(custody.sign_payload(custody.RELEASE_REQUEST, request, case.doctor.key))
    with pytest.raises(Refused, match=r"custodian\.15"):
        custodian.release(signed)


def test_what_a_crash_left_undone_is_brought_up(case: Case) -> None:
    shared = case.share()
    begin_only(case)
    again = Wallet.open(case.path, PASSPHRASE, case.wallet.state.chain, case.clock)
    assert again.bring_up(case.stream, case.ledger, case.sponsor, case.mesh) == []
    assert [segment.epoch for segment in case.segments()] == [1, 1]
    assert case.read(shared) == [1, 2, 3]
    version = [segment.version for segment in case.segments()]
    again.bring_up(case.stream, case.ledger, case.sponsor, case.mesh)
    assert [segment.version for segment in case.segments()] == version, "again is no error and no work"
    case.person.new_epoch("conditions")
    assert case.consent(shared).epoch == 2


@pytest.mark.promise("P3")
def test_the_old_reading_key_opens_no_new_seal(case: Case) -> None:
    case.person.new_epoch("conditions")
    held = own_seals(case.reader, case.located, case.mesh, case.clock()).segments[0].held
    with pytest.raises(Tampered, match=r"reencryption\.03"):
        open_original(case.located.keys.reading(0), held.seal)
    secret = open_original(case.located.keys.reading(1), held.seal)
    assert len(open_segment(secret, held.descriptor, case.block)) == 2


def test_only_a_stream_that_is_there_has_a_next_epoch(case: Case) -> None:
    [imaging] = states.choose(case.wallet.state, ["imaging"])
    with pytest.raises(Refused, match=r"wallet\.37"):
        case.wallet.new_epoch(imaging, writing(case), case.ledger, case.sponsor, case.mesh)


def test_enrolling_again_after_an_epoch_fits_the_ledger(case: Case) -> None:
    case.person.new_epoch("conditions")
    stale = states.with_stream(case.wallet.state, replace(case.located.stream, epoch=0, serial=0))
    case.wallet._save(stale)
    case.person.enrol("hospital", case.name, categories=CATEGORIES)
    opened = streams.stream(case.reader, case.stream)
    assert opened is not None
    assert (case.located.stream.epoch, case.located.stream.serial) == (1, opened.serial + 1)
    case.add(4)


@pytest.mark.promise("P5")
def test_what_was_sealed_before_the_epoch_and_registered_after_is_sealed_anew(case: Case) -> None:
    shared = case.share()
    source = case.mesh.member("hospital").source(case.mesh)
    submit = source._registrar._ledger.submit_batches

    def stopped(batches: Mapping[bytes, Sequence[bytes]]) -> dict[bytes, list[Committed]]:  # noqa: ARG001
        raise KeyboardInterrupt

    source._registrar._ledger.submit_batches = stopped  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            case.add(4)
    finally:
        source._registrar._ledger.submit_batches = submit  # type: ignore[method-assign]
    case.person.new_epoch("conditions")
    report = case.add(4)
    assert (report.settled, report.unchanged) == (1, 2), "the patient resource and the condition are there"
    assert case.read(shared) == [1, 2, 3, 4]
    rows = case.mesh.member("hospital").home.vault.names(f"index/{case.name}/{case.stream.hex()}/")
    assert len(rows) == 3, "and the key of what was never registered is not kept twice"


def drop(case: Case, *numbers: int, segment: int = 0) -> None:
    case.person.drop("conditions", segment, [Record("Condition", f"{case.name}-c{number}") for number in numbers])


@pytest.mark.promise("P8")
def test_a_record_is_dropped_and_what_stays_has_a_key_of_its_own(case: Case) -> None:
    shared = case.share()
    [before, _] = own_seals(case.reader, case.located, case.mesh, case.clock()).segments
    key = open_original(case.located.keys.reading(0), before.held.seal)
    drop(case, 1)
    assert case.read(shared) == [2, 3]
    [after, _] = own_seals(case.reader, case.located, case.mesh, case.clock()).segments
    assert open_original(case.located.keys.reading(0), after.held.seal) != key
    assert not set(read_descriptor(before.held.descriptor).blocks) & set(read_descriptor(after.held.descriptor).blocks)
    assert case.segments()[0].version == 1
    with pytest.raises(Tampered, match=r"sealing\.05"):
        open_segment(key, after.held.descriptor, case.block)


def test_what_cannot_be_dropped(case: Case) -> None:
    for numbers, segment, code in (([3], 0, "38"), ([1, 2], 0, "39"), ([1], 7, "33")):
        with pytest.raises(Refused, match=rf"wallet\.{code}"):
            drop(case, *numbers, segment=segment)
    assert [segment.version for segment in case.segments()] == [0, 0]


@pytest.mark.promise("P10")
def test_seals_made_anew_are_acknowledged_before_the_ledger_hears_of_them(case: Case) -> None:
    one, two, three = sorted(case.mesh.custodians)
    begin_only(case)

    class Silent(Way):
        def deposit_reseal(self, custodian: str, sealed: bytes) -> bytes:
            if self.faults.get(custodian):
                raise Unavailable(custody.NOT_SIGNED, custodian)
            return self.mesh.deposit_reseal(custodian, sealed)

    with pytest.raises(Unavailable, match=r"wallet\.22"):
        case.wallet.bring_up(case.stream, case.ledger, case.sponsor, Silent(case.mesh, {one: "silent", two: "silent"}))
    assert [segment.epoch for segment in case.segments()] == [0, 0]
    case.wallet.bring_up(case.stream, case.ledger, case.sponsor, Silent(case.mesh, {three: "silent"}))
    assert [segment.epoch for segment in case.segments()] == [1, 1]
    vault = next(member.home.vault for member in case.mesh.members.values() if member.home.did == three)
    kept = {name.rpartition("/")[2] for name in vault.names(f"seal/{case.stream.hex()}/")}
    assert kept.issuperset(segment.descriptor.encode() for segment in case.segments() if segment.descriptor)


@pytest.mark.promise("P6")
def test_a_seal_made_anew_is_taken_from_the_streams_key_and_for_its_custodians_alone(case: Case) -> None:
    [own, _] = own_seals(case.reader, case.located, case.mesh, case.clock()).segments
    key = open_original(case.located.keys.reading(0), own.held.seal)
    descriptor, _, seal = seal_anew(key, own.held.descriptor, case.located.keys.reading(0).public)
    me = case.mesh.member("payer")

    def code(signer: SigningKey, to: str = "payer", **changes: object) -> str:
        fields = {"stream": case.stream, "custodian": me.home.did, "descriptor": descriptor, "seal": seal}
        signed = custody.sign_payload(custody.RESEAL_DEPOSIT, ResealDeposit(**(fields | changes)), signer)  # type: ignore[arg-type]
        home = case.mesh.member(to).home
        message = custody.seal_to_custodian(custody.RESEAL_DEPOSIT, home.hpke_public, home.did, signed)
        with pytest.raises(CareMeshError) as caught:
            case.mesh.member(to).custodian.deposit_reseal(message)
        return caught.value.code

    owner = case.located.keys.signing(0)
    assert code(SigningKey.generate()) == "custodian.20"
    assert code(owner, stream=bytes(32)) == "custodian.20"
    assert code(owner, custodian=case.did("laboratory")) == "custodian.20"
    assert code(owner, to="hospital", custodian=case.did("hospital")) == "custodian.20"
    assert code(owner, seal=seal_to(case.located.keys.reading(0).public, key)) == "custodian.13"
    other = case.mesh.member("hospital").source(case.mesh).index.segments(case.name, case.reader)
    foreign = next(entry for entry in other if entry.stream != case.stream)
    assert code(owner, descriptor=case.block(foreign.descriptor)) == "custodian.13"
    assert code(owner, descriptor=b"") == "sealing.06"
    with pytest.raises(CareMeshError, match=r"custody\.03"):
        me.custodian.deposit_reseal(b"")


@pytest.mark.promise("P5")
def test_a_crash_in_the_middle_of_sealing_and_a_retry_use_no_key_twice(case: Case) -> None:
    """The blocks of both attempts are there, and none of one opens with the key of the other."""
    seen: list[tuple[bytes, bytes]] = []

    class Watched(Way):
        def __init__(self) -> None:
            super().__init__(case.mesh)
            self.crash = True

        def blocks_of(self, stream: bytes, source: Did, key: Signs, cids: Sequence[CID]) -> Blocks:
            self.placed = super().blocks_of(stream, source, key, cids)
            return self

        def get(self, cid: CID) -> bytes:
            return self.placed.get(cid)

        def put(self, blocks: Mapping[CID, bytes]) -> None:
            self.placed.put(blocks)
            seen.extend(blocks.items())
            if self.crash:
                raise KeyboardInterrupt

    way, records = Watched(), [Record("Condition", f"{case.name}-c1")]
    with pytest.raises(KeyboardInterrupt):
        case.wallet.drop(case.stream, 0, records, case.ledger, case.sponsor, way)
    first, way.crash = list(seen), False
    seen.clear()
    case.wallet.drop(case.stream, 0, records, case.ledger, case.sponsor, way)
    assert len(first) == len(seen) == 3, "a block, a manifest, a descriptor"
    assert not {cid for cid, _ in first} & {cid for cid, _ in seen}
    assert case.segments()[0].version == 1
    [own, _] = own_seals(case.reader, case.located, case.mesh, case.clock()).segments
    key = open_original(case.located.keys.reading(0), own.held.seal)
    with pytest.raises(Tampered, match=r"sealing\.05"):
        open_segment(key, next(d for c, d in first if codec.cid_of_cbor(d) == c), case.block)
