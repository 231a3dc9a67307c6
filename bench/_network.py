"""A network at work, for benches: members in two countries, their practitioners, and streams that have a past.

``rows`` gives the state as the contracts themselves write it; ``populate`` puts it on disk as a snapshot is restored.
A stream's past is 20 keys: its permit, three segments (each with two tombstone hashes), a consent, a receipt, and the
lists that prove them complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts import Contracts, Genesis
from caremesh.contracts.access.state import GIVEN, OF_CONSENT, OF_REQUESTER, OF_STREAM, RECEIPTS, Receipt
from caremesh.contracts.consent.messages import FragmentCommitment, Scope
from caremesh.contracts.consent.queries import consent_id
from caremesh.contracts.consent.state import CONSENTS, STANDING, Consent
from caremesh.contracts.consent.state import OF_STREAM as CONSENTS_OF_STREAM
from caremesh.contracts.identity.state import IDENTITIES, OWNERS, Identity
from caremesh.contracts.members.messages import Admit, Keys
from caremesh.contracts.members.state import APPOINTMENTS, Appointment, appointment_key
from caremesh.contracts.network.messages import Authorities, Params
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.records.state import SEGMENTS, TAKEN, Segment, tombstone
from caremesh.contracts.streams.state import STREAMS, Stream
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of, stream_of
from caremesh.ledger import history
from caremesh.ledger.authenticated_map import AuthenticatedMap
from caremesh.ledger.state import Reader, View
from caremesh.ledger.store import Head, Store
from caremesh.ledger.transactions import Signer
from caremesh.ledger.trie import leaf_hash
from caremesh.types import DAY_S, Code, CountryCode, Did, Seconds

CHAIN: Final = "bench"
START_S: Final = 20_000 * DAY_S + 1_000
PLACES: Final[tuple[CountryCode, ...]] = ("DE", "US")
BASIS: Final[dict[CountryCode, list[Code]]] = {"DE": ["GDPR:6.1.e", "GDPR:9.2.h"], "US": ["HIPAA:164.506.c.2"]}
PROVIDERS: Final = 20
CUSTODIANS: Final = 3
PER_PROVIDER: Final = 4
SEGMENTS_BEFORE: Final = 3
POINT: Final = b"\2" + bytes(32)
"""Stands for an Umbral key, which the ledger does not look into."""
_NETWORK_KEY: Final = hpke_from_seed(bytes(32))[1]


class Party:
    """Someone with a key: under a DID, or a stream."""

    def __init__(self, seed: str, *, stream: bool = False) -> None:
        self.key: Final = SigningKey.from_seed(sha256(seed.encode()).digest())
        self.did: Final = "" if stream else did_of(CHAIN, self.key.public)
        self.signer: Final = Signer(key=self.key.public, did=None if stream else self.did)

    @cached_property
    def stream(self) -> bytes:
        """The stream whose first key this is."""
        return stream_of(self.key.public)


class Network:
    """Who is there; all of it follows from names, so two runs make the same."""

    def __init__(self, start: Seconds = START_S) -> None:
        """``start``: when it began."""
        self.start: Final = start
        self.providers: Final = [Party(f"provider {n}") for n in range(PROVIDERS)]
        self.custodians: Final = sorted((Party(f"custodian {n}") for n in range(CUSTODIANS)), key=lambda each: each.did)
        self.practitioners: Final = [
            [Party(f"practitioner {n}.{m}") for m in range(PER_PROVIDER)] for n in range(PROVIDERS)
        ]

    def place(self, provider: int) -> CountryCode:
        """The jurisdiction of a provider."""
        return PLACES[provider % len(PLACES)]

    def source(self, stream: int) -> int:
        """Which provider writes to a stream."""
        return stream % PROVIDERS

    def neighbour(self, provider: int, step: int) -> int:
        """Another provider in the same place; ``step``: 1 … 9."""
        return (provider + step * len(PLACES)) % PROVIDERS

    @cached_property
    def genesis(self) -> bytes:
        """The founders' document: all members, and every policy set that is shipped."""
        dids = sorted(each.did for each in self.custodians)
        members = [self._admission(each, ["provider"], self.place(n)) for n, each in enumerate(self.providers)]
        members += [self._admission(each, ["custodian", "regulator"], "DE") for each in self.custodians]
        return codec.encode(
            Genesis(
                chain=CHAIN,
                time=self.start,
                params=Params(quota=10**9),
                authorities=Authorities(dids, 2),
                members=members,
                regulations=shipped(),
            )
        )

    def _admission(self, party: Party, roles: list[Code], place: CountryCode) -> Admit:
        return Admit(
            member=party.did,
            key=party.key.public,
            name="A member",
            roles=roles,
            jurisdiction=place,
            keys=Keys(party.key.public, _NETWORK_KEY, POINT),
            endpoints=[],
        )

    def rows(self, streams: int) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of the state with the founders, the practitioners, and so many streams with their past."""
        view = View(_NOTHING)
        Contracts().genesis(view, self.genesis)
        for provider, people in zip(self.providers, self.practitioners, strict=True):
            for person in people:
                identity = Identity(
                    did=person.did,
                    key=person.key.public,
                    rotation=0,
                    kind="practitioner",
                    enrolled_by=provider.did,
                    registered=0,
                    active=True,
                )
                IDENTITIES.put(view, identity, person.did.encode())
                OWNERS.put(view, person.did, person.key.public)
                entry = Appointment(
                    practitioner=person.did,
                    member=provider.did,
                    roles=["physician"],
                    licensed_until=self.start + 400 * DAY_S,
                    status="active",
                )
                APPOINTMENTS.put(view, entry, appointment_key(person.did, provider.did))
        log, _ = history.append(history.frontier({}), [])
        view.put(history.STATE_KEY, codec.encode(log))
        for number in range(streams):
            past = View(_NOTHING)
            self._put_past(past, view, number)
            yield from _rows(past)
        yield from _rows(view)

    def _put_past(self, view: View, shared: View, number: int) -> None:
        party, source = Party(f"stream {number}", stream=True), self.source(number)
        grantee = self.neighbour(source, 1)
        STREAMS.put(view, self.opened(party, source), party.stream)
        for index in range(SEGMENTS_BEFORE):
            mark = sha256(b"%d.%d" % (number, index)).digest()
            descriptor = CID.cidv1_dag_cbor_sha256_32_from(mark)
            segment = Segment(
                source=self.providers[source].did,
                epoch=0,
                registered=0,
                size_class=12,
                status="current",
                descriptor=descriptor,
                seal=mark,
            )
            SEGMENTS.append(view, segment, party.stream)
            for name in (bytes(descriptor), mark):
                TAKEN.put(view, index, party.stream, tombstone(party.stream, name))
        consent = self.granted(party, source, grantee, bytes(16))
        CONSENTS.put(view, consent, consent.id)
        CONSENTS_OF_STREAM.append(view, consent.id, party.stream)
        STANDING.put(view, [consent.id], party.stream)
        requester = self.practitioners[grantee][number % PER_PROVIDER].did
        receipt = self._receipt(consent, requester, number)
        RECEIPTS.put(view, receipt, receipt.id)
        OF_STREAM.append(view, receipt.id, party.stream)
        OF_CONSENT.append(view, receipt.id, consent.id)
        OF_REQUESTER.append(shared, receipt.id, requester.encode())
        GIVEN.put(view, 1, consent.id)

    def opened(self, party: Party, source: int) -> Stream:
        """A stream with a permit that lets its source write as long as a bench lasts."""
        return Stream(
            id=party.stream,
            key=party.key.public,
            rotation=0,
            source=self.providers[source].did,
            epoch=0,
            reading_key=POINT,
            custodians=[each.did for each in self.custodians],
            threshold=2,
            serial=1,
            permit=bytes(32),
            permit_until=self.start // DAY_S * DAY_S + 300 * DAY_S,
            segments_left=2**20,
            permit_revoked=False,
            opened=0,
            closed=False,
        )

    def granted(self, party: Party, source: int, grantee: int, salt: bytes) -> Consent:
        """A consent to read a stream, for treatment."""
        return Consent(
            id=consent_id(party.stream, salt),
            stream=party.stream,
            source=self.providers[source].did,
            grantee=self.providers[grantee].did,
            scope=Scope(kind="future"),
            actions=["read"],
            purposes=["TREAT"],
            starts=self.start // DAY_S * DAY_S,
            ends=self.start // DAY_S * DAY_S + 90 * DAY_S,
            epoch=0,
            receiving_key=POINT,
            verifying_key=POINT,
            fragments=[FragmentCommitment(custodian=each.did, commitment=bytes(32)) for each in self.custodians],
            explicit=True,
            granted=0,
            policies=["gdpr/art9-2-h", "house/period", "iso22600/role"],
            status="granted",
            threshold=2,
        )

    def _receipt(self, consent: Consent, requester: Did, number: int) -> Receipt:
        identity = sha256(b"receipt %d" % number).digest()
        return Receipt(
            id=identity,
            consent=consent.id,
            stream=consent.stream,
            member=consent.grantee,
            requester=requester,
            asserted=False,
            action="read",
            purpose="TREAT",
            legal_basis=BASIS["DE"],
            segments=[],
            height=0,
            at=self.start,
            expires=self.start + 900,
            policies=consent.policies,
            closed=False,
            first=identity,
            began=self.start,
        )


def populate(
    folder: Path, chain: str, genesis: bytes, rows: Iterable[tuple[bytes, bytes]], start: Seconds = START_S
) -> int:
    """A ledger at height 0 that began at ``start``, with these rows for its state; how many there are."""
    folder.mkdir()
    by_digest = sorted((sha256(key).digest(), key, value) for key, value in rows)
    tree = AuthenticatedMap()
    tree.load((digest, leaf_hash(digest, sha256(value).digest())) for digest, _, value in by_digest)
    store = Store(str(folder), chain)
    store.begin_restore(chain)
    for at in range(0, len(by_digest), 50_000):
        store.restore_records([(key, value) for _, key, value in by_digest[at : at + 50_000]])
    store.finish_restore(Head(chain, 0, start, tree.root, bytes(32)), sha256(genesis).digest(), [])
    store.close()
    return len(by_digest)


def _rows(view: View) -> Iterator[tuple[bytes, bytes]]:
    for key, _, value in view.changes():
        if value is not None:
            yield key, value


class _Nothing:
    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the protocol's name
        return None


_NOTHING: Final[Reader] = _Nothing()
