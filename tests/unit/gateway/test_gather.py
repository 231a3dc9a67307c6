"""Gathering: t custodians, one more for each that fails, lies or is slow; every answer is checked, once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.contracts.streams import queries as streams
from caremesh.crypto import reencryption
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.gateway import gather as gathering
from caremesh.gateway.ask import Asked
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.gateway.opening import Opened
from caremesh.sealing import custody
from caremesh.sealing.custody import Release
from caremesh.sealing.evidence import Claim
from caremesh.testing.faults import LyingCustodian
from caremesh.types import Did
from tests.support.clinic import BASIS, Clinic
from tests.support.patient import SILENT


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    made = Clinic(tmp_path_factory.mktemp("gather"))
    with made.mesh:
        made.consent = made.share("laboratory").record.items[0].consent  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def honest(clinic: Clinic) -> Iterator[list[Did]]:
    """The custodians in the order in which they are asked; all ways are put right again."""
    clinic.mesh.tick()
    yield sorted(clinic.mesh.custodians)
    clinic.ways.update(clinic.mesh.custodians)


def receipt(clinic: Clinic) -> Receipt:
    return clinic.gateway.ask(Asked(clinic.consent, "read", "TREAT", BASIS), clinic.doctor)  # type: ignore[attr-defined]


def opened(clinic: Clinic, patience_s: float = 30.0) -> Opened:
    found = clinic.gateway_with(patience_s).open(receipt(clinic), clinic.doctor)
    assert found.records
    return found


class Way(gathering.OneByOne):
    """A way to a custodian, with what becomes of its answers."""

    def __init__(self, custodian: ReleaseCustodian, change: Callable[[list[bytes]], list[bytes]]) -> None:
        self._custodian = custodian
        self._change = change

    def release(self, data: bytes) -> list[bytes]:
        """See ``ReleaseCustodian``."""
        return self._change(self._custodian.release(data))


def fails(_: list[bytes]) -> list[bytes]:
    raise Unavailable(SILENT)


@pytest.mark.promise("P2")
def test_t_custodians_are_asked_and_no_more(clinic: Clinic, honest: list[Did]) -> None:
    clinic.ways[honest[2]] = Way(clinic.ways[honest[2]], fails)
    found = opened(clinic)
    assert sorted(found.released_by) == honest[:2]
    assert (found.faults, found.slow) == ([], [])
    said = [codec.decode_as(signed.payload, Release) for signed in found.signed]
    assert [release.custodian for release in said] == found.released_by, "what each signed is kept"


def test_t_custodians_are_asked_at_once(clinic: Clinic, honest: list[Did]) -> None:
    both = threading.Barrier(2, timeout=60)

    def together(answer: list[bytes]) -> list[bytes]:
        both.wait()
        return answer

    for did in honest[:2]:
        clinic.ways[did] = Way(clinic.ways[did], together)
    assert sorted(opened(clinic, patience_s=300).released_by) == honest[:2]


def test_what_is_asked_of_custodians_is_part_of_what_asks_for_it(clinic: Clinic, honest: list[Did]) -> None:
    """Traces go by context, also into the threads that wait for custodians."""
    part_of: ContextVar[str] = ContextVar("part_of", default="")
    seen: list[str] = []

    def look(answer: list[bytes]) -> list[bytes]:
        seen.append(part_of.get())
        return answer

    for did in honest[:2]:
        clinic.ways[did] = Way(clinic.ways[did], look)
    token = part_of.set("a visit")
    try:
        opened(clinic)
    finally:
        part_of.reset(token)
    assert seen == ["a visit"] * 2


@pytest.mark.promise("P10")
def test_the_next_is_asked_when_one_fails(clinic: Clinic, honest: list[Did]) -> None:
    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], fails)
    found = opened(clinic)
    assert sorted(found.released_by) == honest[1:]
    assert [(fault.custodian, fault.error.code, fault.claim) for fault in found.faults] == [
        (honest[0], "test.01", None)
    ]


def test_a_gateway_is_as_patient_as_it_was_told(clinic: Clinic, honest: list[Did]) -> None:
    assert clinic.gateway_with(7.5)._means.patience_s == 7.5

    def slow(answer: list[bytes]) -> list[bytes]:
        threading.Event().wait(gathering.PATIENCE_S * 2)
        return answer

    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], slow)
    assert sorted(opened(clinic, patience_s=300).released_by) == honest[:2], "nobody else was asked"


@pytest.mark.promise("P10")
def test_who_is_slow_is_not_waited_for(clinic: Clinic, honest: list[Did]) -> None:
    answer_now = threading.Event()
    asked = threading.Event()

    def slow(answer: list[bytes]) -> list[bytes]:
        asked.set()
        answer_now.wait(60)
        return answer

    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], slow)
    try:
        found = opened(clinic, patience_s=0.2)
        assert sorted(found.released_by) == honest[1:]
        assert (found.slow, found.faults) == ([honest[0]], [])
        assert asked.is_set()
        daemons = {thread.daemon for thread in threading.enumerate() if thread.name == "release"}
        assert daemons == {True}, "a custodian that never answers does not keep the process"
    finally:
        answer_now.set()


@pytest.mark.promise("P10")
def test_who_is_slow_still_counts_when_the_others_fail(clinic: Clinic, honest: list[Did]) -> None:
    others_asked = threading.Semaphore(0)

    def slow(answer: list[bytes]) -> list[bytes]:
        others_asked.acquire(timeout=60)
        threading.Event().wait(0.5)  # longer than the gateway is patient, and nobody is left to ask
        return answer

    def refuses(_: list[bytes]) -> list[bytes]:
        others_asked.release()
        raise Refused(SILENT)

    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], slow)
    clinic.ways[honest[2]] = Way(clinic.ways[honest[2]], refuses)
    found = opened(clinic, patience_s=0.2)
    assert sorted(found.released_by) == honest[:2]
    assert found.slow == []
    assert [fault.custodian for fault in found.faults] == [honest[2]]


def test_one_more_is_asked_only_while_something_is_lacking_and_somebody_is_left(
    clinic: Clinic, honest: list[Did]
) -> None:
    """Whoever waits is woken for nothing else."""
    given, reader = receipt(clinic), clinic.mesh.engine.reader()
    consent, known = consents.consent(reader, given.consent), streams.stream(reader, given.stream)
    assert consent is not None
    assert known is not None
    wanted = gathering.Wanted(given, consent, known, [])

    def asked() -> gathering._Stream:
        made = gathering._Stream(wanted, clinic.ways)
        assert made.patient_s(0.0) is None, "nobody was asked"
        assert sorted(made.next(60.0)) == honest[:2]
        return made

    enough = asked()
    for did in honest[:2]:
        enough.hear(did, gathering._Released([], []))
    assert (enough.patient_s(0.0), enough.next(0.0)) == (None, [])
    slow = asked()
    assert slow.patient_s(0.0) == 0.0
    assert slow.next(0.0) == honest[2:]
    assert slow.is_open
    assert (slow.patient_s(0.0), slow.next(0.0)) == (None, [])


def test_one_more_at_a_time_besides_those_in_place_of_who_failed(clinic: Clinic, honest: list[Did]) -> None:
    given, reader = receipt(clinic), clinic.mesh.engine.reader()
    consent, known = consents.consent(reader, given.consent), streams.stream(reader, given.stream)
    assert consent is not None
    assert known is not None
    more = [replace(consent.fragments[0], custodian=f"{honest[2]}-{number}") for number in range(3)]
    wanted = gathering.Wanted(given, replace(consent, fragments=[*consent.fragments, *more]), known, [])
    ways = dict.fromkeys([*honest, *(each.custodian for each in more)], clinic.ways[honest[0]])
    made = gathering._Stream(wanted, ways)
    assert len(made.next(60.0)) == 2
    assert len(made.next(0.0)) == 1
    made.hear(honest[0], gathering.Fault(honest[0], Unavailable(SILENT)))
    made.hear(honest[1], gathering.Fault(honest[1], Unavailable(SILENT)))
    assert len(made.next(0.0)) == 2, "one is lacking, and nothing came for a while"


@pytest.mark.promise("P10")
def test_a_custodian_that_fails_all_at_once_is_named_and_the_next_is_asked(clinic: Clinic, honest: list[Did]) -> None:
    class Down(Way):
        def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
            assert len(data) == 1
            raise Unavailable(SILENT)

    clinic.ways[honest[0]] = Down(clinic.ways[honest[0]], list)
    found = opened(clinic)
    assert sorted(found.released_by) == honest[1:]
    assert [(fault.custodian, fault.error.code) for fault in found.faults] == [(honest[0], SILENT.code)]


@pytest.mark.promise("P2")
def test_fewer_than_t_open_nothing_and_each_reason_is_told(clinic: Clinic, honest: list[Did]) -> None:
    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], fails)
    clinic.ways[honest[1]] = Way(clinic.ways[honest[1]], lambda _: [])
    given = receipt(clinic)
    with pytest.raises(Unavailable, match=r"gateway\.02") as caught:
        clinic.gateway.open(given, clinic.doctor)
    assert set(caught.value.place.split("; ")) == {f"{honest[0]} test.01", f"{honest[1]} gateway.04"}


def test_a_fault_of_ours_is_not_held_against_a_custodian(clinic: Clinic, honest: list[Did]) -> None:
    def broken(_: list[bytes]) -> list[bytes]:
        raise ZeroDivisionError

    clinic.ways[honest[1]] = Way(clinic.ways[honest[1]], broken)
    given = receipt(clinic)
    with pytest.raises(ZeroDivisionError):
        clinic.gateway.open(given, clinic.doctor)


def key_of(clinic: Clinic, did: Did) -> Any:
    return next(member.home.node_key for member in clinic.mesh.members.values() if member.home.did == did)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("change", "code", "evidence"),
    [
        ({"receipt": bytes(32)}, "gateway.04", False),
        ({"stream": bytes(32)}, "gateway.04", False),
        ({"descriptor": codec.cid_of_cbor(b"other")}, "gateway.04", False),
        ({"custodian": "did:caremesh:caremesh-local:" + "a" * 32}, "gateway.04", False),
        ({"keys": "other"}, "gateway.04", False),
        ({"seal": "other"}, "gateway.04", False),
        ({"reencryption": "other"}, "reencryption.07", True),
    ],
)
def test_what_is_not_what_was_asked_for_names_the_custodian(
    clinic: Clinic, honest: list[Did], change: dict[str, Any], code: str, evidence: bool
) -> None:
    liar = honest[0]

    def lie(answers: list[bytes]) -> list[bytes]:
        release = codec.decode_as(custody.read_signed(answers[0]).payload, Release)
        other = {
            "keys": replace(release.keys, receiving=release.keys.delegating),
            "seal": replace(release.seal, ciphertext=release.seal.ciphertext[:-1] + b"?"),
            "reencryption": release.reencryption[:-1] + bytes([release.reencryption[-1] ^ 1]),
        }
        changed = {name: other[name] if value == "other" else value for name, value in change.items()}
        said = custody.sign_payload(custody.RELEASE, replace(release, **changed), key_of(clinic, liar))
        return [codec.encode(said)]

    said: list[bytes] = []
    clinic.ways[liar] = Way(clinic.ways[liar], lambda answers: said.extend(lie(answers)) or said)
    found = opened(clinic)
    assert sorted(found.released_by) == honest[1:]
    [fault] = found.faults
    assert (fault.custodian, fault.error.code, fault.error.place) == (liar, code, liar)
    claim = Claim(kind="false-release", custodian=liar, signed=[custody.read_signed(said[0])])
    assert fault.claim == (claim if evidence else None), "what it signed, for others to see"


@pytest.mark.promise("P6")
def test_an_answer_under_another_key_counts_for_nothing(clinic: Clinic, honest: list[Did]) -> None:
    def forged(answers: list[bytes]) -> list[bytes]:
        signed = custody.read_signed(answers[0])
        other = custody.sign_payload(custody.RELEASE, codec.decode_as(signed.payload, Release), clinic.doctor.key)
        return [codec.encode(other)]

    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], forged)
    [fault] = opened(clinic).faults
    assert (fault.custodian, fault.error.code, fault.claim) == (honest[0], "custody.02", None)
    assert fault.error.place == honest[0]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("times", [0, 2])
def test_as_many_answers_as_were_asked_for_or_none_counts(clinic: Clinic, honest: list[Did], times: int) -> None:
    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], lambda answers: answers * times)
    [fault] = opened(clinic).faults
    assert (fault.custodian, fault.error.code, fault.error.place) == (honest[0], "gateway.04", honest[0])


@pytest.mark.promise("P6")
def test_an_answer_that_is_none_names_who_gave_it(clinic: Clinic, honest: list[Did]) -> None:
    clinic.ways[honest[0]] = Way(clinic.ways[honest[0]], lambda _: [b"garbage"])
    [fault] = opened(clinic).faults
    assert (fault.custodian, fault.error.place, fault.claim) == (honest[0], honest[0], None)


@pytest.mark.promise("P6")
def test_two_liars_leave_too_few_and_both_are_named(clinic: Clinic, honest: list[Did]) -> None:
    for liar in honest[:2]:
        clinic.ways[liar] = LyingCustodian(clinic.mesh.custodians[liar], key_of(clinic, liar))
    given = receipt(clinic)
    with pytest.raises(Unavailable) as caught:
        clinic.gateway.open(given, clinic.doctor)
    assert set(caught.value.place.split("; ")) == {f"{liar} reencryption.07" for liar in honest[:2]}


@pytest.mark.promise("P6")
def test_when_all_verify_and_the_seal_does_not_open_the_source_is_at_fault(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> bytes:
        raise Tampered(reencryption.TOO_FEW)

    monkeypatch.setattr(gathering, "open_checked", refuses)
    given = receipt(clinic)
    with pytest.raises(Tampered, match=r"gateway\.06") as caught:
        clinic.gateway.open(given, clinic.doctor)
    segment, *_ = records.segments(clinic.mesh.engine.reader(), given.stream)
    assert caught.value.place == str(segment.descriptor)


def test_each_re_encryption_is_checked_once(clinic: Clinic, honest: list[Did], monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    class Counted(reencryption.Checked):
        __slots__ = ()

        def __init__(self, *args: Any) -> None:
            checked.append(args[-1])
            super().__init__(*args)

    monkeypatch.setattr(reencryption, "Checked", Counted)
    found = opened(clinic)
    assert sorted(checked) == sorted(found.released_by) == honest[:2]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("answers", [0, 2])
def test_as_many_parts_as_were_asked_for_or_none_counts(clinic: Clinic, honest: list[Did], answers: int) -> None:
    class Other:
        def __init__(self, custodian: ReleaseCustodian) -> None:
            self._custodian = custodian

        def release(self, data: bytes) -> list[bytes]:
            raise AssertionError(data)

        def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
            return list(self._custodian.release_each(data)) * answers

    clinic.ways[honest[0]] = Other(clinic.ways[honest[0]])
    [fault] = opened(clinic).faults
    assert (fault.custodian, fault.error.code, fault.error.place) == (honest[0], "gateway.04", honest[0])
