"""Copies of the ledger that are behind are asked again, those that confirmed are not, and the end is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from caremesh.custodian.errors import NOT_ERASED
from caremesh.errors import Refused, Tampered, Unavailable
from caremesh.sealing import custody
from caremesh.types import Did
from caremesh.wallet.erase import Confirmations
from tests.support.case import Case

LONG_S = 60.0


class Asked:
    """The way to members, some of which answer otherwise than they would: DID → how often, and how."""

    def __init__(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        self._true = case.mesh.confirm_erased
        self.behind: dict[Did, int] = {}
        self.otherwise: dict[Did, Callable[[], list[bytes]]] = {}
        self.times: Counter[Did] = Counter()
        monkeypatch.setattr(case.mesh, "confirm_erased", self._ask)

    def _ask(self, member: Did, stream: bytes, segment: int) -> list[bytes]:
        self.times[member] += 1
        if self.times[member] <= self.behind.get(member, 0):
            raise Refused(NOT_ERASED)
        if member in self.otherwise:
            return self.otherwise[member]()
        return self._true(member, stream, segment)


@pytest.fixture
def asked(case: Case, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(case, monkeypatch)


def silent() -> list[bytes]:
    raise Unavailable(custody.NOT_SIGNED)


@pytest.mark.promise("P8")
def test_who_is_behind_is_asked_again_until_it_confirms_and_the_others_once(case: Case, asked: Asked) -> None:
    slow, slower, _ = sorted(case.mesh.custodians)
    asked.behind = {slow: 1, slower: 3}
    told: list[Confirmations] = []
    made, found = case.person.erase("conditions", 0, heard=told.append, within_s=LONG_S)
    members = {member.home.did for member in case.mesh.members.values()}
    assert asked.times == {**dict.fromkeys(members, 1), slow: 2, slower: 4}
    assert (found.faults, found.unreadable, found.asked) == ([], True, 5)
    assert [sorted(did for did, _ in each.faults) for each in told] == [[slow, slower], [slower], [slower], []]
    assert told[-1] == found
    assert made.confirmations == found.signed
    assert len({entry.payload for entry in found.signed}) == len(found.signed) == 7


@pytest.mark.promise("P8")
def test_who_does_not_answer_in_time_is_named_and_a_later_certificate_is_whole(case: Case, asked: Asked) -> None:
    one, two, _ = sorted(case.mesh.custodians)
    asked.otherwise = {one: silent}
    made, found = case.person.erase("conditions", 0, within_s=0)
    assert (found.faults, found.unreadable, asked.times[one]) == ([(one, "custody.01")], True, 1)
    asked.otherwise = {one: silent, two: silent}
    _, fewer = case.person.certificate("conditions", 0, within_s=0)
    assert (sorted(did for did, _ in fewer.faults), fewer.unreadable) == ([one, two], False)
    asked.otherwise = {}
    later, whole = case.person.certificate("conditions", 0, within_s=0)
    assert (whole.faults, whole.unreadable) == ([], True)
    assert len(later.confirmations) > len(made.confirmations)


@pytest.mark.promise("P6")
def test_what_a_member_says_of_something_else_is_not_believed(case: Case, asked: Asked) -> None:
    one, other, _ = sorted(case.mesh.custodians)
    case.wallet.erase(case.stream, 1, case.ledger, case.sponsor)
    of_another = case.mesh.custodians[one].confirm_erased(case.stream, 1)
    asked.otherwise = {one: lambda: [of_another], other: lambda: [b"no signature"]}
    _, found = case.person.erase("conditions", 0, within_s=0)
    assert sorted(found.faults) == sorted([(one, "certificate.03"), (other, "custody.01")])
    assert not found.unreadable


def test_nobody_is_asked_about_what_is_not_erased(case: Case, asked: Asked) -> None:
    for segment in (0, 7):
        with pytest.raises(Tampered, match=r"certificate\.02") as caught:
            case.person.certificate("conditions", segment, within_s=0)
        assert caught.value.place == f"segment {segment}"
    assert not asked.times


def test_with_two_sources_of_a_category_the_one_is_named(case: Case) -> None:
    case.person.enrol("laboratory", case.name, categories=["conditions"])
    person = case.person
    for act in (
        lambda: person.erase("conditions", 0),
        lambda: person.certificate("conditions", 0),
        lambda: person.drop("conditions", 0, []),
    ):
        with pytest.raises(Refused, match=r"wallet\.68") as caught:
            act()
        assert caught.value.place == ", ".join(
            sorted(case.mesh.name_of(case.did(n)) for n in ("hospital", "laboratory"))
        )
    assert len(person.records("conditions")) == len(person.records("conditions", "hospital")) == 3
    assert person.records("conditions", "laboratory") == []
    with pytest.raises(Refused, match=r"wallet\.67"):
        person.erase("imaging", 0, "laboratory")
    _, found = person.erase("conditions", 0, "hospital")
    assert found.faults == []
    assert len(person.records("conditions")) == 1
