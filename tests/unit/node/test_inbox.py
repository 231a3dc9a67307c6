"""An inbox: messages wait for who holds a key, in order, within limits, until they are acknowledged or too old."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from caremesh.blobs.vault import Vault
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.errors import Refused
from caremesh.node.inbox import Inbox, InboxLimits
from caremesh.testing.clock import SettableClock

ALICE, BOB = (SigningKey.from_seed(bytes([number]) * 32).public for number in (1, 2))
CLINIC, OTHER = (f"did:caremesh:test:{letter * 32}" for letter in "ab")
SMALL = InboxLimits(max_message_bytes=10, max_per_key=3, max_per_sender=4, max_messages=6, max_listed=2, keep_s=100)


class Kept:
    """An inbox that can be opened again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SettableClock()
        self.open()

    def open(self) -> None:
        self.vault = Vault(self.folder, bytes(32))
        self.inbox = Inbox(self.vault, self.clock, SMALL)

    def listed(self, key: bytes = ALICE) -> list[bytes]:
        return [message.sealed for message in self.inbox.waiting(key).messages]

    def refused(self, key: bytes, sealed: bytes, sender: str = CLINIC) -> str:
        with pytest.raises(Refused) as caught:
            self.inbox.leave(key, sealed, sender)
        return caught.value.code


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "vault")


@pytest.mark.promise("P5")
def test_a_message_stays_until_it_is_acknowledged_and_outlives_a_crash(kept: Kept) -> None:
    identity = kept.inbox.leave(ALICE, b"one", CLINIC)
    assert identity == sha256(b"one").hex()
    assert kept.listed() == kept.listed() == [b"one"], "listing takes nothing away"
    kept.open()
    assert kept.listed() == [b"one"]
    assert kept.inbox.acknowledge(ALICE, [identity]) == 1
    assert kept.inbox.acknowledge(ALICE, [identity]) == 0, "twice does no harm"
    assert kept.listed() == []
    kept.open()
    assert kept.listed() == []
    assert kept.vault.names("inbox/") == []


def test_only_under_its_own_key_is_a_message_listed_or_destroyed(kept: Kept) -> None:
    identity = kept.inbox.leave(ALICE, b"one", CLINIC)
    assert kept.listed(BOB) == []
    assert kept.inbox.acknowledge(BOB, [identity]) == 0
    assert kept.listed() == [b"one"]


def test_messages_come_in_the_order_of_their_arrival_page_by_page(kept: Kept) -> None:
    for said in (b"one", b"two", b"three"):
        kept.inbox.leave(ALICE, said, CLINIC)
    first = kept.inbox.waiting(ALICE)
    assert ([each.sealed for each in first.messages], first.more) == ([b"one", b"two"], True)
    rest = kept.inbox.waiting(ALICE, first.cursor)
    assert ([each.sealed for each in rest.messages], rest.more) == ([b"three"], False)
    assert kept.inbox.waiting(ALICE, rest.cursor).messages == []
    kept.open()
    kept.inbox.acknowledge(ALICE, [each.id for each in first.messages + rest.messages])
    kept.inbox.leave(ALICE, b"four", CLINIC)
    after = kept.inbox.waiting(ALICE, rest.cursor).messages
    assert [each.sealed for each in after] == [b"four"], "a cursor holds after a restart"
    assert after[0].at >= kept.clock()


def test_the_same_message_again_is_kept_once(kept: Kept) -> None:
    assert kept.inbox.leave(ALICE, b"one", CLINIC) == kept.inbox.leave(ALICE, b"one", CLINIC)
    assert kept.listed() == [b"one"]


def test_there_is_a_limit_for_a_message_a_key_a_sender_and_everything(kept: Kept) -> None:
    assert kept.refused(ALICE, b"x" * 11) == "relay.10"
    assert kept.refused(ALICE, b"") == "relay.10"
    for number in range(3):
        kept.inbox.leave(ALICE, b"a%d" % number, CLINIC)
    assert kept.refused(ALICE, b"more") == "relay.11"
    kept.inbox.leave(BOB, b"b0", CLINIC)
    assert kept.refused(BOB, b"b1") == "relay.13"
    kept.inbox.leave(BOB, b"b1", OTHER)
    kept.inbox.leave(BOB, b"b2", OTHER)
    kept.open()
    third = SigningKey.from_seed(bytes(32)).public
    assert kept.refused(third, b"c", OTHER) == "relay.12", "also after a restart"
    kept.inbox.acknowledge(BOB, [sha256(b"b1").hex(), sha256(b"b2").hex()])
    kept.inbox.leave(third, b"c", OTHER)


def test_what_nobody_takes_goes(kept: Kept) -> None:
    kept.inbox.leave(ALICE, b"old", CLINIC)
    kept.clock.advance(90)
    kept.inbox.leave(BOB, b"young", CLINIC)
    kept.clock.advance(30)
    assert (kept.listed(), kept.listed(BOB)) == ([], [b"young"])
    kept.clock.advance(61)
    kept.inbox.expire()
    assert len(kept.vault.names("inbox/")) <= 1
    kept.clock.advance(100)
    kept.inbox.expire()
    assert kept.vault.names("inbox/") == []


def test_who_waits_is_told_that_something_came(kept: Kept) -> None:
    assert kept.inbox.wait(ALICE, "", 0.0) == ""
    told: list[str] = []
    waiting = threading.Thread(target=lambda: told.append(kept.inbox.wait(ALICE, "", 30)))
    waiting.start()
    kept.inbox.leave(BOB, b"for bob", CLINIC)
    kept.inbox.leave(ALICE, b"one", CLINIC)
    waiting.join(30)
    assert told == [kept.inbox.newest(ALICE)] != [""]
    assert kept.inbox.wait(ALICE, told[0], 0.0) == told[0], "and not twice"


def test_a_damaged_message_holds_up_no_other(kept: Kept) -> None:
    kept.inbox.leave(ALICE, b"one", CLINIC)
    [file] = (kept.folder / "objects").iterdir()
    file.write_bytes(bytes(len(file.read_bytes())))
    kept.inbox.leave(ALICE, b"two", CLINIC)
    assert kept.listed() == [b"two"]
