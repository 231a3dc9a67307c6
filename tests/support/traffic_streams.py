"""Plausible messages about subjects' data: streams and records."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import messages as records
from caremesh.contracts.records import queries as segments
from caremesh.contracts.streams import messages as streams
from caremesh.contracts.streams import queries as stream_queries
from caremesh.contracts.streams.state import Stream
from caremesh.types import Did, SignedPermit
from tests.support.any_value import AnyValue
from tests.support.participants import CHAIN, Participants, Who
from tests.support.traffic_members import Attempt, MembersTraffic

BASES = {
    "US": ["HIPAA:164.506.c.2"],
    "DE": ["HIPAA:164.506.c.2", "GDPR:6.1.e", "GDPR:9.2.h", "EHDS:3"],
    "FR": ["GDPR:6.1.a", "GDPR:9.2.a"],
}


def fresh_point(rng: random.Random) -> bytes:
    """What looks like a compressed public key: contracts look no closer."""
    return bytes([rng.choice([2, 3])]) + rng.randbytes(32)


class StreamsTraffic:
    """What subjects, their sources and custodians do with streams and records."""

    def __init__(self, rng: random.Random, everybody: Participants, mesh: MembersTraffic, values: AnyValue) -> None:
        self.rng = rng
        self.all = everybody
        self.mesh = mesh
        self.values = values
        self._last: dict[bytes, SignedPermit] = {}
        self._carers: dict[bytes, list[Who]] = {}

    def kinds(self) -> dict[str, int]:
        """Names of the methods below and how often each is tried."""
        return {
            "open_stream": 14, "register_segment": 24, "supersede": 5, "retract": 2, "reseal": 5, "erase": 3,
            "attest": 4, "renew_permit": 4, "revoke_permit": 3, "rotate_key": 3, "new_epoch": 3, "set_custodians": 3,
            "add_controller": 5, "remove_controller": 3, "close_stream": 1,
        }  # fmt: skip

    # --- parts --------------------------------------------------------------------------------------------

    def stream(self) -> Stream | None:
        """One of the open streams."""
        return self.all.stream(self.rng, self.mesh.reader)

    def any_stream(self) -> bytes:
        """The id of a stream, or of none."""
        return self.rng.choice(self.all.streams) if self.all.streams else bytes(32)

    def keepers(self) -> list[Did]:
        """A set of custodians, sorted."""
        return sorted(self.rng.sample(self.all.authorities, self.rng.randrange(1, 4)))

    def signed(self, permit: streams.Permit, key: Who) -> SignedPermit:
        """A permit by this key; now and then with a field that nobody expects."""
        if self.rng.random() < 0.06:
            permit = self.values.change(permit)
        data = codec.encode(permit)
        made = SignedPermit(permit=data, signature=key.key.sign(streams.PERMIT_DOMAIN + data))
        self._last[permit.stream] = made
        return made

    def next_permit(self, stream: Stream, key: Who | None = None, **changes: Any) -> SignedPermit:
        """The permit that follows the newest."""
        who = key or self.all.subject(stream)
        given: dict[str, Any] = {
            "chain": CHAIN,
            "stream": stream.id,
            "key": who.key.public,
            "rotation": stream.rotation,
            "source": stream.source,
            "epoch": stream.epoch,
            "reading_key": stream.reading_key,
            "custodians": stream.custodians,
            "threshold": stream.threshold,
            "serial": stream.serial + 1,
            "until": self.mesh.days(self.rng.choice([1, 2, 300])),
            "max_segments": self.rng.choice([2, 16, 2**52]),
        }
        return self.signed(streams.Permit(**given | changes), who)

    def subject_for(self, stream: Stream) -> Who:
        """The stream's own key, or now and then a carer's."""
        carers = self._carers.get(stream.id, [])
        return self.rng.choice(carers) if carers and self.rng.random() < 0.2 else self.all.subject(stream)

    def by_subject(self, make: Callable[[Stream, Who], Any]) -> Attempt | None:
        """A message that a subject signs and any member sponsors."""
        stream = self.stream()
        if stream is None:
            return None
        who = self.subject_for(stream)
        return Attempt(make(stream, who), [who, self.mesh.member()])

    def content(self) -> dict[str, Any]:
        """What names a segment that nobody has registered yet."""
        return {
            "descriptor": CID.cidv1_dag_cbor_sha256_32_from(self.rng.randbytes(8)),
            "seal": self.rng.randbytes(32),
            "size_class": self.rng.randrange(64),
        }

    def segment(self, stream: Stream) -> int:
        """The number of one of its segments, or one too many."""
        return self.rng.randrange(segments.count(self.mesh.reader, stream.id) + 1)

    def source_of(self, stream: Stream) -> Who:
        """Who writes to it."""
        return self.mesh.who(stream.source)

    # --- records ------------------------------------------------------------------------------------------

    def open_stream(self) -> Attempt:
        key, stream = self.all.new_subject()
        source = self.mesh.member()
        keepers = self.keepers()
        permit = streams.Permit(
            chain=CHAIN,
            stream=stream,
            key=key.public,
            rotation=0,
            source=str(source.did),
            epoch=0,
            reading_key=fresh_point(self.rng),
            custodians=keepers,
            threshold=self.rng.randrange(1, len(keepers) + 1),
            serial=self.rng.choice([0, 1, 1, 7]),
            until=self.mesh.days(300),
            max_segments=self.rng.choice([4, 64]),
        )
        return Attempt(
            records.Register(stream=stream, permit=self.signed(permit, Who(key)), **self.content()), [source]
        )

    def register_segment(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        permit = self.rng.choice([None, None, self._last.get(stream.id), self.next_permit(stream)])
        return Attempt(records.Register(stream=stream.id, permit=permit, **self.content()), [self.source_of(stream)])

    def supersede(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        message = records.Supersede(stream=stream.id, segment=self.segment(stream), **self.content())
        return Attempt(message, [self.source_of(stream)])

    def retract(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        return Attempt(records.Retract(stream=stream.id, segment=self.segment(stream)), [self.source_of(stream)])

    def reseal(self) -> Attempt | None:
        return self.by_subject(
            lambda stream, _: records.Reseal(stream=stream.id, segment=self.segment(stream), **self.content())
        )

    def erase(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        duty = self.rng.choice([None, "GDPR:17"])
        message = records.Erase(stream=stream.id, segment=self.segment(stream), duty=duty)
        return Attempt(message, [*([] if duty else [self.subject_for(stream)]), self.source_of(stream)])

    def attest(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        granted = consents.of_stream(self.mesh.reader, stream.id)
        who = self.mesh.who(self.rng.choice(granted).grantee) if granted else self.mesh.member()
        return Attempt(records.Attest(stream=stream.id, segment=self.segment(stream)), [who])

    # --- streams ------------------------------------------------------------------------------------------

    def renew_permit(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        return Attempt(streams.RenewPermit(permit=self.next_permit(stream)), [self.mesh.member()])

    def revoke_permit(self) -> Attempt | None:
        return self.by_subject(
            lambda stream, _: streams.RevokePermit(
                stream=stream.id, permit=self.rng.choice([None, None, self._last.get(stream.id)])
            )
        )

    def rotate_key(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        new = Who(self.all.new_key())
        permit = self.rng.choice([None, self.next_permit(stream, new, rotation=stream.rotation + 1)])
        message = streams.RotateKey(stream=stream.id, key=new.key.public, permit=permit)
        return Attempt(message, [self.all.subject(stream), new, self.mesh.member()])

    def new_epoch(self) -> Attempt | None:
        def make(stream: Stream, _: Who) -> streams.NewEpoch:
            reading_key = fresh_point(self.rng)
            permit = self.rng.choice(
                [None, self.next_permit(stream, epoch=stream.epoch + 1, reading_key=reading_key)]
                if stream.epoch < 2**53 - 1
                else [None]
            )
            return streams.NewEpoch(stream=stream.id, reading_key=reading_key, permit=permit)

        return self.by_subject(make)

    def set_custodians(self) -> Attempt | None:
        def make(stream: Stream, _: Who) -> streams.SetCustodians:
            keepers = self.keepers()
            permit = self.rng.choice([None, self.next_permit(stream, custodians=keepers, threshold=1)])
            return streams.SetCustodians(stream=stream.id, custodians=keepers, threshold=1, permit=permit)

        return self.by_subject(make)

    def add_controller(self) -> Attempt | None:
        stream = self.stream()
        if stream is None:
            return None
        carers = self._carers.setdefault(stream.id, [])
        renewed = self.rng.choice(carers) if carers and self.rng.random() < 0.3 else None
        carer = renewed or Who(self.all.new_key())
        carers.append(carer)
        powers: Any = sorted(self.rng.sample(["dispute", "erase", "grant", "revoke"], self.rng.randrange(1, 5)))
        message = streams.AddController(
            stream=stream.id, key=carer.key.public, powers=powers, until=self.mesh.days(self.rng.choice([2, 300]))
        )
        also = [] if renewed else [carer]
        return Attempt(message, [self.all.subject(stream), *also, self.mesh.member()])

    def remove_controller(self) -> Attempt | None:
        def make(stream: Stream, _: Who) -> streams.RemoveController:
            known = stream_queries.controllers(self.mesh.reader, stream.id)
            key = self.rng.choice(known).key if known else self.all.new_key().public
            return streams.RemoveController(stream=stream.id, key=key)

        return self.by_subject(make)

    def close_stream(self) -> Attempt | None:
        return self.by_subject(lambda stream, _: streams.Close(stream=stream.id))

    def heard(self, kind: str, attributes: dict[str, Any]) -> None:
        """Take in an event."""
        if kind == "streams/opened":
            self.all.streams.append(attributes["stream"])
