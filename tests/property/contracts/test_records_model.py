"""The records contract against a plain account of what is in a stream, and of what was."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from caremesh.codec import CID
from caremesh.contracts.records import queries
from caremesh.contracts.records.messages import Attest, Erase, Register, Reseal, Retract, Supersede
from caremesh.crypto.hashes import sha256
from caremesh.ledger.transactions import Message
from tests.property.contracts.test_streams_model import StreamsRules
from tests.support.models.facts import Permit, Segment, Stream
from tests.support.models.kernel import Signs, did
from tests.support.models.machine import Ground, broken, profile, twist
from tests.support.models.permits import CARERS, signed, signing, stream_id

PARTS = [f"part {number}" for number in range(10)]
numbers = st.sampled_from([0, 0, 1, 1, 2, 3])
WRONG_ENTRY = ("another source", "not a descriptor", "too large a class", "an old descriptor", "an old seal")


def descriptor(name: str) -> CID:
    return CID.cidv1_dag_cbor_sha256_32_from(name.encode())


def raw_block(name: str) -> CID:
    """A CID of another kind."""
    return CID.cidv1_raw_sha256_32_from(name.encode())


def seal(name: str) -> bytes:
    return sha256(f"seal of {name}".encode())


class RecordsRules(StreamsRules):
    """Sources bring segments in, correct and retract them; subjects seal them anew and erase them."""

    def begins(self, name: str) -> None:
        super().begins(name)
        for part in ("begin", "beginning"):
            entry = descriptor(part), seal(part)
            message = Register(stream=stream_id(name), descriptor=entry[0], seal=entry[1], size_class=1)
            assert self.send(message, [self.mine("hospital")])
            self._enters(name, None, "hospital", *entry)

    @rule(
        name=Ground.streams,
        part=st.sampled_from(PARTS),
        bring=twist("a permit", "of another stream", "an old serial", "garbled"),
        wrong=twist(*WRONG_ENTRY),
    )
    def registers_a_segment(self, name: str, part: str, bring: str, wrong: str) -> None:
        at = self.facts.streams[name]
        permit = self._brings_to_write(name, bring)
        source = "clinic" if wrong == "another source" else at.source
        why, (cid, mark, size) = self._may_enter(name, part, permit, source, wrong)
        message = Register(
            stream=stream_id(name), descriptor=cid, seal=mark, size_class=size, permit=permit and signed(permit)
        )
        if self.send(message, [self.mine(source)], why):
            self._enters(name, permit, source, cid, mark)

    @precondition(lambda self: self.some_segment())
    @rule(
        name=Ground.streams,
        number=numbers,
        part=st.sampled_from(PARTS),
        bring=twist("a permit", "of another stream"),
        wrong=twist(*WRONG_ENTRY),
    )
    def supersedes(self, name: str, number: int, part: str, bring: str, wrong: str) -> None:
        at = self.facts.streams[name]
        permit = self._brings_to_write(name, bring)
        source = "clinic" if wrong == "another source" else at.source
        why, (cid, mark, size) = self._may_enter(name, part, permit, source, wrong)
        why |= self._not_there(at, number, current=True)
        message = Supersede(
            stream=stream_id(name),
            segment=number,
            descriptor=cid,
            seal=mark,
            size_class=size,
            permit=permit and signed(permit),
        )
        if self.send(message, [self.mine(source)], why):
            self._enters(name, permit, source, cid, mark)
            at.segments[number].status, at.segments[number].successor = "superseded", len(at.segments) - 1

    @precondition(lambda self: self.some_segment())
    @rule(name=Ground.streams, number=numbers, wrong=twist("another source"))
    def retracts(self, name: str, number: int, wrong: str) -> None:
        at = self.facts.streams[name]
        source = "clinic" if wrong else at.source
        why = self._not_there(at, number, current=True) | broken((source == at.source, "records.05"))
        if self.send(Retract(stream=stream_id(name), segment=number), [self.mine(source)], why):
            at.segments[number].status = "retracted"

    @precondition(lambda self: self.some_segment())
    @rule(
        name=Ground.streams,
        number=numbers,
        part=st.sampled_from(PARTS),
        by=st.sampled_from(["practice", "hospital"]),
        wrong=twist("a stranger signs", "a carer signs", "not alone", *WRONG_ENTRY[1:]),
    )
    def seals_again(self, name: str, number: int, part: str, by: str, wrong: str) -> None:
        at = self.facts.streams[name]
        signers = self.subject(name, by, wrong)
        why, (cid, mark, size) = self._is_new(at, part, wrong)
        why |= self._not_there(at, number) | broken(
            ((None, at.key) in signers, "records.05"), (wrong != "not alone", "records.06")
        )
        message = Reseal(stream=stream_id(name), segment=number, descriptor=cid, seal=mark, size_class=size)
        if self.send(message, signers, why, alone=wrong != "not alone"):
            segment = at.segments[number]
            segment.epoch, segment.version = at.epoch, segment.version + 1
            segment.descriptor, segment.seal = cid, mark
            at.names |= {bytes(cid), mark}

    @precondition(lambda self: self.some_segment())
    @rule(name=Ground.streams, number=numbers, by=st.sampled_from(["practice", "hospital"]), wrong=signing)
    def the_subject_erases(self, name: str, number: int, by: str, wrong: str) -> None:
        at = self.facts.streams[name]
        signers = self.subject(name, by, wrong)
        self._erases(name, number, signers, duty=None, alone=wrong != "not alone", at=at)

    @precondition(lambda self: self.some_segment())
    @rule(name=Ground.streams, number=numbers, duty=st.booleans(), wrong=twist("another source"))
    def the_source_erases(self, name: str, number: int, duty: bool, wrong: str) -> None:
        at = self.facts.streams[name]
        source = "clinic" if wrong else at.source
        self._erases(name, number, [self.mine(source)], duty="GDPR:17.1.d" if duty else None, alone=True, at=at)

    @precondition(lambda self: self.some_segment())
    @rule(name=Ground.streams, number=numbers, by=Ground.members)
    def attests(self, name: str, number: int, by: str) -> None:
        at = self.facts.streams[name]
        why = self._not_there(at, number)
        if not why:
            segment = at.segments[number]
            why = broken(
                (by != segment.source and self.may_read(name, number, by), "records.12"),
                ((by, segment.version) not in segment.attested, "records.13"),
            )
        if self.send(Attest(stream=stream_id(name), segment=number), [self.mine(by)], why):
            segment = at.segments[number]
            segment.attested.append((by, segment.version))

    # --- plain rules -------------------------------------------------------------------------------------

    def some_segment(self) -> bool:
        return any(at.segments for at in self.facts.streams.values())

    def _erases(
        self, name: str, number: int, signers: list[Signs], *, duty: str | None, alone: bool, at: Stream
    ) -> None:
        by_subject = self.signed_for(name, signers, "erase")
        why = self._not_there(at, number) | broken(
            (by_subject or signers[-1][0] == at.source, "records.05"),
            (alone, "records.06"),
            (by_subject or duty is not None, "records.07"),
        )
        message: Message = Erase(stream=stream_id(name), segment=number, duty=duty)
        if self.send(message, signers, why, alone=alone):
            segment = at.segments[number]
            segment.status, segment.descriptor, segment.seal = "erased", None, None

    def _brings_to_write(self, name: str, bring: str) -> Permit | None:
        """Mostly nothing: the permit that counts is on the ledger."""
        if not bring:
            return None
        if bring == "of another stream":
            return self.next_permit("lungs" if name == "heart" else "heart")
        return self.next_permit(name, bring, most=2)

    def _may_enter(
        self, name: str, part: str, permit: Permit | None, source: str, wrong: str
    ) -> tuple[set[str], tuple[CID, bytes, int]]:
        facts, at = self.facts, self.facts.streams[name]
        why, entry = self._is_new(at, part, wrong)
        if permit is not None:
            bad = self.permit_broken(permit, facts.streams.get(permit.stream))
            if bad:
                return bad, entry
            newer = permit.serial > at.serial
        else:
            newer = False
        why |= broken(
            (permit is None or permit.stream == name, "records.09"),
            (source == at.source, "records.05"),
            (not at.closed, "streams.17"),
            (newer or at.writable, "streams.09"),
            ((permit.until if permit and newer else at.until) > facts.now, "streams.08"),
            ((permit.most if permit and newer else at.left) > 0, "streams.10"),
        )
        return why, entry

    def _is_new(self, at: Stream, part: str, wrong: str) -> tuple[set[str], tuple[CID, bytes, int]]:
        """A descriptor and a seal that the stream never had; ``part`` names both."""
        cid = raw_block(part) if wrong == "not a descriptor" else descriptor(part)
        mark, size = seal(part), 64 if wrong == "too large a class" else 63
        if wrong == "an old seal":
            cid = descriptor(f"{part} again")
        elif wrong == "an old descriptor":
            mark = seal(f"{part} again")
        why = broken(
            (wrong != "not a descriptor", "records.10"),
            (size <= 63, "records.08"),
            (not at.names & {bytes(cid), mark}, "records.02"),
        )
        return why, (cid, mark, size)

    def _enters(self, name: str, permit: Permit | None, source: str, cid: CID, mark: bytes) -> None:
        at = self.facts.streams[name] if permit is None else self.permit_counts(permit)
        at.left -= 1
        at.names |= {bytes(cid), mark}
        at.segments.append(Segment(source, at.epoch, self.facts.height, cid, mark))

    def _not_there(self, at: Stream, number: int, *, current: bool = False) -> set[str]:
        if number >= len(at.segments):
            return {"records.03"}
        status = at.segments[number].status
        return broken(
            (status != "erased", "records.04"), (not current or status in {"current", "erased"}, "records.11")
        )

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def the_list_of_segments_is_complete(self) -> None:
        """A segment keeps its number and height, however often it is sealed again."""
        if not {"records", "streams"} & self.stirred:
            return
        for name, at in self.facts.streams.items():
            found = queries.segments(self.state, stream_id(name))
            assert queries.count(self.state, stream_id(name)) == len(at.segments)
            assert [(each.source, each.epoch, each.registered, each.status, each.version) for each in found] == [
                (did(each.source), each.epoch, each.height, each.status, each.version) for each in at.segments
            ]
            assert [(each.descriptor, each.seal, each.successor) for each in found] == [
                (each.descriptor, each.seal, each.successor) for each in at.segments
            ]

    @invariant()
    def a_tombstone_never_comes_back(self) -> None:
        """A name that was in a stream is known for ever, and what is erased is nowhere in the state."""
        if "records" not in self.stirred:
            return
        for name, at in self.facts.streams.items():
            kept = [
                value
                for key, value in self.state.items()
                if key.startswith(b"records/segment/") and stream_id(name) in key
            ]
            live = {mark for each in at.segments if each.seal for mark in (bytes(each.descriptor), each.seal)}
            for mark in at.names:
                if len(mark) > 32:
                    assert queries.index_of(self.state, stream_id(name), CID(mark)) is not None
                if mark not in live:
                    assert not any(mark in value for value in kept)

    @invariant()
    def attestations_are_of_members_that_could_read(self) -> None:
        if "records" not in self.stirred:
            return
        for name, at in self.facts.streams.items():
            for number, segment in enumerate(at.segments):
                found = queries.attestations(self.state, stream_id(name), number)
                assert [(each.member, each.version) for each in found] == [
                    (did(member), version) for member, version in segment.attested
                ]


class Records(RecordsRules):
    """Carers may erase, within their powers; see the consent model for who may attest."""

    @rule(name=Ground.streams)
    def a_carer_may_erase(self, name: str) -> None:
        self.adds_a_controller(name, CARERS[0], "practice", ["erase"], 30, "")


TestRecords = Records.TestCase
TestRecords.settings = profile(400, 50)
