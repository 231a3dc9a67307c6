"""What a block may hold and in which order; and that nothing is verified twice."""

from __future__ import annotations

import pytest

from caremesh.consensus.cometbft.checked import CheckedTransactions
from caremesh.consensus.cometbft.proposals import Proposals
from caremesh.errors import BadInput
from caremesh.ledger.application import Params
from caremesh.ledger.transactions import TransactionCodec
from tests.support.kv import MEMBER, START_S, Kv, Put, Revoke, transaction

CODEC = TransactionCodec(Kv.messages)
ROOM = 2**21


def rules(**limits: int) -> Proposals:
    params = Params(**limits)
    return Proposals(Kv([MEMBER]), CheckedTransactions(CODEC), lambda: params)


def put(number: int, ahead: int = 300) -> bytes:
    return transaction(Put(key=b"%d" % number, value=b"1"), expires_at=START_S + ahead)


REVOKE = transaction(Revoke(key=b"a"))
MIXED = transaction(Revoke(key=b"a"), Put(key=b"b", value=b"1"))


def test_revocations_come_first_and_all_else_in_the_order_of_coming() -> None:
    first, second = put(1), put(2)
    other = transaction(Revoke(key=b"b"))
    assert rules().prepare([first, REVOKE, MIXED, second, other], START_S, ROOM) == [
        REVOKE,
        other,
        first,
        MIXED,
        second,
    ]
    assert rules().is_acceptable([REVOKE, other, first, MIXED, second], START_S)
    assert not rules().is_acceptable([first, REVOKE], START_S)
    assert not rules().is_acceptable([MIXED, REVOKE], START_S), "part of it is paid for"
    assert rules().is_acceptable([], START_S)


def test_what_cannot_be_read_or_is_not_signed_stays_out() -> None:
    good = put(1)
    bent = good[:-1] + bytes([good[-1] ^ 1])
    assert rules().prepare([b"nonsense", bent, good], START_S, ROOM) == [good]
    for bad in (b"nonsense", bent):
        assert not rules().is_acceptable([bad, good], START_S)


def test_what_expires_too_far_ahead_waits_until_block_time_has_caught_up() -> None:
    raw = put(1, ahead=601)
    assert rules().prepare([raw], START_S, ROOM) == []
    assert not rules().is_acceptable([raw], START_S)
    assert rules().prepare([raw], START_S + 1, ROOM) == [raw]
    assert rules().is_acceptable([raw], START_S + 1)


def test_what_has_expired_may_be_in_a_block_and_is_refused_there() -> None:
    raw = put(1, ahead=10)
    assert rules().prepare([raw], START_S + 11, ROOM) == [raw]
    assert rules().is_acceptable([raw], START_S + 11)


@pytest.mark.parametrize(("less", "count"), [(0, 3), (1, 2)])
def test_a_block_is_filled_to_the_ledgers_limit(less: int, count: int) -> None:
    raws = [put(number) for number in range(4)]
    made = rules(max_block_bytes=3 * len(raws[0]) - less)
    assert made.prepare(raws, START_S, ROOM) == raws[:count]
    assert made.is_acceptable(raws[:count], START_S)
    assert not made.is_acceptable(raws[: count + 1], START_S)


def test_one_transaction_always_fits_the_ledger_but_never_more_than_cometbft_has_room_for() -> None:
    raws = [put(number) for number in range(3)]
    tight = rules(max_block_bytes=10)
    assert tight.prepare(raws, START_S, ROOM) == raws[:1]
    assert tight.is_acceptable(raws[:1], START_S)
    framed = len(raws[0]) + 3  # a tag, and two bytes of length
    assert len(raws[0]) > 127
    assert rules().prepare(raws, START_S, 2 * framed) == raws[:2]
    assert rules().prepare(raws, START_S, 2 * framed - 1) == raws[:1]
    assert rules().prepare(raws, START_S, framed - 1) == []
    assert rules().prepare(raws, START_S, -1) == []


def test_what_is_sound_is_verified_once() -> None:
    checked = CheckedTransactions(CODEC)
    raw = put(1)
    assert checked.decode(raw) is checked.decode(raw)
    assert checked.verified == 1
    for _ in range(2):
        with pytest.raises(BadInput):
            checked.decode(b"nonsense")
    assert checked.verified == 1
    checked.forget([raw, b"unknown"])
    checked.decode(raw)
    assert checked.verified == 2


@pytest.mark.parametrize("bounds", [(2, 10**6), (10**6, 2 * len(put(0)))])
def test_only_so_many_are_remembered_the_oldest_going_first(bounds: tuple[int, int]) -> None:
    checked = CheckedTransactions(CODEC, *bounds)
    raws = [put(number) for number in range(3)]
    for raw in raws:
        checked.decode(raw)
    checked.decode(raws[2])
    checked.decode(raws[1])
    assert checked.verified == 3
    checked.decode(raws[0])
    assert checked.verified == 4
