"""Requests for access, judged by plain facts: who signs, what is denied and why, and what is recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hypothesis.stateful import multiple

from caremesh import codec
from caremesh.contracts.access import messages
from caremesh.crypto.hashes import tagged_hash
from caremesh.types import DAY_S
from tests.support.models.consents import Consents, consent_id
from tests.support.models.facts import Consent, Record
from tests.support.models.kernel import Signs, did, key, public
from tests.support.models.laws import says
from tests.support.models.machine import broken

BASIS = ["HIPAA:164.506.c.2"]
VISIT_KEYS = ["visit 0", "visit 1"]
HALF_A_DAY_S = 12 * 3_600


@dataclass(frozen=True)
class Visit:
    """``signer``: the key that signs it; ``garbled``: it is no visit at all."""

    practitioner: str
    member: str
    key: str
    starts: int
    ends: int
    signer: str
    chain: str = "test"
    garbled: bool = False


@lru_cache(maxsize=1_024)
def sent(visit: Visit) -> messages.SignedVisit:
    """The visit as it travels."""
    data = codec.encode(
        messages.Visit(
            chain=visit.chain,
            practitioner=did(visit.practitioner),
            member=did(visit.member),
            key=public(visit.key),
            starts=visit.starts,
            ends=visit.ends,
        )
    )
    data = data[:-1] if visit.garbled else data
    return messages.SignedVisit(visit=data, signature=key(visit.signer).sign(messages.VISIT_DOMAIN + data))


@dataclass
class Question:
    """What is asked, by whom, and who signs: the sponsor last."""

    consent: str
    requester: str
    member: str
    action: str = "read"
    purpose: str = "TREAT"
    basis: tuple[str, ...] = tuple(BASIS)
    segments: tuple[int, ...] = ()
    asserted: bool = False
    visit: Visit | None = None
    renews: str = ""


class Questions(Consents):
    """The rules of asking."""

    def visit(self, requester: str, member: str, wrong: str = "") -> Visit:
        """One that began an hour ago."""
        now, known = self.facts.now, self.facts.dids.get(requester)
        own = requester if known is None else known.key
        visit = Visit(requester, member, VISIT_KEYS[0], now - 3_600, now + HALF_A_DAY_S - 3_600, own)
        faults: dict[str, dict[str, Any]] = {
            "a visit too long": {"ends": visit.ends + 1},
            "a visit that is over": {"ends": now},
            "a visit to come": {"starts": now + 1},
            "a visit with another": {"member": "hospital" if member != "hospital" else "practice"},
            "a visit of another": {"practitioner": "bob" if requester != "bob" else "ann"},
            "a visit signed by another": {"signer": "somebody"},
            "a visit elsewhere": {"chain": "elsewhere"},
            "a garbled visit": {"garbled": True},
        }
        return replace(visit, **faults.get(wrong, {}))

    def refused(self, asked: Question, signers: list[Signs]) -> set[str]:
        """Why a request is not even recorded."""
        granted = self.known(asked.consent)
        if granted is None or granted.grantee != asked.member:
            return {"access.01"}
        why = broken(
            (
                not asked.asserted or (asked.requester == asked.member and asked.visit is None),
                "access.03",
            ),
        )
        if asked.visit is not None:
            return why | self._visit_broken(asked, asked.visit, signers)
        return why | broken((asked.asserted or self.holds(signers[:-1], asked.requester), "access.02"))

    def denied(self, asked: Question, granted: Consent, signers: list[Signs]) -> tuple[set[str], list[str]]:
        """Why a request is recorded as denied, and the policies that the law cites."""
        facts = self.facts
        member, source = facts.members[granted.grantee], facts.members[granted.source]
        appointed = facts.people.get((asked.requester, asked.member))
        acts = self.may_act(asked.requester, asked.member)
        numbers = list(asked.segments)
        why = broken(
            (not self.brake_stops(), "access.06"),
            (bool(asked.basis) and len(set(asked.basis)) == len(asked.basis), "access.04"),
            (not asked.renews or self._continues(asked), "access.19"),
            (self.is_in_force(granted), "access.10"),
            (granted.epoch == facts.streams[granted.stream].epoch, "access.21"),
            (asked.purpose in granted.purposes, "access.11"),
            (asked.action in granted.actions, "access.12"),
            (numbers == sorted(set(numbers)) and all(self.in_scope(granted, each) for each in numbers), "access.13"),
            (asked.asserted or acts, "access.14"),
            (bool(asked.renews) or granted.most is None or granted.visits < granted.most, "access.15"),
            (granted.place in (None, member.place), "access.16"),
            (not granted.second or (not asked.asserted and self._second(asked, signers)), "access.20"),
        )
        asks = {
            "purpose": asked.purpose,
            "asserted": asked.asserted,
            "break_glass": False,
            "requester_roles": appointed.roles if appointed is not None and acts and not asked.asserted else [],
            "source_jurisdiction": source.place,
            "grantee_jurisdiction": member.place,
        }
        permit, policies = says(facts.laws, facts.height + 1, "access", asks)
        return why | broken((permit, "access.17")), policies

    def recorded(self, kind: str, asked: Question, stream: str, **fields: object) -> str:
        """Enter a record into the lists of its stream, its requester and its consent; its name."""
        facts = self.facts
        identity = tagged_hash("caremesh/v1/receipt", self.kernel.tx_id, bytes(4))
        name = f"{kind} {len(facts.records)}"
        record = Record(
            identity,
            kind,
            stream,
            asked.member,
            asked.requester,
            asked.purpose,
            asked.action,
            facts.now,
            facts.height,
            consent=asked.consent,
            asserted=asked.asserted,
            segments=list(asked.segments),
            **fields,  # type: ignore[arg-type]
        )
        facts.records[name] = record
        self._old_records_leave()
        facts.queue.append(name)
        for owner in self._lists(record):
            facts.lists.setdefault(owner, []).append(name)
        return name

    def _lists(self, record: Record) -> list[tuple[str, str]]:
        lists = [("stream", record.stream), ("requester", record.requester)]
        return [*lists, ("consent", record.consent)] if record.consent else lists

    def _old_records_leave(self) -> None:
        """With each new record, up to four of the oldest that are older than audits reach back: out of every list."""
        facts, before = self.facts, self.facts.now - self.facts.network.audit_years * 366 * DAY_S
        for name in facts.queue[:4]:
            record = facts.records[name]
            if record.at > before:
                return
            record.forgotten = True
            facts.queue.remove(name)
            for owner in self._lists(record):
                facts.lists[owner].remove(name)
            granted = facts.consents.get(record.consent)
            if granted is not None and not self.is_in_force(granted):
                granted.visits = 0

    def may_act(self, person: str, member: str) -> bool:
        """Appointed, not suspended, licensed."""
        known = self.facts.people.get((person, member))
        return known is not None and known.status == "active" and self.facts.now < known.until

    def is_alive(self, record: Record) -> bool:
        return not record.closed and not record.forgotten and record.at <= self.facts.now < record.expires

    def _continues(self, asked: Question) -> bool:
        given = self.facts.records[asked.renews]
        same = (given.member, given.consent, given.requester, given.asserted, given.action, given.purpose) == (
            asked.member,
            asked.consent,
            asked.requester,
            asked.asserted,
            asked.action,
            asked.purpose,
        )
        return (
            given.kind == "receipt"
            and self.is_alive(given)
            and self.facts.now < given.began + HALF_A_DAY_S
            and same
            and given.segments == list(asked.segments)
        )

    def _visit_broken(self, asked: Question, visit: Visit, signers: list[Signs]) -> set[str]:
        now, known = self.facts.now, self.facts.dids.get(asked.requester)
        if visit.garbled:
            return {"access.18"}
        return broken(
            (visit.chain == "test", "access.18"),
            ((visit.practitioner, visit.member) == (asked.requester, asked.member), "access.18"),
            (visit.starts <= now < visit.ends <= visit.starts + HALF_A_DAY_S, "access.18"),
            ((asked.requester, visit.key) in signers[:-1], "access.02"),
            (known is not None and known.active, "access.02"),
            (known is None or not known.active or visit.signer == known.key, "access.18"),
        )

    def _second(self, asked: Question, signers: list[Signs]) -> bool:
        """A colleague who may act for the member signed too."""
        return any(
            name is not None
            and name != asked.requester
            and self.holds(signers[:-1], name)
            and self.may_act(name, asked.member)
            for name, _ in signers[:-1]
        )

    def signs(self, asked: Question, key: str, wrong: str, *, second: bool) -> list[Signs]:
        """The practitioner's key or the visit's, perhaps a colleague's, and the member's."""
        signers: list[Signs] = []
        if asked.visit is not None and wrong != "the visit key is silent":
            signers.append((asked.requester, asked.visit.key))
        elif key == "own" and wrong != "unsigned" and not asked.asserted:
            signers.append(self.mine(asked.requester))
        if second:
            signers.append(self.mine("bob" if asked.requester != "bob" else "ann"))
        return [*signers, self.mine(asked.member)]

    def ask(self, asked: Question, signers: list[Signs]) -> object:
        """Send a request; it ends in a receipt, in a recorded denial, or is refused. The record's name."""
        facts, granted = self.facts, self.facts.consents[asked.consent]
        why = self.refused(asked, signers)
        denied, policies = self.denied(asked, granted, signers)
        message = messages.Request(
            consent=consent_id(granted.stream, asked.consent),
            action=asked.action,
            purpose=asked.purpose,
            legal_basis=list(asked.basis),
            segments=list(asked.segments),
            reason=bytes(32),
            requester=did(asked.requester),
            asserted=asked.asserted,
            visit=asked.visit and sent(asked.visit),
            renews=facts.records[asked.renews].id if asked.renews else None,
        )
        if not self.send(message, signers, why):
            return multiple()
        event = self.kernel.events[-1]
        if denied:
            assert event.type == "access/denied", f"permitted, though {sorted(denied)}"
            assert event.attributes["why"] in denied, f"denied by {event.attributes['why']}, not by {sorted(denied)}"
            code = str(event.attributes["why"])
            policies = policies if code == "access.17" else []
            return self.recorded("refusal", asked, granted.stream, why=code, policies=policies)
        assert event.type == "access/permitted", f"denied by {event.attributes.get('why')}, but no rule is broken"
        renewed = facts.records[asked.renews] if asked.renews else None
        began = facts.now if renewed is None else renewed.began
        ends = [began + HALF_A_DAY_S, granted.ends, *([asked.visit.ends] if asked.visit else [])]
        name = self.recorded(
            "receipt",
            asked,
            granted.stream,
            policies=policies,
            expires=min(facts.now + facts.network.receipt_life, *ends),
            began=began,
        )
        granted.visits += renewed is None
        facts.records[name].first = name if renewed is None else renewed.first
        return name
