"""Several requests for releases at once: each granted or refused by itself, all that is granted logged in one step."""

from __future__ import annotations

from typing import Any

import lmdb
import pytest

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED
from caremesh.contracts.consent.messages import Revoke
from caremesh.custodian.custodian import Custodian
from caremesh.custodian.log import ReleaseLog, ToLog
from caremesh.custodian.releasing import Granted
from caremesh.errors import CareMeshError, StorageFailed
from caremesh.sealing import custody
from caremesh.sealing.custody import Release
from caremesh.sealing.release_log import START, link_of
from tests.support.keepers import Keepers, said


def codes(found: list[Any]) -> list[str]:
    """The code of each part; empty where it was granted."""
    return [each.code if isinstance(each, CareMeshError) else "" for each in found]


@pytest.mark.promise("P2")
def test_each_is_granted_or_refused_by_itself_in_the_order_asked(keepers: Keepers) -> None:
    first, second = keepers.add(b"1"), keepers.add(b"2")
    receipt, keeper = keepers.receipt(keepers.share()), keepers.keeper
    one = keepers.ask_release(receipt, descriptors=[first.descriptor_cid])
    unknown = keepers.ask_release(receipt, descriptors=[codec.cid_of_cbor(b"unknown")])
    other = keepers.ask_release(receipt, custodian=keepers.keepers[1].did)
    two = keepers.ask_release(receipt, descriptors=[second.descriptor_cid, first.descriptor_cid])
    found = keeper.release_each([one, unknown, b"", two, other, one])
    assert codes(found) == ["", "custodian.10", "custody.01", "", "custodian.18", "custodian.19"]
    granted = [each for each in found if not isinstance(each, CareMeshError)]
    releases = [said(custody.RELEASE, answer, Release, keeper) for each in granted for answer in each]
    assert [each.descriptor for each in releases] == [
        first.descriptor_cid,
        second.descriptor_cid,
        first.descriptor_cid,
    ]
    entries, _ = keeper.log.entries(keepers.stream)
    assert [each.log.entry for each in releases] == [link_of(entry) for entry in entries], "nothing else is logged"
    assert keeper.release_each([]) == []


@pytest.mark.promise("P3")
def test_what_is_taken_back_while_the_others_are_checked_does_not_leave(
    keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers.add()
    consent = keepers.share()
    receipt, keeper = keepers.receipt(consent), keepers.keeper
    asked = [keepers.ask_release(receipt), keepers.ask_release(receipt)]
    plain, checked = Custodian._granted, []

    def then_revoked(self: Custodian, data: bytes) -> Granted:
        found = plain(self, data)
        checked.append(data)
        if len(checked) == 1:
            keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
        return found

    monkeypatch.setattr(Custodian, "_granted", then_revoked)
    before = keeper.log_root()
    assert codes(keeper.release_each(asked)) == ["custodian.05", "custodian.05"]
    assert keeper.log_root() == before


@pytest.mark.promise("P3")
def test_what_grows_old_while_the_others_are_checked_does_not_leave(
    keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers.add()
    receipt, keeper = keepers.receipt(keepers.share()), keepers.keeper
    plain = Custodian._granted

    def later(self: Custodian, data: bytes) -> Granted:
        found = plain(self, data)
        keepers.clock_off_s = 31
        return found

    monkeypatch.setattr(Custodian, "_granted", later)
    assert codes(keeper.release_each([keepers.ask_release(receipt)])) == ["custodian.01"], "its copy is too old by then"


def test_a_disk_that_takes_nothing_fails_what_was_granted_and_nothing_leaves(
    keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers.add()
    receipt, keeper = keepers.receipt(keepers.share()), keepers.keeper

    def full(self: ReleaseLog, asked: Any, at: int) -> Any:  # noqa: ARG001
        raise StorageFailed(STORAGE_FAILED)

    monkeypatch.setattr(ReleaseLog, "append_each", full)
    asked = [keepers.ask_release(receipt), b""]
    assert codes(keeper.release_each(asked)) == ["storage.01", "custody.01"]


@pytest.mark.promise("P6")
def test_the_damaged_log_of_one_stream_stops_no_other(keepers: Keepers) -> None:
    log, one, two = keepers.keeper.log, bytes([1]) * 32, bytes([2]) * 32
    [cid, other] = [codec.cid_of_raw(bytes([number])) for number in range(2)]
    [_] = log.append_each([ToLog(one, bytes(32), [cid])], 100)
    with log._env.begin(write=True) as txn:
        txn.delete(b"head/" + one)
    broken, good, again = log.append_each(
        [ToLog(one, bytes(32), [other]), ToLog(two, bytes(32), [cid, other]), ToLog(two, bytes(32), [cid])], 101
    )
    assert isinstance(broken, CareMeshError)
    assert (broken.code, broken.place) == ("custodian.21", "entry 0")
    assert not isinstance(good, CareMeshError)
    assert not isinstance(again, CareMeshError)
    assert [entry.previous for entry in (*good, *again)] == [START, link_of(good[0]), link_of(good[1])]
    assert log.entries(two)[0] == [*good, *again]
    assert log.entries(one)[0] == [], "what failed has left nothing behind"


@pytest.mark.promise("P6")
def test_what_cannot_be_logged_does_not_leave(keepers: Keepers) -> None:
    keepers.add()
    receipt, keeper = keepers.receipt(keepers.share()), keepers.keeper
    [[_]] = keeper.release_each([keepers.ask_release(receipt)])
    with keeper.log._env.begin(write=True) as txn:
        txn.delete(b"head/" + keepers.stream)
    [broken] = keeper.release_each([keepers.ask_release(receipt)])
    assert isinstance(broken, CareMeshError)
    assert (broken.code, broken.place) == ("custodian.21", "entry 0")


def test_what_is_granted_together_is_one_step_on_the_disk(keepers: Keepers, monkeypatch: pytest.MonkeyPatch) -> None:
    keepers.add()
    receipt, keeper = keepers.receipt(keepers.share()), keepers.keeper
    steps: list[bool] = []

    class Counting:
        def __init__(self, plain: lmdb.Environment) -> None:
            self._plain = plain

        def begin(self, *args: Any, **named: Any) -> Any:
            steps.append(named.get("parent") is None)
            return self._plain.begin(*args, **named)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._plain, name)

    monkeypatch.setattr(keeper.log, "_env", Counting(keeper.log._env))
    assert codes(keeper.release_each([keepers.ask_release(receipt) for _ in range(5)])) == [""] * 5
    assert steps.count(True) == 1
