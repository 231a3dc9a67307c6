"""Plausible messages about who may see what: consent and access."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from caremesh import codec
from caremesh.contracts.access import messages as access
from caremesh.contracts.access import queries as accesses
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import messages as consent
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members import queries as member_queries
from caremesh.contracts.records import queries as segments
from caremesh.contracts.streams import queries as stream_queries
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.hashes import sha256
from caremesh.types import DAY_S, Did
from tests.support.participants import CHAIN, Participants, Who
from tests.support.traffic_members import Attempt, MembersTraffic
from tests.support.traffic_streams import StreamsTraffic, fresh_point

CARE = ["HIPAA:164.506.c.2", "GDPR:6.1.e", "GDPR:9.2.h", "EHDS:3"]
BASES = [CARE, CARE, CARE, ["HIPAA:164.506.c.2"], ["GDPR:6.1.a", "GDPR:9.2.a"], ["HIPAA:164.508"]]
EMERGENCY = [["HIPAA:164.506.c.1", "GDPR:6.1.d", "GDPR:9.2.c", "EHDS:3"], CARE, ["GDPR:6.1.d"]]


class AccessTraffic:
    """What subjects grant, and what members make of it."""

    def __init__(self, rng: random.Random, everybody: Participants, mesh: MembersTraffic, of: StreamsTraffic) -> None:
        self.rng = rng
        self.all = everybody
        self.mesh = mesh
        self.of = of
        self.consents: list[bytes] = []
        self.offers: list[bytes] = []
        self.receipts: list[bytes] = []
        self.emergencies: list[bytes] = []

    def kinds(self) -> dict[str, int]:
        """Names of the methods below and how often each is tried."""
        return {
            "grant": 22, "narrow": 4, "extend": 4, "revoke": 4, "redelegate": 5, "offer": 5, "accept": 5,
            "decline": 2, "ask": 40, "close": 5, "report": 4, "break_glass": 6, "dispute": 4, "answer": 4, "review": 6,
        }  # fmt: skip

    # --- parts --------------------------------------------------------------------------------------------

    def consent(self) -> Consent | None:
        """One of the consents, mostly one in force."""
        for _ in range(4):
            found = consents.consent(self.mesh.reader, self.rng.choice(self.consents)) if self.consents else None
            if found is not None and consents.is_active(found, self.mesh.now):
                return found
        return found

    def delegation(self, stream: Stream, grantee: Did) -> dict[str, Any]:
        """The part of a grant that lets custodians re-encrypt."""
        member = member_queries.member(self.mesh.reader, grantee)
        return {
            "epoch": stream.epoch,
            "receiving_key": member.keys.receiving if member is not None else fresh_point(self.rng),
            "verifying_key": fresh_point(self.rng),
            "fragments": [
                consent.FragmentCommitment(custodian=did, commitment=self.rng.randbytes(32))
                for did in stream.custodians
            ],
        }

    def terms(self, stream: Stream) -> dict[str, Any]:
        """A grant of a stream to a member who keeps nothing of it."""
        grantee = str(self.mesh.reading_member().did)
        count = segments.count(self.mesh.reader, stream.id)
        scope = self.rng.choice(
            [
                consent.Scope(kind="future"),
                consent.Scope(kind="existing", height=self.mesh.height - 1),
                consent.Scope(kind="listed", segments=sorted(self.rng.sample(range(count), min(count, 2)))),
            ]
        )
        return {
            "stream": stream.id,
            "grantee": grantee,
            "scope": scope,
            "actions": self.rng.sample(["read", "copy", "compute"], self.rng.randrange(1, 3)),
            "purposes": ["TREAT", *self.rng.sample(["COC", "ETREAT", "HPAYMT", "HRESCH"], self.rng.randrange(2))],
            "from_": self.mesh.days(self.rng.choice([0, 0, 0, 1])),
            "until": self.mesh.days(self.rng.choice([2, 30, 300])),
            "explicit": self.rng.random() < 0.8,
            "salt": self.rng.randbytes(16),
            "conditions": self.rng.choice(
                [
                    None,
                    None,
                    consent.Conditions(max_receipts=1),
                    consent.Conditions(jurisdiction="US", notify=True),
                    consent.Conditions(second_signature=True),
                ]
            ),
            **self.delegation(stream, grantee),
        }

    def by_subject(self, found: Consent | None, make: Callable[[Consent, Stream], Any]) -> Attempt | None:
        """A message about a consent, signed by the subject."""
        stream = None if found is None else stream_queries.stream(self.mesh.reader, found.stream)
        if found is None or stream is None:
            return None
        return Attempt(make(found, stream), [self.of.subject_for(stream), self.mesh.member()])

    # --- consent ------------------------------------------------------------------------------------------

    def grant(self) -> Attempt | None:
        return self.of.by_subject(lambda stream, _: consent.Grant(**self.terms(stream)))

    def narrow(self) -> Attempt | None:
        def make(found: Consent, _: Stream) -> consent.Narrow:
            return self.rng.choice(
                [
                    consent.Narrow(consent=found.id, until=found.ends - DAY_S),
                    consent.Narrow(consent=found.id, purposes=found.purposes[:1]),
                    consent.Narrow(consent=found.id, actions=found.actions[:1]),
                    consent.Narrow(consent=found.id, scope=consent.Scope(kind="existing", height=self.mesh.height - 1)),
                ]
            )

        return self.by_subject(self.consent(), make)

    def extend(self) -> Attempt | None:
        return self.by_subject(
            self.consent(), lambda found, _: consent.Extend(consent=found.id, until=found.ends + 2 * DAY_S)
        )

    def revoke(self) -> Attempt | None:
        return self.by_subject(self.consent(), lambda found, _: consent.Revoke(consent=found.id))

    def redelegate(self) -> Attempt | None:
        return self.by_subject(
            self.consent(),
            lambda found, stream: consent.Redelegate(consent=found.id, **self.delegation(stream, found.grantee)),
        )

    def offer(self) -> Attempt | None:
        message = consent.Offer(
            stream=self.of.any_stream(),
            actions=["read", "copy"],
            purposes=["TREAT", "HRESCH"],
            until=self.mesh.days(60),
            text=self.rng.randbytes(32),
            expires=self.mesh.days(self.rng.choice([1, 20])),
        )
        return Attempt(message, [self.mesh.member()])

    def accept(self) -> Attempt | None:
        asked = consents.offer(self.mesh.reader, self.rng.choice(self.offers)) if self.offers else None
        stream = None if asked is None else stream_queries.stream(self.mesh.reader, asked.stream)
        if asked is None or stream is None:
            return None
        terms = self.terms(stream) | self.delegation(stream, asked.member)
        terms |= {"grantee": asked.member, "actions": ["read"], "purposes": ["TREAT"], "until": asked.until}
        return Attempt(consent.Accept(offer=asked.id, **terms), [self.of.subject_for(stream), self.mesh.member()])

    def decline(self) -> Attempt | None:
        asked = consents.offer(self.mesh.reader, self.rng.choice(self.offers)) if self.offers else None
        stream = None if asked is None else stream_queries.stream(self.mesh.reader, asked.stream)
        if asked is None or stream is None:
            return None
        return Attempt(consent.Decline(offer=asked.id), [self.of.subject_for(stream), self.mesh.member()])

    # --- access -------------------------------------------------------------------------------------------

    def staff(self, member: Did) -> Did:
        """Someone who acts for a member, if a few tries find one."""
        for _ in range(4):
            did = self.mesh.staff(member)
            if member_queries.may_act(self.mesh.reader, did, member, self.mesh.now):
                break
        return did

    def ask(self) -> Attempt | None:
        found = self.consent()
        if found is None:
            return None
        member, person = self.mesh.who(found.grantee), self.mesh.who(self.staff(found.grantee))
        asserted = self.rng.random() < 0.15
        given: dict[str, Any] = {
            "consent": found.id,
            "action": self.rng.choice(found.actions),
            "purpose": self.rng.choice(found.purposes),
            "legal_basis": self.rng.choice(BASES),
            "segments": found.scope.segments if found.scope.kind == "listed" else [],
            "reason": self.rng.randbytes(32),
            "requester": str(member.did if asserted else person.did),
            "asserted": asserted,
        }
        signers = [] if asserted else [person]
        if not asserted and self.rng.random() < 0.3:
            visit, key = self.visit(person, found.grantee)
            given["visit"], signers = visit, [Who(key.key, person.did)]
        if self.rng.random() < 0.2:
            second = self.mesh.who(self.staff(found.grantee))
            signers += [second] if second.did != person.did else []
        given |= self.renewal(found)
        return Attempt(access.Request(**given), [*signers, member])

    def renewal(self, found: Consent) -> dict[str, Any]:
        """Now and then: the question of a receipt that is still alive, asked again."""
        alive = [
            entry
            for entry in accesses.of_consent(self.mesh.reader, found.id)
            if isinstance(entry, Receipt) and accesses.is_alive(entry, self.mesh.now)
        ]
        if not alive or self.rng.random() < 0.5:
            return {}
        last = alive[-1]
        return {"renews": last.id, "action": last.action, "purpose": last.purpose, "segments": last.segments}

    def visit(self, person: Who, member: Did) -> tuple[access.SignedVisit, Who]:
        """A visit by a key of its own, now and then one that does not hold."""
        key = Who(self.all.new_key(), person.did)
        visit = access.Visit(
            chain=CHAIN,
            practitioner=str(person.did),
            member=member,
            key=key.key.public,
            starts=self.mesh.now - 10,
            ends=self.mesh.now + 3_600,
        )
        if self.rng.random() < 0.1:
            visit = self.of.values.change(visit)
        data = codec.encode(visit)
        return access.SignedVisit(visit=data, signature=person.key.sign(access.VISIT_DOMAIN + data)), key

    def close(self) -> Attempt | None:
        given = accesses.receipt(self.mesh.reader, self.rng.choice(self.receipts[-20:])) if self.receipts else None
        if given is None:
            return None
        return Attempt(access.Close(receipt=given.id), [self.mesh.who(given.member)])

    def report(self) -> Attempt:
        keeper = self.mesh.who(self.rng.choice(self.all.authorities))
        last = accesses.anchor(self.mesh.reader, str(keeper.did))
        count = 0 if last is None else last.count
        message = access.Report(root=sha256(self.rng.randbytes(1)), count=count + self.rng.choice([0, 1, 5]))
        return Attempt(message, [keeper])

    def break_glass(self) -> Attempt:
        member = self.mesh.reading_member()
        person = self.mesh.who(self.staff(str(member.did)))
        message = access.BreakGlass(
            stream=self.of.any_stream(),
            purpose=self.rng.choice(["ETREAT", "ETREAT", "BTG", "TREAT"]),
            legal_basis=self.rng.choice([EMERGENCY[0], *EMERGENCY]),
            reason=self.rng.randbytes(32),
            requester=str(person.did),
        )
        return Attempt(message, [person, member])

    def given(self) -> Any:
        """A receipt or an emergency access."""
        known = self.receipts[-40:] + self.emergencies[-40:]
        return accesses.record(self.mesh.reader, self.rng.choice(known)) if known else None

    def dispute(self) -> Attempt | None:
        given = self.given()
        stream = None if given is None else stream_queries.stream(self.mesh.reader, given.stream)
        if stream is None:
            return None
        message = access.Dispute(receipt=given.id, statement=self.rng.randbytes(32))
        return Attempt(message, [self.of.subject_for(stream), self.mesh.member()])

    def answer(self) -> Attempt | None:
        disputed = [
            entry
            for identity in self.receipts[-60:] + self.emergencies[-60:]
            if (entry := accesses.dispute(self.mesh.reader, identity)) is not None and entry.answer is None
        ]
        if not disputed:
            return None
        found = self.rng.choice(disputed)
        message = access.Answer(receipt=found.receipt, statement=self.rng.randbytes(32))
        return Attempt(message, [self.mesh.who(found.member)])

    def review(self) -> Attempt | None:
        asked = [accesses.emergency(self.mesh.reader, identity) for identity in self.emergencies[-100:]]
        waiting = [entry for entry in asked if entry is not None and entry.why is None and entry.review is None]
        known = waiting or [entry for entry in asked if entry is not None]
        if not known:
            return None
        found = self.rng.choice(known)
        officers = [
            did
            for did in self.all.people
            if (held := member_queries.appointment(self.mesh.reader, did, found.member)) is not None
            and "privacy-officer" in held.roles
        ]
        officer = self.mesh.who(self.rng.choice(officers) if officers else self.mesh.person())
        message = access.Review(
            receipt=found.id, officer=str(officer.did), justified=True, statement=self.rng.randbytes(32)
        )
        return Attempt(message, [officer, self.mesh.who(found.member)])

    def heard(self, kind: str, attributes: dict[str, Any]) -> None:
        """Take in an event."""
        if kind == "consent/granted":
            self.consents.append(attributes["consent"])
        elif kind == "consent/offered":
            self.offers.append(attributes["offer"])
        elif kind == "access/permitted":
            self.receipts.append(attributes["receipt"])
        elif kind == "access/glass-broken":
            self.emergencies.append(attributes["receipt"])
