"""What is erased is not in the state, and cannot come back."""

import pytest

from caremesh.codec import CID
from caremesh.contracts.records import queries
from caremesh.contracts.records.messages import Attest, Erase, Reseal, Retract, Supersede
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams.messages import Close
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import World

DUTY = "GDPR:17"


@pytest.fixture
def filled(world: World) -> World:
    """The stream holds two segments."""
    for number in (0, 1):
        world.must(world.register(number), world.hospital)
    return world


def erased(world: World, index: int = 0) -> Segment:
    found = queries.segment(world.view, world.stream, index)
    assert found is not None
    assert found.status == "erased"
    return found


@pytest.mark.promise("P8")
def test_the_subject_erases_and_tombstones_remain(filled: World) -> None:
    before, height = filled.register(), filled.height
    told = effect(filled, Erase(stream=filled.stream, segment=0), filled.stream_key, filled.practice)
    assert told == [("records/erased", {"stream": filled.stream, "segment": 0})]
    assert erased(filled) == Segment(
        source=str(filled.hospital.did), epoch=0, registered=height - 2, size_class=12, status="erased"
    )
    values = b"".join(value or b"" for _, _, value in filled.view.changes())
    keys = b"".join(key for key, _, value in filled.view.changes() if value is not None)
    assert bytes(before.descriptor) not in values + keys
    assert queries.index_of(filled.view, filled.stream, before.descriptor) == 0
    assert queries.count(filled.view, filled.stream) == 2


@pytest.mark.promise("P8")
def test_no_seal_of_an_erased_segment_stays_in_the_state(filled: World) -> None:
    seal = b"\x01" * 32
    assert any(seal in (value or b"") for _, _, value in filled.view.changes())
    filled.must(Erase(stream=filled.stream, segment=1), filled.stream_key, filled.practice)
    assert not any(seal in key + (value or b"") for key, _, value in filled.view.changes())


@pytest.mark.promise("P8")
def test_what_was_erased_does_not_come_back(filled: World) -> None:
    own = (filled.stream_key, filled.practice)
    filled.must(Erase(stream=filled.stream, segment=0), *own)
    old = filled.register()
    assert without_effect(filled, old, filled.hospital) == "records.02"
    assert without_effect(filled, filled.register(2, seal=old.seal), filled.hospital) == "records.02"
    back = Reseal(stream=filled.stream, segment=1, descriptor=old.descriptor, seal=b"\x09" * 32, size_class=1)
    assert without_effect(filled, back, *own) == "records.02"
    new = {"descriptor": CID.cidv1_dag_cbor_sha256_32_from(b"new"), "seal": b"\x09" * 32, "size_class": 1}
    for message, signers in (
        (Erase(stream=filled.stream, segment=0), own),
        (Erase(stream=filled.stream, segment=0, duty=DUTY), (filled.hospital,)),
        (Reseal(stream=filled.stream, segment=0, **new), own),
        (Supersede(stream=filled.stream, segment=0, **new), (filled.hospital,)),
        (Retract(stream=filled.stream, segment=0), (filled.hospital,)),
        (Attest(stream=filled.stream, segment=0), (filled.practice,)),
    ):
        assert without_effect(filled, message, *signers) == "records.04"


def test_a_resealed_segment_is_erased_with_every_name_it_had(filled: World) -> None:
    own, new = (filled.stream_key, filled.practice), CID.cidv1_dag_cbor_sha256_32_from(b"new")
    reseal = Reseal(stream=filled.stream, segment=0, descriptor=new, seal=b"\x09" * 32, size_class=1)
    filled.must(reseal, *own)
    filled.must(Erase(stream=filled.stream, segment=0), *own)
    assert erased(filled).version == 1
    for number, descriptor in ((0, filled.register().descriptor), (9, new)):
        message = filled.register(number + 20, descriptor=descriptor)
        assert without_effect(filled, message, filled.hospital) == "records.02"


def test_a_source_erases_under_a_legal_duty_which_is_kept(filled: World) -> None:
    message = Erase(stream=filled.stream, segment=0, duty=DUTY)
    assert without_effect(filled, message, filled.practice) == "records.05"
    bare = Erase(stream=filled.stream, segment=0)
    assert without_effect(filled, bare, filled.hospital) == "records.07"
    assert without_effect(filled, message, filled.hospital, alone=False) == "records.06"
    told = effect(filled, message, filled.hospital)
    assert told == [("records/erased", {"stream": filled.stream, "segment": 0})]
    assert erased(filled).duty == DUTY


def test_what_the_subject_erases_is_under_nobodys_duty(filled: World) -> None:
    filled.must(Erase(stream=filled.stream, segment=0, duty=DUTY), filled.stream_key, filled.hospital)
    assert erased(filled).duty is None


def test_who_erases_what(filled: World) -> None:
    own, message = (filled.stream_key, filled.practice), Erase(stream=filled.stream, segment=0)
    assert without_effect(filled, message, filled.practice) == "records.05"
    named = acting_for("stream", filled.doctor.did)
    assert without_effect(filled, message, named, filled.practice) == "records.05"
    assert without_effect(filled, message, *own, alone=False) == "records.06"
    for wrong in (Erase(stream=filled.stream, segment=2), Erase(stream=bytes(32), segment=0)):
        assert without_effect(filled, wrong, *own) == "records.03"


def test_superseded_and_retracted_segments_and_those_of_a_closed_stream_are_erased_too(filled: World) -> None:
    new = CID.cidv1_dag_cbor_sha256_32_from(b"new")
    correction = Supersede(stream=filled.stream, segment=0, descriptor=new, seal=b"\x09" * 32, size_class=1)
    filled.must(correction, filled.hospital)
    filled.must(Retract(stream=filled.stream, segment=1), filled.hospital)
    filled.must(Close(stream=filled.stream), filled.stream_key, filled.practice)
    for index in (0, 1, 2):
        filled.must(Erase(stream=filled.stream, segment=index), filled.stream_key, filled.practice)
    assert erased(filled).successor == 2
