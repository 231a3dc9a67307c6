"""What a wallet does, which way it goes, and that it touches what it is about and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.contracts.consent.messages import Narrow, Revoke
from caremesh.contracts.members.messages import Reinstate
from caremesh.errors import BadInput, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.node.founding import CHAIN
from caremesh.sealing import channel, custody
from caremesh.sealing.segment import OpenedRecord, RecordToSeal
from caremesh.types import DAY_S, Did
from caremesh.wallet import audit as audits
from caremesh.wallet import change, enrol, epoch, erase, index, reseal, restore, revoke
from caremesh.wallet import state as states
from caremesh.wallet.change import Narrower
from caremesh.wallet.enrol import Custody, Writing
from caremesh.wallet.logs import own_logs
from caremesh.wallet.phrase import seed_of, suggestions
from caremesh.wallet.preview import preview
from caremesh.wallet.records import own_seals
from caremesh.wallet.standing import caught_up, standing
from caremesh.wallet.state import Relationship, Stream
from caremesh.wallet.store import WalletFile
from caremesh.wallet.templates import TEMPLATES, period, template
from caremesh.wallet.wallet import Wallet
from tests.support.case import PASSPHRASE, Case
from tests.support.patient import SILENT
from tests.support.suspending import suspend


class Watched:
    """The person's ledger, which notes which way transactions come."""

    def __init__(self, case: Case) -> None:
        self._ledger = case.ledger
        self.ways: list[str] = []

    def reader(self) -> Reader:
        return self._ledger.reader()

    def submit(self, transactions: Sequence[bytes]) -> list[Committed]:
        self.ways.append("at once")
        return self._ledger.submit(transactions)

    def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
        self.ways.append("among others")
        return self._ledger.submit_batch(transactions)

    def way(self, act: Callable[[], object]) -> str:
        """Of the first transactions of an act."""
        self.ways.clear()
        act()
        return self.ways[0]


def test_what_protects_goes_at_once_and_what_can_wait_among_others(case: Case) -> None:
    wallet, sponsor, ledger = case.wallet, case.sponsor, Watched(case)
    shared = case.share(purposes=["TREAT", "COC"])
    share, receipt = shared.record.id, case.ask(shared.record.items[0].consent)
    writing = Writing(until=period(case.clock(), 365)[1])
    later = period(case.clock(), 90)[1]
    less = Narrower(purposes=["TREAT"])
    assert ledger.way(lambda: wallet.extend(share, later, ledger, sponsor, case.mesh)) == "among others"
    assert ledger.way(lambda: wallet.narrow(share, less, ledger, sponsor)) == "at once"
    assert ledger.way(lambda: wallet.dispute(receipt.id, "Why?", ledger, sponsor)) == "at once"
    assert ledger.way(lambda: wallet.erase(case.stream, 1, ledger, sponsor)) == "at once"
    assert ledger.way(lambda: wallet.new_epoch(case.stream, writing, ledger, sponsor, case.mesh)) == "at once"


def test_a_record_that_is_dropped_and_a_key_that_is_new_can_wait(case: Case) -> None:
    wallet, sponsor, ledger = case.wallet, case.sponsor, Watched(case)
    record = reseal.Record("Condition", f"{case.name}-c1")
    assert ledger.way(lambda: wallet.drop(case.stream, 0, [record], ledger, sponsor, case.mesh)) == "among others"
    case.share()
    case.mesh.desk("practice").rotate_key()
    assert ledger.way(lambda: wallet.redelegate(ledger, sponsor, case.mesh)) == "among others"


def statuses(case: Case) -> list[str]:
    return [held.status for entry in case.person.shares() for held in entry.consents]


@pytest.fixture
def stale(case: Case) -> Case:
    """Two shares, of a stream each, which stand on a key that their grantee has no more."""
    for category in ("conditions", "laboratory"):
        case.share(categories=(category,))
    case.mesh.desk("practice").rotate_key()
    assert statuses(case) == ["to be delegated anew"] * 2
    return case


def test_a_share_that_is_extended_is_delegated_anew_and_no_other(stale: Case) -> None:
    share = stale.wallet.state.shares[0].id
    stale.wallet.extend(share, period(stale.clock(), 90)[1], stale.ledger, stale.sponsor, stale.mesh)
    assert statuses(stale) == ["active", "to be delegated anew"]


def test_a_stream_that_is_brought_up_is_delegated_anew_and_no_other(stale: Case) -> None:
    stale.wallet.bring_up(stale.stream, stale.ledger, stale.sponsor, stale.mesh)
    assert statuses(stale) == ["active", "to be delegated anew"]


def test_an_opened_wallet_is_saved_where_it_was_opened(case: Case) -> None:
    again = Wallet.open(case.path, PASSPHRASE, CHAIN, case.clock)
    again.choose_relay(case.did("payer"))
    assert Wallet.open(case.path, PASSPHRASE, CHAIN, case.clock).state.relay == case.did("payer")


def test_a_wallet_that_was_created_and_never_used_opens_as_it_was(tmp_path: Path) -> None:
    made, phrase = Wallet.create(tmp_path / "new.wallet", PASSPHRASE, CHAIN, lambda: 0)
    again = Wallet.open(tmp_path / "new.wallet", PASSPHRASE, CHAIN, lambda: 0)
    assert again.state == made.state == states.WalletState(chain=CHAIN, seed=seed_of(phrase))
    for version in (1, 2):
        again.choose_relay(f"did:caremesh:{CHAIN}:{str(version) * 32}")
        assert again.state.version == version, "each saving is one version"


def test_who_says_nothing_of_themselves_is_told_of_without_a_word(case: Case) -> None:
    terms, height = case.person.terms("practice", ["conditions"], days=3), case.mesh.engine.status().height
    shared = case.wallet.share(terms, case.ledger, height, case.sponsor, case.mesh)
    practice = case.mesh.member("practice").home
    for message in (shared.message, case.wallet.message(shared.record, case.reader)):
        assert channel.hear_share(CHAIN, practice.did, practice.hpke_private, message).subject == ""


def test_a_file_that_holds_no_wallet_is_named(tmp_path: Path) -> None:
    WalletFile.create(tmp_path / "my.wallet", PASSPHRASE, b"\xa0")
    with pytest.raises(Tampered, match=r"wallet\.05") as caught:
        Wallet.open(tmp_path / "my.wallet", PASSPHRASE, CHAIN, lambda: 0)
    assert caught.value.place == "my.wallet"


def test_what_is_left_out_of_a_share_does_not_end_the_narrowing_of_the_rest(case: Case) -> None:
    given = case.share(categories=("conditions", "laboratory"), purposes=["COC", "TREAT"], actions=["compute", "read"])
    first, second = (item.consent for item in given.record.items)

    def messages(less: Narrower) -> list[object]:
        found = change.narrowings(case.wallet.state, given.record, case.reader, case.clock(), less)
        return [message for _, message in found]

    kept = [item.category for item in given.record.items][1]
    less = Narrower(categories=[kept], purposes=["TREAT"], actions=["read"])
    assert messages(less) == [Revoke(consent=first), Narrow(consent=second, purposes=["TREAT"], actions=["read"])]
    both = Narrower(actions=["read"])
    assert messages(both) == [Narrow(consent=consent, actions=["read"]) for consent in (first, second)]


def test_a_new_epoch_keeps_the_streams_own_threshold(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    where = replace(standing(case.reader, case.located), threshold=3)
    monkeypatch.setattr(epoch, "standing", lambda *_: where)
    _, message = epoch.beginning(case.wallet.state, case.reader, case.stream, Writing(until=DAY_S))
    assert message.permit is not None
    assert codec.decode(message.permit.permit)["threshold"] == 3


@pytest.mark.promise("P8")
def test_who_is_suspended_is_not_asked_to_confirm_and_all_others_are(case: Case) -> None:
    asked: list[Did] = []

    class Listening:
        def confirm_erased(self, member: Did, *_: object) -> list[bytes]:
            asked.append(member)
            return []

    everybody = [member.did for member in erase.members.members(case.reader)]
    first = next(name for name in case.mesh.members if case.did(name) == everybody[1])
    suspend(case.mesh, first)
    erase.confirmations(case.reader, case.stream, 0, Listening())
    regulator = case.mesh.member("regulator").home.requester
    assert not case.mesh.send([regulator], Reinstate(member=everybody[1])).code
    assert asked == [everybody[0], *everybody[2:]]


def test_the_log_of_a_custodian_that_is_away_is_left_out(case: Case) -> None:
    away = sorted(case.mesh.custodians)[0]

    class Some:
        def own_log(self, custodian: Did, request: bytes) -> bytes:
            if custodian == away:
                raise Unavailable(SILENT, away)
            return case.mesh.own_log(custodian, request)

    found = own_logs(case.wallet.state, case.reader, Some(), case.clock())
    assert {log.custodian for log in found} == set(case.mesh.custodians) - {away}


def test_accesses_of_one_second_are_in_the_order_of_their_receipts(case: Case) -> None:
    consent = case.share().record.items[0].consent
    receipts = [case.ask(consent) for _ in range(5)]
    assert len({receipt.at for receipt in receipts}) < len(receipts)
    found = audits.audit(case.wallet.state, case.reader, [])
    newest_first = sorted(receipts, key=lambda receipt: (-receipt.at, receipt.id))
    assert [entry.receipt for entry in found.accesses] == [receipt.id for receipt in newest_first]


def test_a_profile_names_the_relay_and_each_stream_by_its_own_number(case: Case) -> None:
    hospital, state = case.mesh.member("hospital").home, case.wallet.state
    [known] = state.relationships
    keys = states.keys_of(state, hospital.did)
    fresh = keys.stream("conditions", 1)
    kept, writing = Custody(custodians=sorted(case.mesh.custodians)), Writing(until=period(case.clock(), 9)[1])
    second = Stream(category="conditions", counter=1, id=fresh.id)
    second = enrol.permitted(CHAIN, hospital.did, second, fresh, kept, writing)
    changed = replace(known, streams=[*known.streams, second])
    state = replace(state, relay=case.did("payer"), relationships=[changed])
    sealed = enrol.profile_of(state, case.reader, hospital.did)
    profile = channel.hear_profile(CHAIN, hospital.did, hospital.hpke_private, sealed)
    assert profile.relay == case.did("payer")
    assert [entry.reading_key for entry in profile.entries] == [
        keys.stream(stream.category, stream.counter).reading(0).public for stream in changed.streams
    ]


@pytest.mark.promise("P9")
def test_a_copy_of_the_index_opens_whole_or_not_at_all(case: Case) -> None:
    state = case.wallet.state
    entry = index.read(index.sealed(state))
    torn = replace(entry, content=entry.content[:-1] + bytes([entry.content[-1] ^ 1]))
    resigned = codec.encode(custody.sign_payload(index.INDEX, torn, index.locator(state.seed)))
    for data in (resigned, index.sealed(replace(state, chain="other"))):
        with pytest.raises(Tampered, match=r"wallet\.42"):
            index._opened(state.seed, CHAIN, data)
    assert case.person.keep() == []
    assert index.find(state.seed, CHAIN, case.reader, case.mesh).faults == [], "copies of one version are not old"


def test_an_owner_asks_every_custodian_with_the_entropy_that_was_given(case: Case) -> None:
    given, asked = (bytes([number]) * 16 for number in count()), []

    class Unhelpful:
        def own_seals(self, _: Did, request: bytes) -> bytes:
            asked.append(codec.decode_as(custody.read_signed(request).payload, custody.StreamRequest).nonce)
            raise Unavailable(SILENT)

    with pytest.raises(Unavailable, match=r"wallet\.29.*segment 0"):
        own_seals(case.reader, case.located, Unhelpful(), case.clock(), lambda _: next(given))
    assert asked == [bytes([number]) * 16 for number in range(len(case.mesh.custodians))]


def test_blocks_are_asked_for_of_the_streams_source_with_its_current_key(case: Case) -> None:
    class Listening:
        def blocks_of(self, *asked: object) -> object:
            return asked

    located, cids = case.located, [codec.cid_of_cbor(b"block")]
    stream, source, key, names = reseal.blocks_of(located, 2, cids, Listening())  # type: ignore[arg-type,misc]
    assert (stream, source, names) == (case.stream, case.did("hospital"), cids)
    assert key.public == located.keys.signing(2).public


def test_a_record_is_sealed_anew_with_all_that_is_known_of_it() -> None:
    opened = OpenedRecord(3, "text/plain", "Binary", "b", "7", "2026-01-01T00:00:00Z", b"data")
    assert reseal._to_seal(opened) == RecordToSeal(
        media_type="text/plain",
        resource_type="Binary",
        id="b",
        version="7",
        last_updated="2026-01-01T00:00:00Z",
        data=b"data",
    )


def test_what_the_index_and_the_ledger_know_of_a_relationship_is_one(case: Case) -> None:
    [known] = case.wallet.state.relationships
    serials = {stream.id: caught_up(case.reader, stream).serial + 1 for stream in known.streams}
    assert all(restore._caught_up(case.reader, stream).serial == serials[stream.id] for stream in known.streams)

    def ids(kept: Sequence[Stream], found: Sequence[Stream]) -> list[bytes]:
        lists = [[replace(known, streams=list(some))] if some else [] for some in (kept, found)]
        merged = restore._merged(case.reader, *lists)
        assert all(isinstance(entry, Relationship) for entry in merged)
        return [stream.id for entry in merged for stream in entry.streams]

    one, *others = known.streams
    every = [stream.id for stream in known.streams]
    assert ids([one], known.streams) == every
    assert ids(known.streams, [one]) == every
    assert ids([], known.streams) == every
    assert ids([one], others) == every


def test_what_is_offered_instead_is_a_list_for_people() -> None:
    with pytest.raises(BadInput, match=r"wallet\.15") as caught:
        template("my-dog")
    assert caught.value.place == ", ".join(known.name for known in TEMPLATES)
    typed = next(word for word in ("abandn", "hous", "ligt", "sord", "bals") if len(suggestions(word)) > 1)
    with pytest.raises(BadInput, match=r"wallet\.02") as misspelt:
        seed_of(" ".join([typed, *["abandon"] * 23]))
    assert misspelt.value.place == f"word 1: did you mean {', '.join(suggestions(typed))}?"


def test_a_preview_says_how_much_and_what_is_there_already(case: Case) -> None:
    given = case.share(days=1)
    terms = case.person.terms("practice", ["conditions"], days=3, future=False, listed={"conditions": [1]})
    [seen] = case.person.preview(terms)
    sizes = [1 << segment.size_class for segment in case.segments()]
    assert (seen.segments, seen.size_bytes, seen.future) == ([1], sizes[1], False)
    assert seen.already == [given.record.items[0].consent]
    ends = case.consent(given).ends
    for now, already in ((ends - 1, seen.already), (ends, [])):
        assert [each.already for each in preview(case.wallet.state, terms, case.reader, now)] == [already]


@pytest.mark.promise("P2")
def test_an_access_is_shown_with_what_was_done_under_which_share_and_whether_that_was_taken_back(case: Case) -> None:
    shared = case.share(actions=["compute", "read"])
    case.ask(shared.record.items[0].consent, action="compute")
    state = case.wallet.state

    def seen(state: states.WalletState) -> audits.Access:
        [entry] = audits.audit(state, case.reader, []).accesses
        assert entry.permission is not None
        return entry

    entry = seen(state)
    assert (entry.action, entry.share) == ("compute", shared.record.id)
    assert seen(replace(state, shares=[])).share == b"", "of a share that this wallet does not know"
    case.person.revoke(shared.record.id)
    revoked = seen(state).permission
    assert revoked is not None
    assert revoked.revoked == case.consent(shared).revoked is not None


class Asked:
    """The way to the custodians of a mesh, of which one does not answer."""

    def __init__(self, case: Case, silent: Did) -> None:
        self._case, self._silent = case, silent
        self.asked: set[tuple[Did, bytes]] = set()

    def confirm_destroyed(self, custodian: Did, consent: bytes) -> bytes:
        self.asked.add((custodian, consent))
        if custodian == self._silent:
            raise Unavailable(SILENT)
        return self._case.mesh.confirm_destroyed(custodian, consent)


@pytest.mark.promise("P3")
def test_every_custodian_is_asked_whether_it_let_go_and_who_did_not_say_so_is_named(case: Case) -> None:
    given = case.share(categories=("conditions", "laboratory"))
    shared = given.record
    consents_of = {item.consent for item in shared.items}
    custodians = {each.custodian for each in case.consent(given).fragments}
    silent = min(custodians)
    way = Asked(case, silent)
    before = revoke.destroyed(shared, case.reader, way)
    codes = dict.fromkeys(custodians, "custodian.24") | {silent: SILENT.code}
    expected = sorted((did, codes[did]) for did in custodians for _ in consents_of)
    assert (before.confirmed, sorted(before.missing)) == (0, expected)
    assert way.asked == {(did, consent) for did in custodians for consent in consents_of}
    case.person.revoke(shared.id)
    after = revoke.destroyed(shared, case.reader, way)
    assert (after.confirmed, after.missing) == (4, [(silent, SILENT.code)] * 2)
    unknown = replace(shared, items=[replace(shared.items[0], consent=bytes(32))])
    assert revoke.destroyed(unknown, case.reader, way) == (0, [])
