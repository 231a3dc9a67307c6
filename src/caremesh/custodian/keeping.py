"""What a custodian keeps, and for how long: fragments by consent and commitment, seals by stream and descriptor.

A fragment goes when its consent is over, covers nothing any more, or delegates anew; a seal goes when its segment is
erased or sealed anew, and when nothing was registered under it in time. The ledger's events say what to look at, so
that a block costs what it changes; after a start, and whenever events were missed, everything is looked at once.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.network import queries as network
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.ledger.state import Reader
from caremesh.sealing.custody import FragmentDeposit, SealDeposit
from caremesh.types import ConsentId, Count, Did, Seconds, StreamId

_FRAGMENT: Final = "fragment/"
_SEAL: Final = "seal/"


class _KeptFragment(Struct, frozen=True):
    """A deposit, and when it came in (seconds UTC, by this custodian's clock)."""

    at: Seconds
    deposit: FragmentDeposit


class _KeptSeal(Struct, frozen=True):
    at: Seconds
    deposit: SealDeposit


class Destroyed(Struct, frozen=True):
    """What a sweep destroyed: consents of which no fragment is left, and segments of which a seal went."""

    consents: list[ConsentId]
    segments: list[tuple[StreamId, Count, Segment]]


class Keeping:
    """One custodian's fragments and seals. Owns its part of the vault."""

    def __init__(self, vault: Vault, me: Did) -> None:
        """Find what is in the vault. Raises Tampered vault.02."""
        self._vault = vault
        self._me = me
        self._fragments: defaultdict[ConsentId, set[str]] = defaultdict(set)
        self._due: list[tuple[Seconds, ConsentId]] = []
        """A heap: when to look at which consent again."""
        self._pending: dict[str, Seconds] = {}
        """Seals under which nothing is registered yet, and when they came in."""
        for name in vault.names(_FRAGMENT):
            self._fragments[_owner_in(name)].add(name)
        for name in vault.names(_SEAL):
            self._pending[name] = self._seal(name).at

    def put_fragment(self, deposit: FragmentDeposit, at: Seconds) -> None:
        """Keep a fragment, durably, beside others of the same consent: each belongs to a delegation of its own."""
        commitment = consents.fragment_commitment(deposit.consent, self._me, deposit.epoch, deposit.fragment)
        name = f"{_FRAGMENT}{deposit.consent.hex()}/{commitment.hex()}"
        self._vault.put({name: codec.encode(_KeptFragment(at, deposit))})
        self._fragments[deposit.consent].add(name)
        heapq.heappush(self._due, (at, deposit.consent))

    def fragment(self, consent: Consent) -> FragmentDeposit | None:
        """The fragment that the ledger names for this custodian; another of the consent when that is not here."""
        names = sorted(self._fragments[consent.id], key=lambda name: (name not in self._named(consent), name))
        return self._fragment(names[0]).deposit if names else None

    def put_seals(self, deposits: Iterable[SealDeposit], at: Seconds) -> None:
        """Keep seals, durably, all or none."""
        named = {_seal_name(deposit.stream, codec.cid_of_cbor(deposit.descriptor)): deposit for deposit in deposits}
        self._vault.put({name: codec.encode(_KeptSeal(at, deposit)) for name, deposit in named.items()})
        self._pending.update(dict.fromkeys(named, at))

    def seal(self, stream: StreamId, descriptor: CID) -> SealDeposit | None:
        """The seal of a descriptor, with the permit under which it was deposited."""
        name = _seal_name(stream, descriptor)
        return self._seal(name).deposit if self._vault.has(name) else None

    def sweep(
        self,
        reader: Reader,
        now: Seconds,
        *,
        changed: Iterable[ConsentId],
        redelegated: Iterable[ConsentId],
        streams: Iterable[StreamId],
    ) -> Destroyed:
        """Destroy what is over of these consents and streams, and what time has ended. ``now``: block time or later."""
        anew, look = set(redelegated), set(changed)
        look |= anew
        while self._due and self._due[0][0] <= now:
            look.add(heapq.heappop(self._due)[1])
        ttl_s = network.params(reader).deposit_ttl_s
        gone: list[str] = []
        ended = []
        for consent_id in sorted(look):
            over = self._over(reader, consent_id, now, ttl_s, anew=consent_id in anew)
            gone += over
            if over and len(over) == len(self._fragments[consent_id]):
                ended.append(consent_id)
        segments = []
        for stream in sorted(set(streams)):
            for name in self._vault.names(f"{_SEAL}{stream.hex()}/"):
                found = records.named(reader, stream, _descriptor_in(name))
                if found is None:
                    continue
                self._pending.pop(name, None)
                if found[1].descriptor != _descriptor_in(name):
                    gone.append(name)
                    segments.append((stream, *found))
        gone += self._never_registered(reader, now, ttl_s)
        self._vault.destroy(gone)
        for name in gone:
            if name.startswith(_FRAGMENT):
                self._fragments[_owner_in(name)].discard(name)
        return Destroyed(ended, segments)

    def sweep_all(self, reader: Reader, now: Seconds) -> Destroyed:
        """Look at everything that is kept: after a start, and when events were missed."""
        self._due = []
        streams = {_owner_in(name) for name in self._vault.names(_SEAL)}
        return self.sweep(reader, now, changed=list(self._fragments), redelegated=(), streams=streams)

    def _over(self, reader: Reader, consent_id: ConsentId, now: Seconds, ttl_s: Seconds, *, anew: bool) -> list[str]:
        """The names of a consent's fragments that are of no more use; notes when to look at the others again."""
        names = sorted(self._fragments[consent_id])
        consent = consents.consent(reader, consent_id)
        if consent is not None and (consents.is_over(consent, now) or _is_empty(reader, consent)):
            return names
        over, again = [], [] if consent is None else [consent.ends]
        for name in names:
            if consent is not None and name in self._named(consent):
                continue
            # Not named (yet): the delegation that names it may still come, unless another has just come.
            late = self._fragment(name).at + ttl_s
            if anew or late <= now:
                over.append(name)
            else:
                again.append(late)
        if len(over) < len(names):
            heapq.heappush(self._due, (min(again), consent_id))
        return over

    def _named(self, consent: Consent) -> set[str]:
        mine = [entry.commitment for entry in consent.fragments if entry.custodian == self._me]
        return {f"{_FRAGMENT}{consent.id.hex()}/{commitment.hex()}" for commitment in mine}

    def _never_registered(self, reader: Reader, now: Seconds, ttl_s: Seconds) -> list[str]:
        late = [name for name, at in self._pending.items() if at + ttl_s <= now]
        for name in late:
            del self._pending[name]
        return [name for name in late if records.index_of(reader, _owner_in(name), _descriptor_in(name)) is None]

    def _fragment(self, name: str) -> _KeptFragment:
        return codec.decode_as(self._vault.get(name) or b"", _KeptFragment)

    def _seal(self, name: str) -> _KeptSeal:
        return codec.decode_as(self._vault.get(name) or b"", _KeptSeal)


def _is_empty(reader: Reader, consent: Consent) -> bool:
    """Whether all that a consent lists is erased: a list never grows, so it covers nothing again."""
    if consent.scope.kind != "listed":
        return False
    listed = [(index, records.segment(reader, consent.stream, index)) for index in consent.scope.segments]
    return not any(segment is not None and consents.covers(consent, index, segment) for index, segment in listed)


def _owner_in(name: str) -> bytes:
    """The consent of a fragment, or the stream of a seal."""
    return bytes.fromhex(name.split("/")[1])


def _seal_name(stream: StreamId, descriptor: CID) -> str:
    return f"{_SEAL}{stream.hex()}/{descriptor.encode()}"


def _descriptor_in(name: str) -> CID:
    return codec.parse_cid(name.rpartition("/")[2])
