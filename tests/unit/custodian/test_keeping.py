"""How long fragments and seals are kept: no longer than they can serve, and not a second less."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from caremesh.blobs.vault import Vault
from caremesh.contracts.consent.messages import Narrow, Redelegate, Revoke, Scope
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.network import queries as network
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase, Reseal
from caremesh.crypto.reencryption import seal_hash
from caremesh.custodian.keeping import Destroyed, Keeping
from caremesh.sealing.custody import FragmentDeposit
from caremesh.sealing.segment import SealedSegment, seal_anew
from caremesh.types import ConsentId, Did, StreamId
from tests.support.keepers import Keepers, names

A, B = bytes([1]) * 32, bytes([2]) * 32


class Kept:
    """What one custodian keeps, in a vault of its own."""

    def __init__(self, keepers: Keepers, number: int = 0) -> None:
        self.world = keepers
        self.me: Did = keepers.keepers[number].did
        self.folder = keepers.folder / "kept"
        self.open()

    def open(self) -> None:
        """As after a start."""
        self.vault = Vault(self.folder, bytes(32))
        self.keeping = Keeping(self.vault, self.me)

    def put(self, deposit: FragmentDeposit, at: int | None = None) -> None:
        self.keeping.put_fragment(deposit, self.world.now if at is None else at)

    def sweep(
        self,
        now: int | None = None,
        *,
        changed: Iterable[ConsentId] = (),
        redelegated: Iterable[ConsentId] = (),
        streams: Iterable[StreamId] = (),
    ) -> Destroyed:
        time = self.world.now if now is None else now
        return self.keeping.sweep(self.world.view, time, changed=changed, redelegated=redelegated, streams=streams)

    @property
    def fragments(self) -> int:
        return len(self.vault.names("fragment/"))

    @property
    def seals(self) -> int:
        return len(self.vault.names("seal/"))


@pytest.fixture
def kept(keepers: Keepers) -> Kept:
    return Kept(keepers)


def ttl(kept: Kept) -> int:
    return network.params(kept.world.view).deposit_ttl_s


def agreed(kept: Kept, **changes: object) -> tuple[Consent, FragmentDeposit]:
    """A consent on the ledger, and the fragment of it that this custodian took."""
    consent = kept.world.share(**changes)
    deposit = kept.world.keeper._keeping.fragment(consent)
    assert deposit is not None
    kept.put(deposit)
    return consent, deposit


@pytest.mark.promise("P3")
def test_a_fragment_goes_at_the_second_at_which_its_consent_ends(kept: Kept) -> None:
    kept.world.add()
    consent, _ = agreed(kept)
    assert kept.sweep() == Destroyed([], [])
    assert kept.sweep(consent.ends - 1) == Destroyed([], [])
    assert kept.fragments == 1
    assert kept.sweep(consent.ends) == Destroyed([consent.id], [])
    assert kept.fragments == 0
    assert kept.sweep(consent.ends + 1, changed=[consent.id]) == Destroyed([], []), "it is said once"


@pytest.mark.promise("P3")
def test_a_fragment_goes_when_its_consent_is_revoked(kept: Kept) -> None:
    kept.world.add()
    consent, _ = agreed(kept)
    other, _ = agreed(kept, scope=Scope(kind="listed", segments=[0]), purposes=["HPAYMT"])
    kept.sweep()
    kept.world.must(Revoke(consent=consent.id), kept.world.stream_key, kept.world.practice)
    assert kept.sweep() == Destroyed([], []), "no event named it"
    assert kept.sweep(changed=[other.id, consent.id]) == Destroyed([consent.id], [])
    assert kept.fragments == 1
    assert kept.keeping.fragment(consent) is None
    assert kept.keeping.fragment(other) is not None


@pytest.mark.promise("P3")
def test_a_fragment_that_no_consent_ever_named_goes_in_time(kept: Kept) -> None:
    """Two that came one after the other: each has its own time, and only the last to go is confirmed."""
    deposit = kept.world.fragments(A)[kept.me]
    other = kept.world.fragments(A)[kept.me]
    start = kept.world.now
    kept.put(deposit, start)
    kept.put(other, start + 10)
    assert kept.fragments == 2, "each is of a delegation of its own"
    assert kept.sweep(start + 10) == Destroyed([], [])
    assert kept.sweep(start + ttl(kept) - 1) == Destroyed([], [])
    assert kept.sweep(start + ttl(kept)) == Destroyed([], [])
    assert kept.fragments == 1
    assert kept.sweep(start + ttl(kept) + 9) == Destroyed([], [])
    assert kept.sweep(start + ttl(kept) + 10) == Destroyed([A], [])
    assert kept.fragments == 0


def test_what_came_in_is_looked_at_once_it_is_time_and_not_before(kept: Kept) -> None:
    later = kept.world.now + 5
    kept.put(kept.world.fragments(A)[kept.me], later)
    kept.put(kept.world.fragments(B)[kept.me], later)
    assert kept.keeping._due[0] == (later, A)
    kept.sweep(later - 1)
    assert kept.keeping._due[0] == (later, A)
    kept.sweep(later)
    assert sorted(kept.keeping._due) == [(later + ttl(kept), A), (later + ttl(kept), B)]


def test_consents_of_which_nothing_is_here_are_no_matter(kept: Kept) -> None:
    kept.world.add()
    consent = kept.world.share()
    assert kept.sweep(changed=[A, consent.id], redelegated=[B]) == Destroyed([], [])
    kept.world.must(Revoke(consent=consent.id), kept.world.stream_key, kept.world.practice)
    assert kept.sweep(changed=[consent.id]) == Destroyed([], []), "it had nothing to destroy"


@pytest.mark.promise("P3")
def test_all_that_ends_at_once_goes_at_once(kept: Kept) -> None:
    kept.world.add()
    ended = [agreed(kept, purposes=[purpose])[0] for purpose in ("TREAT", "HPAYMT")]
    for consent in ended:
        kept.world.must(Revoke(consent=consent.id), kept.world.stream_key, kept.world.practice)
    done = kept.sweep(changed=[consent.id for consent in ended])
    assert done.consents == sorted(consent.id for consent in ended)
    assert kept.fragments == 0


@pytest.mark.promise("P3")
def test_the_fragment_that_counts_is_the_one_that_the_ledger_names(kept: Kept) -> None:
    kept.world.add()
    consent, named = agreed(kept)
    others = [replace(kept.world.fragments(consent.id)[kept.me]) for _ in range(4)]
    for deposit in others:
        kept.put(deposit)
    assert kept.keeping.fragment(consent) == named
    kept.open()
    assert kept.keeping.fragment(consent) == named, "after a start too"
    none = replace(consent, fragments=[entry for entry in consent.fragments if entry.custodian != kept.me])
    first = kept.keeping.fragment(none)
    assert first in [named, *others]
    assert kept.keeping.fragment(replace(consent, id=B)) is None
    elsewhere = replace(
        consent, fragments=[replace(entry, custodian=kept.world.keepers[1].did) for entry in consent.fragments]
    )
    assert kept.keeping.fragment(elsewhere) == first, "what is named for others is not named here"


@pytest.mark.promise("P3")
def test_a_new_delegation_ends_the_old_one(kept: Kept) -> None:
    kept.world.add()
    consent, old = agreed(kept)
    deposits = kept.world.fragments(consent.id)
    kept.put(deposits[kept.me])
    kept.sweep(changed=[consent.id])
    assert kept.fragments == 2, "it may be about to come"
    anew = Redelegate(
        consent=consent.id,
        epoch=0,
        receiving_key=kept.world.receiving.public,
        verifying_key=deposits[kept.me].verifying,
        fragments=kept.world.commitments(deposits),
    )
    kept.world.must(anew, kept.world.stream_key, kept.world.practice)
    assert kept.sweep(changed=[consent.id]).consents == []
    assert kept.fragments == 2
    assert kept.sweep(redelegated=[consent.id]).consents == [], "one is left"
    assert kept.fragments == 1
    assert kept.keeping.fragment(kept.world.consent(consent.id)) == deposits[kept.me] != old
    assert kept.sweep(consent.ends) == Destroyed([consent.id], [])


def test_a_delegation_that_did_not_come_is_forgotten_and_the_old_one_stays(kept: Kept) -> None:
    kept.world.add()
    consent, named = agreed(kept)
    start = kept.world.now
    kept.put(kept.world.fragments(consent.id)[kept.me], start)
    assert kept.sweep(start) == Destroyed([], [])
    assert kept.sweep(start + ttl(kept) - 1) == Destroyed([], [])
    assert kept.fragments == 2
    assert kept.sweep(start + ttl(kept)) == Destroyed([], [])
    assert kept.fragments == 1
    assert kept.keeping.fragment(consent) == named
    assert kept.sweep(consent.ends) == Destroyed([consent.id], [])


def test_what_stands_before_and_after_the_named_fragment_goes(kept: Kept) -> None:
    """Fragments are looked at by name: neither the named one nor one that waits ends the looking."""
    kept.world.add()
    consent, named = agreed(kept)
    [name] = kept.vault.names("fragment/")
    sides: set[bool] = set()
    while len(sides) < 2:
        kept.put(kept.world.fragments(consent.id)[kept.me])
        sides = {each < name for each in kept.vault.names("fragment/") if each != name}
    kept.sweep()
    kept.sweep(kept.world.now + ttl(kept))
    assert kept.vault.names("fragment/") == [name]
    assert kept.keeping.fragment(consent) == named


@pytest.mark.promise("P8")
def test_a_consent_of_which_all_is_erased_needs_no_fragment(kept: Kept) -> None:
    for data in (b"1", b"2", b"3"):
        kept.world.add(data)
    listed, _ = agreed(kept, scope=Scope(kind="listed", segments=[0, 1]))
    whole, _ = agreed(kept, purposes=["HPAYMT"])

    def erase(segment: int) -> Destroyed:
        kept.world.must(Erase(stream=kept.world.stream, segment=segment), kept.world.stream_key, kept.world.practice)
        return kept.sweep(changed=[listed.id, whole.id])

    assert erase(0) == Destroyed([], [])
    assert erase(1) == Destroyed([listed.id], [])
    assert erase(2) == Destroyed([], []), "there may be more to come"
    assert kept.fragments == 1


def test_a_consent_that_is_narrowed_keeps_its_fragment(kept: Kept) -> None:
    kept.world.add()
    kept.world.add(b"2")
    consent, named = agreed(kept)
    narrower = Narrow(consent=consent.id, scope=Scope(kind="listed", segments=[1]))
    kept.world.must(narrower, kept.world.stream_key, kept.world.practice)
    assert kept.sweep(changed=[consent.id]) == Destroyed([], [])
    assert kept.keeping.fragment(kept.world.consent(consent.id)) == named


def put_seal(kept: Kept, sealed: SealedSegment, at: int | None = None) -> None:
    kept.keeping.put_seals([kept.world.seal_deposit(sealed)], kept.world.now if at is None else at)


def test_a_seal_is_found_under_its_stream_and_descriptor(kept: Kept) -> None:
    one, two = kept.world.seal(b"1"), kept.world.seal(b"2")
    deposits = [kept.world.seal_deposit(each) for each in (one, two)]
    kept.keeping.put_seals(deposits, 5)
    assert kept.keeping.seal(kept.world.stream, one.descriptor_cid) == deposits[0]
    assert kept.keeping.seal(kept.world.stream, two.descriptor_cid) == deposits[1]
    assert kept.keeping.seal(bytes(32), one.descriptor_cid) is None
    assert kept.keeping.seal(kept.world.stream, kept.world.seal(b"3").descriptor_cid) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_seal_under_which_nothing_is_registered_goes_in_time(kept: Kept, *, restarted: bool) -> None:
    one, two, three = (kept.world.seal(data) for data in (b"1", b"2", b"3"))
    start = kept.world.now
    put_seal(kept, one, start)
    put_seal(kept, two, start + 10)
    put_seal(kept, three, start)
    kept.world.registered(three)  # though no event says so
    if restarted:
        kept.open()
    assert kept.sweep(start + ttl(kept) - 1) == Destroyed([], [])
    assert kept.seals == 3
    assert kept.sweep(start + ttl(kept)) == Destroyed([], []), "nobody is told: the ledger never heard of it"
    assert kept.seals == 2
    assert kept.keeping.seal(kept.world.stream, one.descriptor_cid) is None
    kept.sweep(start + ttl(kept) + 9)
    assert kept.seals == 2
    kept.sweep(start + ttl(kept) + 10)
    assert kept.seals == 1
    assert kept.keeping.seal(kept.world.stream, three.descriptor_cid) is not None
    assert kept.keeping._pending == {}


def test_a_seal_that_is_registered_waits_for_nothing(kept: Kept) -> None:
    sealed, waiting = kept.world.seal(), kept.world.seal(b"2")
    put_seal(kept, waiting)
    put_seal(kept, sealed)
    kept.world.registered(sealed)
    assert len(kept.keeping._pending) == 2
    assert kept.sweep(streams=[kept.world.stream, kept.world.stream]) == Destroyed([], [])
    [left] = kept.keeping._pending
    assert waiting.descriptor_cid.encode() in left
    assert kept.seals == 2


def test_a_seal_that_waits_does_not_hide_one_that_goes(kept: Kept) -> None:
    """They are looked at by name."""
    world = kept.world
    first, second = sorted((world.seal(data) for data in (b"1", b"2")), key=lambda each: each.descriptor_cid.encode())
    put_seal(kept, first)
    put_seal(kept, second)
    world.registered(second)
    world.must(Erase(stream=world.stream, segment=0), world.stream_key, world.practice)
    assert len(kept.sweep(streams=[world.stream]).segments) == 1
    assert kept.keeping.seal(world.stream, first.descriptor_cid) is not None
    assert kept.keeping.seal(world.stream, second.descriptor_cid) is None


@pytest.mark.promise("P8")
def test_the_seal_of_what_is_erased_or_sealed_anew_goes(kept: Kept) -> None:
    world = kept.world
    first, second, third = (world.seal(data) for data in (b"1", b"2", b"3"))
    for sealed in (first, second, third):
        put_seal(kept, sealed)
        world.registered(sealed)
    assert kept.sweep(streams=[world.stream]) == Destroyed([], [])
    world.must(Erase(stream=world.stream, segment=0), world.stream_key, world.practice)
    descriptor, cid, seal = seal_anew(third.segment_key, third.descriptor, world.reading.public)
    kept.keeping.put_seals([replace(world.seal_deposit(third), descriptor=descriptor, seal=seal)], world.now)
    world.must(
        Reseal(stream=world.stream, segment=2, descriptor=cid, seal=seal_hash(seal), size_class=third.size_class),
        world.stream_key,
        world.practice,
    )
    assert kept.seals == 4
    assert kept.sweep(streams=[bytes(32)]) == Destroyed([], []), "another stream"
    done = kept.sweep(streams=[world.stream])
    assert done.consents == []
    segments = records.segments(world.view, world.stream)
    assert sorted(done.segments, key=lambda row: row[1]) == [(world.stream, n, segments[n]) for n in (0, 2)]
    assert kept.keeping.seal(world.stream, first.descriptor_cid) is None
    assert kept.keeping.seal(world.stream, third.descriptor_cid) is None
    assert kept.keeping.seal(world.stream, second.descriptor_cid) is not None
    assert kept.keeping.seal(world.stream, cid) is not None
    assert kept.sweep(streams=[world.stream]) == Destroyed([], []), "it is said once"


@pytest.mark.promise("P3")
def test_after_a_start_everything_is_looked_at(kept: Kept) -> None:
    world = kept.world
    sealed = world.seal()
    put_seal(kept, sealed)
    world.registered(sealed)
    consent, _ = agreed(kept)
    kept.put(world.fragments(A)[kept.me])
    world.must(Revoke(consent=consent.id), world.stream_key, world.practice)
    world.must(Erase(stream=world.stream, segment=0), world.stream_key, world.practice)
    kept.open()
    gone = records.segments(world.view, world.stream)[0]
    assert gone.status == "erased"
    assert kept.keeping.sweep_all(world.view, world.now) == Destroyed([consent.id], [(world.stream, 0, gone)])
    assert kept.keeping._due == [(world.now + ttl(kept), A)]
    assert kept.keeping.sweep_all(world.view, world.now) == Destroyed([], [])
    assert kept.keeping._due == [(world.now + ttl(kept), A)], "each once, however often all is looked at"
    assert kept.sweep(world.now + ttl(kept)) == Destroyed([A], [])


def test_names_of_the_vault(kept: Kept) -> None:
    """They are what a start finds things by."""
    put_seal(kept, sealed := kept.world.seal())
    kept.put(kept.world.fragments(A)[kept.me])
    assert kept.vault.names("seal/") == [f"seal/{kept.world.stream.hex()}/{sealed.descriptor_cid.encode()}"]
    [name] = kept.vault.names("fragment/")
    assert name.startswith(f"fragment/{A.hex()}/")
    assert names(kept.world.keeper, "") == []
