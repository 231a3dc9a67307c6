"""What the members of a network send, for benches: signed transactions of every kind that a working day holds.

The mix, in transactions of a hundred, and the Ed25519 signatures that each makes the ledger check:

| what | of 100 | signatures |
|---|---|---|
| ``records/register`` into an open stream | 36 | source |
| ``records/register`` that opens a stream | 4 | source, permit |
| ``access/request`` by a practitioner | 35 | practitioner, member |
| ``consent/grant`` | 12 | stream, sponsor |
| ``consent/revoke`` | 5 | stream, sponsor |
| ``streams/permit`` | 4 | sponsor, permit |
| ``access/close`` | 2 | member |
| ``access/report`` | 2 | custodian |

Nearly 1.6 signatures a transaction. Streams, members and people are drawn evenly, so that with many streams hardly
anything is touched twice. Every transaction is one that the ledger accepts.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from bench._measure import Check
from bench._network import BASIS, CHAIN, POINT, PROVIDERS, Network, Party
from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.messages import Close, Report, Request
from caremesh.contracts.access.queries import receipt_id
from caremesh.contracts.consent.messages import FragmentCommitment, Grant, Revoke, Scope
from caremesh.contracts.consent.queries import consent_id
from caremesh.contracts.records.messages import Register
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit, RenewPermit
from caremesh.ledger.transactions import SIGNING_DOMAIN, Message, Tx, assemble, encode, tx_id
from caremesh.types import DAY_S, Seconds, SignedPermit


class Signed(NamedTuple):
    """A transaction, and the signatures in it as whoever checks nothing else would; a permit's comes last."""

    raw: bytes
    checks: list[Check]
    permits: int


class _Live(NamedTuple):
    """A consent that a request may name."""

    stream: int
    grantee: int
    consent: bytes


class _Made(NamedTuple):
    """Of one batch: consents and receipts that a later one may name, and how many streams there are after it."""

    live: list[_Live]
    receipts: list[tuple[bytes, int]]
    streams: list[int]


class Traffic:
    """A stream of transactions that fit one another and a populated state, the same for the same seed."""

    def __init__(self, network: Network, streams: int, seed: int = 1, apart: int = 0) -> None:
        """``streams``: how many the state holds. ``apart``: how many batches later one names what another has made:
        an engine that puts revocations first, and several that pass on what they get, do not keep the order of all.
        """
        self.expires_at: Seconds = network.start + 300
        self._network: Final = network
        self._random: Final = random.Random(seed)  # noqa: S311 - a seed, so that every run sends the same
        self._parties: Final[dict[int, Party]] = {}
        self._streams = self._open_streams = streams
        self._apart: Final = apart
        self._recent: Final[deque[_Made]] = deque(_Made([], [], [streams]) for _ in range(max(apart, 1)))
        """Of the last batches, the newest last."""
        self._live = [
            _Live(n, network.neighbour(network.source(n), 1), consent_id(self._party(n).stream, bytes(16)))
            for n in range(streams)
        ]
        self._granted: Final = {(each.stream, each.grantee) for each in self._live}
        self._serials: Final[dict[int, int]] = {}
        self._receipts: list[tuple[bytes, int]] = []
        self._made = 0
        self._kinds: Final[dict[Callable[[], Signed], int]] = {
            self._register: 36,
            self._open: 4,
            self._request: 35,
            self._grant: 12,
            self._revoke: 5,
            self._renew: 4,
            self._close: 2,
            self._report: 2,
        }

    def batch(self, count: int) -> list[Signed]:
        """So many transactions, to be committed in this order."""
        kinds = self._random.choices(list(self._kinds), list(self._kinds.values()), k=count)
        made = []
        for kind in kinds:
            made.append(kind())
            if not self._apart:
                self._settle()
        if self._apart:
            self._settle()
        return made

    def requests(self, count: int) -> list[Signed]:
        """So many requests of practitioners, which will not be committed."""
        found = [self._request() for _ in range(count)]
        self._recent[-1].receipts.clear()
        return found

    def consents(self, count: int) -> list[bytes]:
        """The ids of so many consents that are in force."""
        return [each.consent for each in self._random.sample(self._live, count)]

    def _settle(self) -> None:
        self._recent[-1].streams.append(self._streams)
        old = self._recent.popleft()
        self._live += old.live
        self._receipts += old.receipts
        self._open_streams = old.streams[-1]
        self._recent.append(_Made([], [], []))

    def _register(self) -> Signed:
        return self._segment(self._random.randrange(self._open_streams), None)

    def _open(self) -> Signed:
        number, self._streams = self._streams, self._streams + 1
        return self._segment(number, self._permit(number))

    def _segment(self, number: int, permit: SignedPermit | None) -> Signed:
        mark = self._mark()
        message = Register(
            stream=self._party(number).stream,
            descriptor=CID.cidv1_dag_cbor_sha256_32_from(mark),
            seal=mark,
            size_class=12,
            permit=permit,
        )
        return self._sign(message, [self._source(number)], permit, number)

    def _request(self) -> Signed:
        live = self._random.choice(self._live)
        person = self._random.choice(self._network.practitioners[live.grantee])
        message = Request(
            consent=live.consent,
            action="read",
            purpose="TREAT",
            legal_basis=BASIS[self._network.place(live.grantee)],
            segments=self._random.choice([[], [0], [0, 1, 2]]) if self._is_old(live.stream) else [],
            reason=self._mark(),
            requester=person.did,
            asserted=False,
        )
        signed = self._sign(message, [person, self._network.providers[live.grantee]])
        self._recent[-1].receipts.append((receipt_id(bytes(tx_id(codec.decode(signed.raw)[0])), 0), live.grantee))
        return signed

    def _grant(self) -> Signed:
        while True:  # most streams have room for another grantee
            number = self._random.randrange(self._open_streams)
            grantee = self._network.neighbour(self._network.source(number), self._random.randrange(1, PROVIDERS // 2))
            if (number, grantee) not in self._granted:
                break
        salt, party, day = self._mark()[:16], self._party(number), self._network.start // DAY_S * DAY_S
        live = _Live(number, grantee, consent_id(party.stream, salt))
        self._recent[-1].live.append(live)
        self._granted.add((number, grantee))
        message = Grant(
            stream=party.stream,
            grantee=self._network.providers[grantee].did,
            scope=Scope(kind="future"),
            actions=["read"],
            purposes=["TREAT"],
            from_=day,
            until=day + 60 * DAY_S,
            epoch=0,
            receiving_key=POINT,
            verifying_key=POINT,
            fragments=[
                FragmentCommitment(custodian=each.did, commitment=self._mark()) for each in self._network.custodians
            ],
            explicit=True,
            salt=salt,
        )
        return self._sign(message, [party, self._source(number)])

    def _revoke(self) -> Signed:
        at = self._random.randrange(len(self._live))
        live, self._live[at] = self._live[at], self._live[-1]
        self._live.pop()
        self._granted.discard((live.stream, live.grantee))
        return self._sign(Revoke(consent=live.consent), [self._party(live.stream), self._source(live.stream)])

    def _renew(self) -> Signed:
        number = self._random.randrange(self._open_streams)
        permit = self._permit(number)
        return self._sign(RenewPermit(permit=permit), [self._source(number)], permit, number)

    def _close(self) -> Signed:
        if not self._receipts:
            return self._request()
        receipt, member = self._receipts.pop()
        return self._sign(Close(receipt=receipt), [self._network.providers[member]])

    def _report(self) -> Signed:
        message = Report(root=self._mark(), count=self._made)
        return self._sign(message, [self._random.choice(self._network.custodians)])

    def _permit(self, number: int) -> SignedPermit:
        serial = self._serials[number] = self._serials.get(number, 1) + 1
        party = self._party(number)
        data = codec.encode(
            Permit(
                chain=CHAIN,
                stream=party.stream,
                key=party.key.public,
                rotation=0,
                source=self._source(number).did,
                epoch=0,
                reading_key=POINT,
                custodians=[each.did for each in self._network.custodians],
                threshold=2,
                serial=serial,
                until=self._network.start // DAY_S * DAY_S + 200 * DAY_S,
                max_segments=2**20,
            )
        )
        return SignedPermit(permit=data, signature=party.key.sign(PERMIT_DOMAIN + data))

    def _sign(self, message: Message, by: list[Party], permit: SignedPermit | None = None, stream: int = 0) -> Signed:
        tx = Tx(
            chain=CHAIN,
            expires_at=self.expires_at,
            salt=self._mark()[:8],
            signers=[each.signer for each in by],
            msgs=[message],
        )
        data = encode(tx)
        message_bytes = SIGNING_DOMAIN + data
        checks = [(each.key.public, message_bytes, each.key.sign(message_bytes)) for each in by]
        raw = assemble(data, [signature for _, _, signature in checks])
        if permit is not None:
            checks.append((self._party(stream).key.public, PERMIT_DOMAIN + permit.permit, permit.signature))
        return Signed(raw, checks, len(checks) - len(by))

    def _party(self, number: int) -> Party:
        found = self._parties.get(number)
        if found is None:
            found = self._parties[number] = Party(f"stream {number}", stream=True)
        return found

    def _source(self, number: int) -> Party:
        return self._network.providers[self._network.source(number)]

    def _is_old(self, number: int) -> bool:
        return number not in self._serials

    def _mark(self) -> bytes:
        self._made += 1
        return sha256(b"%d" % self._made + self._random.randbytes(8)).digest()
