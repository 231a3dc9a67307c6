"""What is registered while a visit is open is there when its records are next read; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from threading import Event, Thread

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Narrow, Scope
from caremesh.contracts.network.messages import Brake
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import Refused, Unavailable
from caremesh.gateway import ask as asking
from caremesh.gateway import holding
from caremesh.gateway import visit as visits
from caremesh.gateway.ask import Asked
from caremesh.gateway.gateway import Gateway
from caremesh.gateway.gather import OneByOne, ReleaseCustodian
from caremesh.gateway.holding import HeldRecord
from caremesh.gateway.opening import Opened, Part, in_scope
from caremesh.gateway.visit import Purpose, Visit
from caremesh.node.founding import CHAIN
from caremesh.sealing import custody
from caremesh.sealing.custody import ReleaseRequest
from caremesh.types import Did
from caremesh.wallet import state as states
from caremesh.wallet import transact
from tests.support.case import BASIS, Case
from tests.support.patient import SILENT


class Ways(dict[Did, ReleaseCustodian]):
    """The ways to the custodians, which note what each is asked to release, and on which something may happen."""

    def __init__(self, case: Case) -> None:
        self.asked: list[Sequence[CID]] = []
        self.silent = False
        self.before: Callable[[], object] = lambda: None
        self.then: Callable[[], object] = lambda: None
        self.when_both_have: Callable[[], object] = lambda: None
        self._released = count(1)
        super().__init__({did: self.way(custodian) for did, custodian in case.mesh.custodians.items()})

    def way(self, custodian: ReleaseCustodian) -> ReleaseCustodian:
        ways = self

        class Way(OneByOne):
            def release(self, data: bytes) -> list[bytes]:
                ways.asked.append(codec.decode_as(custody.read_signed(data).payload, ReleaseRequest).descriptors)
                ways.before()
                if ways.silent:
                    raise Unavailable(SILENT)
                answer = custodian.release(data)
                ways.then()
                if next(ways._released) == 2:
                    ways.when_both_have()
                return answer

        return Way()


class Open:
    """An opened visit of the practice's physician to a patient's conditions, and what it stands on."""

    def __init__(self, case: Case, *, open_now: bool = True) -> None:
        self.ways = Ways(case)
        practice = case.mesh.member("practice")
        self.gateway: Gateway = practice.gateway(case.mesh, self.ways, patience_s=30.0)
        key = states.keys_of(case.wallet.state, practice.home.did).channel().signing.public
        self.visit: Visit = self.gateway.visit(key, Purpose("TREAT", BASIS), case.doctor)
        if open_now:
            self.visit.open()
            self.ways.asked.clear()
            self.ways._released = count(1)

    def read(self) -> list[int]:
        return [int(record.id.rpartition("-c")[2]) for record in self.visit.records("conditions")]

    def behind(self) -> list[tuple[str, str]]:
        return [(late.category, late.error.code) for late in self.visit.behind]


@pytest.mark.promise("P2")
def test_what_comes_while_it_is_open_is_there_when_it_is_next_read(case: Case) -> None:
    case.share()
    seen = Open(case)
    [before] = [grounds.receipt for grounds in seen.visit.grounds]
    kept = seen.visit.records("conditions")
    case.add(3)
    case.add(4, 5)
    assert seen.visit.records("claims") == []
    assert seen.ways.asked == [], "nobody has read them yet"
    assert seen.read() == [1, 2, 3, 4, 5]
    assert seen.visit.records("conditions")[:2] == kept, "what was open stays as it was"
    [renewed] = [grounds.receipt for grounds in seen.visit.grounds]
    assert (renewed.first, access.visits(case.reader, renewed.consent)) == (before.id, 1), "one visit, for the patient"
    new = [segment.descriptor for segment in case.segments()[1:]]
    assert seen.ways.asked == [new, new], "two custodians, for what is new alone"
    assert seen.read() == [1, 2, 3, 4, 5]
    assert (len(seen.ways.asked), seen.behind(), seen.visit.ended) == (2, [], [])
    seen.visit.close()
    given = [access.receipt(case.reader, receipt.id) for receipt in (before, renewed)]
    assert [receipt is not None and receipt.closed for receipt in given] == [True, True]


@pytest.mark.promise("P2")
def test_opening_again_opens_what_is_new_and_says_what_it_took(case: Case) -> None:
    case.share()
    seen = Open(case)
    assert seen.visit.open() == []
    case.add(3)
    [opened] = seen.visit.open()
    assert ([part.segment for part in opened.parts], len(opened.released_by)) == ([1], 2)
    assert seen.visit.open() == []
    seen.visit.close()


@pytest.mark.promise("P2")
def test_what_came_between_the_receipt_and_the_opening_is_there_too(case: Case) -> None:
    case.share()
    seen = Open(case, open_now=False)
    case.add(3)
    assert seen.read() == [], "nothing is opened that nobody has opened"
    height = case.mesh.engine.status().height
    seen.visit.open()
    assert case.mesh.engine.status().height == height, "who opens what there was does not wait for a block"
    assert seen.read() == [1, 2, 3]
    seen.visit.close()


def test_a_visit_that_nobody_has_opened_reads_nothing_and_is_not_behind(case: Case) -> None:
    case.share()
    seen = Open(case, open_now=False)
    assert (seen.read(), seen.ways.asked, seen.behind()) == ([], [], [])
    seen.visit.open()
    assert (seen.read(), seen.behind()) == ([1, 2], [])
    seen.visit.close()


@pytest.mark.promise("P2")
def test_a_receipt_that_was_renewed_meanwhile_is_not_renewed_again(case: Case) -> None:
    case.share()
    seen = Open(case)
    case.add(3)
    case.clock.advance(451)
    seen.visit.keep()
    [renewed] = [grounds.receipt for grounds in seen.visit.grounds]
    assert seen.read() == [1, 2, 3]
    assert [grounds.receipt for grounds in seen.visit.grounds] == [renewed]
    seen.visit.close()


@pytest.mark.promise("P2")
def test_what_the_consent_is_not_for_is_neither_opened_nor_asked_for(case: Case) -> None:
    case.share(future=False)
    seen = Open(case)
    before = seen.visit.grounds
    case.add(3)
    height = case.mesh.engine.status().height
    assert seen.read() == [1, 2]
    assert (seen.visit.grounds, case.mesh.engine.status().height) == (before, height)
    assert (seen.ways.asked, seen.behind()) == ([], [])
    seen.visit.close()


@pytest.mark.promise("P10")
def test_what_does_not_open_takes_nothing_away_and_is_tried_again_after_a_block(case: Case) -> None:
    case.share()
    seen = Open(case)
    case.add(3)
    seen.ways.silent = True
    assert seen.read() == [1, 2]
    assert seen.behind() == [("conditions", "gateway.02")]
    tried = len(seen.ways.asked)
    assert seen.read() == [1, 2]
    assert len(seen.ways.asked) == tried, "once a block"
    seen.ways.silent = False
    case.mesh.tick()
    assert seen.read() == [1, 2, 3]
    assert (seen.behind(), seen.visit.ended) == ([], [])
    seen.visit.close()


@pytest.mark.promise("P10")
def test_while_the_ledger_gives_no_receipt_what_is_held_stays(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.share()
    seen = Open(case)
    regulator = case.mesh.member("regulator").home.requester
    case.mesh.send([regulator], Brake(scope="receipts", reason="drill", until=case.clock() + 60))
    case.add(3)
    assert seen.read() == [1, 2]
    assert seen.behind() == [("conditions", "access.06")]
    case.clock.advance(61)
    case.mesh.tick()

    def unreachable(*_: object) -> None:
        raise Unavailable(SILENT)

    with monkeypatch.context() as patch:
        patch.setattr(asking, "_send", unreachable)
        assert seen.read() == [1, 2]
        assert seen.behind() == [("conditions", "test.01")]
    case.mesh.tick()
    assert seen.read() == [1, 2, 3]
    seen.visit.close()


@pytest.mark.promise("P3")
def test_what_is_revoked_while_what_is_new_is_opened_is_gone_whole(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = case.share()
    seen = Open(case)
    kept = seen.visit.records("conditions")

    def hold(category: str, parts: Sequence[Part]) -> dict[int, list[HeldRecord]]:
        made = holding.hold(category, parts)
        kept.extend(record for records in made.values() for record in records)
        return made

    monkeypatch.setattr(visits, "hold", hold)
    case.add(3)
    seen.ways.when_both_have = lambda: case.person.revoke(shared.record.id)
    assert seen.read() == []
    assert [ended.error.code for ended in seen.visit.ended] == ["gateway.10"]
    assert [any(record._bytes) for record in kept] == [False] * 3, "what was just opened, too"
    assert seen.behind() == []
    seen.visit.close()


@pytest.mark.promise("P10")
def test_while_the_ledger_cannot_be_reached_nothing_is_renewed_and_nothing_fails(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.share()
    seen = Open(case)
    before = seen.visit.grounds
    case.clock.advance(451)

    def unreachable(*_: object) -> None:
        raise Unavailable(SILENT)

    with monkeypatch.context() as patch:
        patch.setattr(asking, "_send", unreachable)
        seen.visit.keep()
    assert (seen.visit.grounds, seen.read()) == (before, [1, 2])
    seen.visit.keep()
    assert seen.visit.grounds != before
    seen.visit.close()


@pytest.mark.promise("P3")
def test_a_stream_that_has_ended_is_neither_opened_nor_asked_for_again(case: Case) -> None:
    case.share()
    over = case.share(categories=("demographics",))
    seen = Open(case, open_now=False)
    case.person.revoke(over.record.id)
    assert len(seen.visit.open()) == 1
    assert len(seen.ways.asked) == 2, "two custodians, for the stream that is left"
    case.clock.advance(451)
    seen.visit.keep()
    found = access.of_stream(case.reader, over.record.items[0].stream)
    assert [type(record).__name__ for record in found] == ["Receipt"], "no refusal that the patient would wonder about"
    assert [ended.error.code for ended in seen.visit.ended] == ["gateway.10"]
    seen.visit.close()


@pytest.mark.promise("P2")
def test_a_receipt_opens_what_it_lists_and_its_consent_lists(case: Case) -> None:
    case.add(3)
    listed = case.share(listed={"conditions": [1]})
    seen = Open(case)
    assert seen.read() == [3]
    seen.visit.close()
    case.person.revoke(listed.record.id)
    consent = case.share().record.items[0].consent
    gateway = seen.gateway
    for segments, numbers in (([0], [1, 2]), ([1], [3]), ([], [1, 2, 3])):
        receipt = gateway.ask(Asked(consent, "read", "TREAT", BASIS, segments), case.doctor)
        assert case.open(receipt) == numbers
    empty = case.ask(case.share(categories=("claims",)).record.items[0].consent)
    assert gateway.open(empty, case.doctor) == Opened([], [], [], [], [], [])
    granted = consents.consent(case.reader, consent)
    assert granted is not None
    assert [index for index, _ in in_scope(case.reader, case.stream, granted)] == [0, 1]
    assert in_scope(case.reader, case.stream, replace(granted, epoch=1)) == [], "sealed to the key of another epoch"
    for wrong in (replace(receipt, consent=bytes(32)), replace(receipt, stream=bytes(32))):
        with pytest.raises(Refused, match=r"gateway\.01"):
            gateway.open(wrong, case.doctor)


@pytest.mark.promise("P10")
def test_what_was_delegated_to_an_earlier_key_is_asked_of_nobody(case: Case) -> None:
    shared = case.share()
    seen = Open(case)
    receipt = case.ask(shared.record.items[0].consent)
    seen.gateway._means = seen.gateway._means._replace(receiving=ReadingKey.from_secret(b"n" * 32))
    with pytest.raises(Refused, match=r"gateway\.17"):
        seen.gateway.open(receipt, case.doctor)
    assert seen.ways.asked == [], "no custodian is to blame"
    seen.visit.close()


@pytest.mark.promise("P3")
def test_what_is_revoked_before_anybody_releases_is_told_once(case: Case) -> None:
    shared = case.share()
    seen = Open(case, open_now=False)
    seen.ways.before = lambda: case.person.revoke(shared.record.id)
    assert seen.visit.open() == []
    assert [(ended.category, ended.error.code) for ended in seen.visit.ended] == [("conditions", "gateway.10")]
    assert seen.read() == []
    seen.visit.close()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("first", [True, False])
def test_what_is_narrowed_while_it_is_being_opened_is_not_kept(case: Case, first: bool) -> None:
    shared = case.share()
    if first:
        case.add(3)
    seen = Open(case, open_now=not first)
    if not first:
        case.add(3)

    def narrow() -> None:
        message = Narrow(consent=shared.record.items[0].consent, scope=Scope(kind="listed", segments=[0]))
        key = case.located.keys.signing(0)
        raw = transact.signed(case.reader, CHAIN, message, key, case.sponsor, case.clock())
        [committed] = case.ledger.submit([raw])
        assert not committed.code, committed.result

    seen.ways.when_both_have = narrow
    assert len(seen.visit.open()) == 1
    assert seen.read() == [1, 2]
    seen.visit.close()


@pytest.mark.promise("P2")
def test_a_correction_takes_the_place_of_what_it_corrects(case: Case) -> None:
    case.share()
    seen = Open(case)
    case.bring([case.condition(1, note=[{"text": "corrected"}]), case.condition(2)])
    assert sorted(set(seen.read())) == [1, 2]
    assert any(b"corrected" in record.data.tobytes() for record in seen.visit.records("conditions"))
    seen.visit.close()


def test_who_reads_while_another_opens_what_is_new_waits_for_it(case: Case) -> None:
    case.share()
    seen = Open(case)
    case.add(3)
    asked, go_on = Event(), Event()

    def wait() -> None:
        asked.set()
        go_on.wait(30)

    seen.ways.then = wait
    read: list[list[int]] = []
    threads = [Thread(target=lambda: read.append(seen.read())) for _ in range(2)]
    threads[0].start()
    assert asked.wait(30)
    threads[1].start()
    threads[1].join(0.1)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert read == [[1, 2, 3], [1, 2, 3]]
    assert len(seen.ways.asked) == 2, "it is opened once"
    seen.visit.close()


def test_receipts_that_ran_out_are_not_closed_again(case: Case) -> None:
    case.share()
    seen = Open(case)
    for _ in range(3):
        case.clock.advance(451)
        case.mesh.tick()
        seen.visit.keep()
    assert len(seen.visit._entries[0].receipts) == 4
    height = case.mesh.engine.status().height
    seen.visit.close()
    closed = [tx for block in case.mesh.engine.blocks(height + 1) for tx in block.txs]
    assert len(closed) == 2, "the last two are alive"
