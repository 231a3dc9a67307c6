"""A release: what leaves, what is logged of it, and that nothing leaves or is logged when anything is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access.messages import Report
from caremesh.contracts.consent.messages import Revoke
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import check_reencryption, open_checked
from caremesh.custodian.custodian import Custodian
from caremesh.sealing import custody
from caremesh.sealing.custody import LogAnswer, Release, SealAnswer
from caremesh.sealing.release_log import START, LogHead, check_anchored, link_of
from tests.support.keepers import Keeper, Keepers, names, refusal, said


def nothing_left(keepers: Keepers, attempt: Callable[[], object]) -> tuple[str, str]:
    """The code and the place; the log is as it was."""
    before = keepers.keeper.log_root()
    found = refusal(attempt)
    assert keepers.keeper.log_root() == before
    return found


def answers(keepers: Keepers, keeper: Keeper, **changes: Any) -> list[Release]:
    """What a custodian releases to the doctor."""
    receipt = keepers.receipt(keepers.share())
    request = keepers.ask_release(receipt, custodian=keeper.did, **changes)
    return [said(custody.RELEASE, answer, Release, keeper) for answer in keeper.release(request)]


@pytest.mark.promise("P2")
def test_what_is_released_is_what_was_asked_for_in_that_order(keepers: Keepers) -> None:
    first, second = keepers.add(b"1"), keepers.add(b"2")
    consent = keepers.share()
    receipt, keeper = keepers.receipt(consent), keepers.keeper
    keepers.clock_off_s = 3
    asked = [second.descriptor_cid, first.descriptor_cid]
    made = keeper.release(keepers.ask_release(receipt, descriptors=asked))
    releases = [said(custody.RELEASE, answer, Release, keeper) for answer in made]
    entries, head = keeper.log.entries(keepers.stream)
    assert head == LogHead(2, link_of(entries[1]))
    for index, (release, sealed) in enumerate(zip(releases, (second, first), strict=True)):
        entry = entries[index]
        assert (entry.stream, entry.receipt, entry.descriptor) == (keepers.stream, receipt.id, sealed.descriptor_cid)
        assert (release.receipt, release.stream, release.descriptor) == (receipt.id, keepers.stream, entry.descriptor)
        assert release.custodian == keeper.did
        assert release.at == entry.at == keepers.now + 3
        assert release.seal == sealed.seal
        assert release.keys == custody.FragmentKeys(
            verifying=consent.verifying_key, delegating=keepers.reading.public, receiving=keepers.receiving.public
        )
        assert release.log == custody.LogPosition(index=index, previous=entry.previous, entry=link_of(entry))
    assert releases[0].log.previous == START


@pytest.mark.promise("P2")
def test_two_custodians_and_the_receiving_key_open_and_one_does_not(keepers: Keepers) -> None:
    sealed = keepers.add()
    consent = keepers.share()
    checked = []
    for keeper in keepers.keepers[:2]:
        raw = keeper.release(keepers.ask_release(keepers.receipt(consent), custodian=keeper.did))
        [release] = [said(custody.RELEASE, answer, Release, keeper) for answer in raw]
        keys = release.keys.verifying, release.keys.delegating, release.keys.receiving
        checked.append(check_reencryption(release.seal, release.reencryption, *keys, keeper.did))
    assert open_checked(keepers.receiving, checked) == sealed.segment_key
    assert refusal(lambda: open_checked(keepers.receiving, checked[:1])) == ("reencryption.08", "")


@pytest.mark.promise("P2")
def test_all_or_nothing(keepers: Keepers) -> None:
    keepers.add()
    receipt = keepers.receipt(keepers.share())
    unknown = [keepers.sealed[0].descriptor_cid, codec.cid_of_cbor(b"unknown")]
    request = keepers.ask_release(receipt, descriptors=unknown)
    assert nothing_left(keepers, lambda: keepers.keeper.release(request)) == ("custodian.10", "")


@pytest.mark.promise("P2")
def test_what_is_no_request_is_said_to_be_none(keepers: Keepers) -> None:
    keepers.add()
    keeper, receipt = keepers.keeper, keepers.receipt(keepers.share())
    assert refusal(lambda: keeper.release(b"\xa0")) == ("custody.01", "release request")
    other = keepers.stream_request(custody.RELEASE_REQUEST)
    assert refusal(lambda: keeper.release(other)) == ("custody.01", "ReleaseRequest")
    stranger = keepers.ask_release(receipt, key=SigningKey.generate())
    assert nothing_left(keepers, lambda: keeper.release(stranger)) == ("custody.02", "release request")
    good = custody.read_signed(keepers.ask_release(receipt))
    forged = codec.encode(replace(good, signature=bytes(64)))
    assert nothing_left(keepers, lambda: keeper.release(forged)) == ("custody.01", "release request")
    seal_request = custody.sign_payload(
        custody.SEAL_REQUEST, codec.decode_as(good.payload, custody.ReleaseRequest), keepers.doctor.key
    )
    assert refusal(lambda: keeper.release(codec.encode(seal_request))) == ("custody.01", "release request")


@pytest.mark.promise("P3")
def test_every_check_is_made_at_every_release(keepers: Keepers) -> None:
    """One thing is wrong at a time."""
    keepers.add()
    keeper, receipt = keepers.keeper, keepers.receipt(keepers.share())
    fellow = keepers.keepers[1].did

    def refused(**changes: Any) -> str:
        return nothing_left(keepers, lambda: keeper.release(keepers.ask_release(receipt, **changes)))[0]

    keeper.copy.time = keepers.now - 31
    assert refused() == "custodian.01"
    keeper.copy.time, keeper.copy.seen = None, 30.5
    assert refused() == "custodian.01"
    keeper.copy.seen = 0.0
    keepers.clock_off_s = -6
    assert refused() == "custodian.02"
    keepers.clock_off_s = 0
    assert refused(receipt=bytes(32)) == "custodian.03"
    assert refused(stream=bytes(32)) == "custodian.11"
    assert refused(custodian=fellow) == "custodian.18"
    assert refused(at=keepers.now - 61) == "custodian.19"
    keepers.now = receipt.expires - 2
    keepers.clock_off_s = 2
    assert refused() == "custodian.04", "by its own clock"
    assert keeper.release(keepers.ask_release(keepers.receipt(keepers.consent(receipt.consent))))


@pytest.mark.promise("P6")
def test_what_its_vault_holds_is_compared_with_the_ledger(keepers: Keepers) -> None:
    keepers.add()
    consent = keepers.share()
    receipt = keepers.receipt(consent)
    [seal], [fragment] = names(keepers.keeper, "seal/"), names(keepers.keeper, "fragment/")
    whole, kept = keepers.keeper.vault.get(seal), keepers.keeper.vault.get(fragment)
    assert whole is not None
    assert kept is not None

    def refused() -> str:
        keeper = keepers.restarted()
        return nothing_left(keepers, lambda: keeper.release(keepers.ask_release(receipt)))[0]

    stored: Any = codec.decode(whole)
    stored["deposit"]["seal"]["ciphertext"] = b"other"
    keepers.keeper.vault.put({seal: codec.encode(stored)})
    assert refused() == "custodian.13"
    keepers.keeper.vault.destroy([seal])
    assert refused() == "custodian.12"
    keepers.keeper.vault.put({seal: whole})
    for field, value, code in (
        ("delegating", b"\x02" + bytes(32), "custodian.15"),
        ("fragment", bytes(310), "custodian.16"),
    ):
        stored = codec.decode(kept)
        stored["deposit"][field] = value
        keepers.keeper.vault.put({fragment: codec.encode(stored)})
        assert refused() == code
    keepers.keeper.vault.destroy([fragment])
    assert refused() == "custodian.14"
    keepers.keeper.vault.put({fragment: kept})
    assert keepers.restarted().release(keepers.ask_release(receipt))


@pytest.mark.promise("P3")
def test_the_consent_that_counts_is_that_of_now(keepers: Keepers) -> None:
    keepers.add()
    consent = keepers.share()
    receipt = keepers.receipt(consent)
    assert keepers.keeper.release(keepers.ask_release(receipt))
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    for keeper in keepers.keepers:
        request = keepers.ask_release(receipt, custodian=keeper.did)
        assert refusal(lambda k=keeper, r=request: k.release(r)) == ("custodian.05", "")  # type: ignore[misc]


@pytest.mark.promise("P3")
def test_a_custodian_that_is_cut_off_releases_no_longer_than_the_limit(keepers: Keepers) -> None:
    """It cannot know of a revocation; within the limit it may still release, after it never, and then it knows."""
    keepers.add()
    consent = keepers.share()
    receipt, keeper, start = keepers.receipt(consent), keepers.keeper, keepers.now
    keeper.copy.cut_off()
    keepers.now += 1
    keepers.must(Revoke(consent=consent.id), keepers.stream_key, keepers.practice)
    for other in keepers.keepers[1:]:
        request = keepers.ask_release(receipt, custodian=other.did)
        assert refusal(lambda k=other, r=request: k.release(r)) == ("custodian.05", "")  # type: ignore[misc]
    for now, code in ((start + 30, ""), (start + 31, "custodian.01")):
        keepers.now = now
        keeper.copy.seen = float(now - start)
        request = keepers.ask_release(receipt)
        if code:
            assert nothing_left(keepers, lambda r=request: keeper.release(r)) == (code, "")  # type: ignore[misc]
        else:
            assert len(keeper.release(request)) == 1
    keeper.copy.catch_up()
    keeper.copy.seen = 0.0
    assert nothing_left(keepers, lambda: keeper.release(keepers.ask_release(receipt))) == ("custodian.05", "")


@pytest.mark.promise("P2")
def test_a_request_is_answered_once_and_near_its_time(keepers: Keepers) -> None:
    """The window is a minute to either side; nonces are remembered for two."""
    keepers.now += 10_000
    keeper, now = keepers.keeper, keepers.now
    for nonce, at in ((b"a", now - 60), (b"b", now + 60), (b"c", now)):
        keeper._answer_once(nonce, at, now)
        assert refusal(lambda n=nonce, t=at: keeper._answer_once(n, t, now)) == ("custodian.19", "")  # type: ignore[misc]
    for at in (now - 61, now + 61):
        assert refusal(lambda t=at: keeper._answer_once(b"d", t, now)) == ("custodian.19", "")  # type: ignore[misc]
    keeper._answer_once(b"d", now, now)  # a refused request is not an answered one
    keeper._answer_once(b"e", now + 120, now + 120)
    assert refusal(lambda: keeper._answer_once(b"c", now, now)) == ("custodian.19", "")  # the clock was set back
    keeper._answer_once(b"f", now + 121, now + 121)
    assert list(keeper._answered) == [b"e", b"f"], "the oldest go first"


@pytest.mark.promise("P3")
def test_what_was_asked_before_it_started_is_not_answered(keepers: Keepers) -> None:
    keepers.now += 100
    keeper = keepers.restarted()
    keeper._answer_once(b"a", keepers.now, keepers.now)
    assert refusal(lambda: keeper._answer_once(b"b", keepers.now - 1, keepers.now)) == ("custodian.19", "")


def test_seals_are_shown_to_the_stream_and_to_fellow_custodians(keepers: Keepers) -> None:
    keeper, fellow = keepers.keeper, keepers.keepers[1].actor.key
    for data in (b"1", b"2", b"3"):
        keepers.add(data)
    kept = keepers.sealed[0], keepers.sealed[2]
    keeper.vault.destroy(
        [next(name for name in names(keeper, "seal/") if keepers.sealed[1].descriptor_cid.encode() in name)]
    )
    for key in (keepers.stream_key.key, fellow):
        raw = keepers.stream_request(custody.SEAL_REQUEST, key, nonce=b"n" * 15 + key.public[-1:])
        answer = said(custody.SEAL_ANSWER, keeper.seals(raw), SealAnswer, keeper)
        assert (answer.stream, answer.custodian, answer.nonce) == (
            keepers.stream, keeper.did, b"n" * 15 + key.public[-1:],
        )  # fmt: skip
        assert [held.descriptor for held in answer.seals] == [sealed.descriptor for sealed in kept]
        assert [held.seal for held in answer.seals] == [sealed.seal for sealed in kept]


def test_questions_about_a_stream_are_checked_one_by_one(keepers: Keepers) -> None:
    keepers.add()
    keeper, fellow = keepers.keeper, keepers.keepers[1].actor.key
    release = keepers.ask_release(keepers.receipt(keepers.share()))
    for ask, domain, other in (
        (keeper.seals, custody.SEAL_REQUEST, custody.LOG_REQUEST),
        (keeper.stream_log, custody.LOG_REQUEST, custody.SEAL_REQUEST),
    ):
        assert refusal(lambda a=ask: a(b"\xa0")) == ("custody.01", "request")  # type: ignore[misc]
        assert refusal(lambda a=ask, r=release: a(r)) == ("custody.01", "StreamRequest")  # type: ignore[misc]
        misdirected = keepers.stream_request(domain, custodian=keepers.keepers[1].did)
        assert refusal(lambda a=ask, r=misdirected: a(r)) == ("custodian.18", "")  # type: ignore[misc]
        stranger = keepers.stream_request(domain, keepers.doctor.key)
        assert refusal(lambda a=ask, r=stranger: a(r)) == ("custodian.22", "")  # type: ignore[misc]
        wrong = keepers.stream_request(other)
        assert refusal(lambda a=ask, r=wrong: a(r)) == ("custody.01", "request")  # type: ignore[misc]
        old = keepers.stream_request(domain, at=keepers.now - 61)
        assert refusal(lambda a=ask, r=old: a(r)) == ("custodian.19", "")  # type: ignore[misc]
        once = keepers.stream_request(domain)
        assert ask(once)
        assert refusal(lambda a=ask, r=once: a(r)) == ("custodian.19", "")  # type: ignore[misc]
        keeper.copy.seen = 31.0
        assert refusal(lambda a=ask, d=domain: a(keepers.stream_request(d))) == ("custodian.01", "")  # type: ignore[misc]
        keeper.copy.seen, keepers.clock_off_s = 0.0, -6
        assert refusal(lambda a=ask, d=domain: a(keepers.stream_request(d))) == ("custodian.02", "")  # type: ignore[misc]
        keepers.clock_off_s = 0
    theirs = keepers.stream_request(custody.LOG_REQUEST, fellow)
    assert refusal(lambda: keeper.stream_log(theirs)) == ("custodian.22", "")


@pytest.mark.promise("P2")
def test_the_log_is_told_whole_with_what_is_anchored_of_it(keepers: Keepers) -> None:
    keepers.add()
    keeper: Custodian = keepers.keeper
    consent = keepers.share()
    receipt = keepers.receipt(consent)
    keeper.release(keepers.ask_release(receipt))

    def told() -> LogAnswer:
        keepers.clock_off_s = 2
        raw = keepers.stream_request(custody.LOG_REQUEST, nonce=bytes([keepers.now % 256]) * 16)
        answer = said(custody.LOG_ANSWER, keeper.stream_log(raw), LogAnswer, keepers.keeper)
        assert (answer.stream, answer.custodian, answer.nonce, answer.at) == (
            keepers.stream, keeper.did, bytes([keepers.now % 256]) * 16, keepers.now + 2,
        )  # fmt: skip
        keepers.clock_off_s = 0
        keepers.now += 1
        return answer

    assert told().anchor is None, "nothing is reported"
    root, count = keeper.log_root()
    assert count == 1
    keepers.must(Report(root=root, count=count), keepers.custodians[0])
    keeper.release(keepers.ask_release(receipt))
    answer = told()
    entries, head = keepers.keeper.log.entries(keepers.stream)
    assert (answer.entries, answer.head) == (entries, head)
    assert len(entries) == 2
    assert answer.anchor is not None
    assert check_anchored(keepers.stream, answer.entries, root, answer.anchor) == LogHead(1, link_of(entries[0]))
    keepers.must(Report(root=bytes(32), count=5), keepers.custodians[0])
    assert told().anchor is None, "it does not know what is on the ledger"
