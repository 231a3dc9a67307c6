"""The access contract against a plain account of who asked, what was permitted, and what became of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, precondition, rule

from caremesh.contracts.access import queries
from caremesh.contracts.access.messages import Answer, BreakGlass, Close, Dispute, Report, Review
from caremesh.contracts.access.state import ANCHORS, OF_CONSENT, OF_REQUESTER, OF_STREAM
from caremesh.contracts.consent import queries as consents
from caremesh.types import DAY_S
from tests.property.contracts.test_consent_model import ConsentRules
from tests.property.contracts.test_identity_model import IdentityRules
from tests.property.contracts.test_members_model import MembersRules
from tests.property.contracts.test_records_model import RecordsRules
from tests.support.models.consents import consent_id
from tests.support.models.facts import Scope
from tests.support.models.kernel import did
from tests.support.models.laws import says
from tests.support.models.machine import Ground, broken, profile, twist
from tests.support.models.permits import signing, stream_id
from tests.support.models.questions import BASIS, Question, Questions

VISIT_FAULTS = (
    "a visit too long",
    "a visit that is over",
    "a visit to come",
    "a visit with another",
    "a visit of another",
    "a visit signed by another",
    "a visit elsewhere",
    "a garbled visit",
    "the visit key is silent",
)
requesters = st.sampled_from(["ann", "ann", "bob", "cyd"])
relays = st.sampled_from(["practice", "hospital"])


class AccessRules(Questions):
    """Practitioners ask; subjects dispute; members answer and review; custodians report."""

    @rule(
        target=Ground.consents,
        stream=st.sampled_from(["heart", "lungs"]),
        grantee=st.sampled_from(["practice", "hospital", "clinic"]),
        scope=st.sampled_from([Scope("future"), Scope("listed", (0,)), Scope("existing", height=20)]),
        most=st.sampled_from([None, 1, 2]),
        place=st.sampled_from([None, None, "US", "FR"]),
        second=st.sampled_from([False, False, True]),
        purpose=st.sampled_from(["COC", "HPAYMT", "TREAT", "HMARKT"]),
    )
    def grants_on_conditions(
        self, stream: str, grantee: str, scope: Scope, most: int | None, place: str | None, second: bool, purpose: str
    ) -> object:
        name, new = self.drafted(stream, grantee, scope, ["read"], [purpose], 2)
        return self.gives(name, replace(new, most=most, place=place, second=second), None, "practice")

    @rule(
        target=Ground.records,
        consent=Ground.consents,
        requester=requesters,
        action=st.sampled_from(["read", "read", "copy", "decide"]),
        purpose=st.sampled_from(["", "", "", "HMARKT", "HPAYMT"]),
        segments=st.sampled_from([(), (), (0,), (0, 1), (7,), (1, 0)]),
        key=st.sampled_from(["own", "own", "visit", "none"]),
        second=st.booleans(),
        wrong=twist(
            "unsigned", "another member asks", "no basis", "a basis twice", "asserted for another", *VISIT_FAULTS
        ),
    )
    def asks_for_access(
        self,
        consent: str,
        requester: str,
        action: str,
        purpose: str,
        segments: tuple[int, ...],
        key: str,
        second: bool,
        wrong: str,
    ) -> object:
        """``key``: the practitioner's own, a visit's, or none: then the member asserts."""
        granted = self.facts.consents[consent]
        member = "north" if wrong == "another member asks" else granted.grantee
        asserted = key == "none" or wrong == "asserted for another"
        asked = Question(
            consent,
            member if key == "none" and wrong != "asserted for another" else requester,
            member,
            action,
            purpose or granted.purposes[0],
            {"no basis": (), "a basis twice": (*BASIS, *BASIS)}.get(wrong, tuple(BASIS)),
            segments,
            asserted,
            self.visit(requester, member, wrong) if key == "visit" else None,
        )
        return self.ask(asked, self.signs(asked, key, wrong, second=second))

    @rule(
        target=Ground.records,
        consent=Ground.consents,
        requester=st.sampled_from(["ann", "bob"]),
        key=st.sampled_from(["own", "visit"]),
    )
    def asks_plainly(self, consent: str, requester: str, key: str) -> object:
        granted = self.facts.consents[consent]
        visit = self.visit(requester, granted.grantee) if key == "visit" else None
        asked = Question(consent, requester, granted.grantee, purpose=granted.purposes[0], visit=visit)
        return self.ask(asked, self.signs(asked, key, "", second=granted.second))

    @precondition(lambda self: any(self.is_alive(each) for each in self.facts.records.values()))
    @rule(
        target=Ground.records,
        receipt=Ground.records,
        key=st.sampled_from(["own", "visit"]),
        second=st.booleans(),
        wrong=twist("another action", "another requester", "other segments"),
    )
    def renews(self, receipt: str, key: str, second: bool, wrong: str) -> object:
        given = self.facts.records[receipt]
        if not given.consent:
            return multiple()
        requester = "bob" if wrong == "another requester" else given.requester
        asked = Question(
            given.consent,
            requester,
            given.member,
            "copy" if wrong == "another action" else given.action,
            given.purpose,
            segments=(0,) if wrong == "other segments" else tuple(given.segments),
            asserted=given.asserted,
            visit=self.visit(requester, given.member) if key == "visit" and not given.asserted else None,
            renews=receipt,
        )
        return self.ask(asked, self.signs(asked, key, wrong, second=second))

    @rule(name=Ground.records, by=st.sampled_from(["", "", "hospital"]))
    def closes_a_receipt(self, name: str, by: str) -> None:
        given = self.facts.records[name]
        by = by or given.member
        why = {"access.08"}
        if given.kind == "receipt" and given.member == by and not given.forgotten:
            why = broken((self.is_alive(given), "access.09"))
        if self.send(Close(receipt=given.id), [self.mine(by)], why):
            given.closed = True

    @rule(
        by=st.sampled_from(["north", "south", "practice"]), root=st.integers(0, 2), more=st.sampled_from([0, 1, 5, -1])
    )
    def reports(self, by: str, root: int, more: int) -> None:
        facts = self.facts
        told = facts.reports.setdefault(by, [])
        last = told[-1] if told else (0, 0, 0)
        count = max(0, last[1] + more)
        why = broken(
            (self.is_active(by) and "custodian" in facts.members[by].roles, "access.05"),
            (not told or count > last[1] or (count, root) == (last[1], last[0]), "access.07"),
        )
        if self.send(Report(root=root.to_bytes(32), count=count), [self.mine(by)], why):
            before = facts.now - facts.network.audit_years * 366 * DAY_S
            for entry in told[:4]:
                if entry[2] > before:
                    break
                told.remove(entry)
            told.append((root, count, facts.now))

    @rule(name=Ground.records, by=relays, wrong=signing)
    def disputes(self, name: str, by: str, wrong: str) -> None:
        given = self.facts.records[name]
        signers = self.subject(given.stream, by, wrong)
        why = {"access.08"}
        if given.kind != "refusal" and not given.forgotten:
            why = broken(
                (self.signed_for(given.stream, signers, "dispute"), "access.23"),
                (wrong != "not alone", "access.24"),
                (given.dispute is None, "access.25"),
            )
        if self.send(Dispute(receipt=given.id, statement=bytes(32)), signers, why, alone=wrong != "not alone"):
            given.dispute = (self.facts.now + self.facts.network.answer, False)

    @precondition(lambda self: any(each.dispute is not None for each in self.facts.records.values()))
    @rule(name=Ground.records, by=st.sampled_from(["", "", "hospital"]))
    def answers(self, name: str, by: str) -> None:
        given = self.facts.records[name]
        by = by or given.member
        waits = given.dispute is not None and not given.dispute[1] and given.member == by and not given.forgotten
        if self.send(Answer(receipt=given.id, statement=bytes(32)), [self.mine(by)], broken((waits, "access.26"))):
            assert given.dispute is not None
            due = given.dispute[0]
            assert self.kernel.events[-1].attributes["late"] == int(self.facts.now > due)
            given.dispute = (due, True)

    @rule(
        target=Ground.records,
        stream=st.sampled_from(["heart", "lungs", "nothing"]),
        requester=requesters,
        member=st.sampled_from(["practice", "practice", "hospital"]),
        purpose=st.sampled_from(["ETREAT", "ETREAT", "HMARKT"]),
        wrong=twist("unsigned", "no basis", "a basis twice"),
    )
    def breaks_the_glass(self, stream: str, requester: str, member: str, purpose: str, wrong: str) -> object:
        facts = self.facts
        basis = {"no basis": [], "a basis twice": BASIS * 2}.get(wrong, BASIS)
        signers = [*([self.mine(requester)] if wrong != "unsigned" else []), self.mine(member)]
        why = broken(
            (stream in facts.streams, "access.22"),
            (self.holds(signers[:-1], requester), "access.02"),
        )
        message = BreakGlass(
            stream=stream_id(stream), purpose=purpose, legal_basis=basis, reason=bytes(32), requester=did(requester)
        )
        appointed = facts.people.get((requester, member))
        acts = appointed is not None and self.may_act(requester, member)
        asks = {
            "purpose": purpose,
            "asserted": False,
            "break_glass": True,
            "requester_roles": appointed.roles if appointed is not None else [],
            "source_jurisdiction": facts.members[facts.streams[stream].source].place if stream != "nothing" else "US",
            "grantee_jurisdiction": facts.members[member].place,
        }
        permit, policies = says(facts.laws, facts.height + 1, "access", asks)
        if not self.send(message, signers, why):
            return multiple()
        stops = broken(
            (not self.brake_stops(), "access.06"),
            (acts, "access.14"),
            (len(basis) == 1, "access.04"),
            (permit, "access.17"),
        )
        code = str(self.kernel.events[-1].attributes["why"])
        assert code in stops or not stops | {code} - {""}
        return self.recorded(
            "emergency",
            Question("", requester, member, purpose=purpose),
            stream,
            why=code,
            policies=policies if code in ("", "access.17") else [],
            expires=0 if code else facts.now + facts.network.receipt_life,
            review_due=0 if code else facts.now + facts.network.review,
        )

    @precondition(lambda self: any(each.kind == "emergency" for each in self.facts.records.values()))
    @rule(
        name=Ground.records,
        officer=st.sampled_from(["bob", "bob", "bob", "ann", "cyd"]),
        by=st.sampled_from(["", "", "hospital"]),
        wrong=twist("unsigned"),
    )
    def reviews(self, name: str, officer: str, by: str, wrong: str) -> None:
        given = self.facts.records[name]
        by = by or given.member
        signers = [*([self.mine(officer)] if wrong != "unsigned" else []), self.mine(by)]
        roles = self.facts.people[officer, by].roles if self.may_act(officer, by) else []
        why = {"access.08"}
        if given.kind == "emergency" and given.member == by and not given.forgotten:
            why = broken(
                (not given.why and not given.reviewed, "access.28"),
                ("privacy-officer" in roles and officer != given.requester, "access.27"),
                (self.holds(signers[:-1], officer), "access.02"),
            )
        message = Review(receipt=given.id, officer=did(officer), justified=True, statement=bytes(32))
        if self.send(message, signers, why):
            given.reviewed = True
            assert self.kernel.events[-1].attributes["late"] == int(self.facts.now > given.review_due)

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def every_receipt_names_an_active_consent_at_its_time(self) -> None:
        """And is what was asked for; it never outlives the consent as that was."""
        if "access" not in self.stirred:
            return
        for known in self.facts.records.values():
            found = queries.receipt(self.state, known.id)
            assert (found is not None) == (known.kind == "receipt" and not known.forgotten)
            if found is None:
                continue
            granted = consents.consent(self.state, found.consent)
            assert granted is None or granted.starts <= found.at < found.expires
            assert (found.at, found.expires, found.closed) == (known.at, known.expires, known.closed)
            assert (found.member, found.requester, found.asserted) == (
                did(known.member), did(known.requester), known.asserted,
            )  # fmt: skip
            assert (found.segments, found.height, found.policies) == (known.segments, known.height, known.policies)
            assert (found.first, found.began) == (self.facts.records[known.first].id, known.began)
            assert queries.is_alive(found, self.facts.now) == self.is_alive(known)

    @invariant()
    def every_question_is_in_the_lists_of_its_stream_consent_and_requester(self) -> None:
        if "access" not in self.stirred:
            return
        for (kind, owner), names in self.facts.lists.items():
            entries, key = {
                "stream": (OF_STREAM, stream_id),
                "requester": (OF_REQUESTER, lambda owner: did(owner).encode()),
                "consent": (OF_CONSENT, lambda owner: consent_id(self.facts.consents[owner].stream, owner)),
            }[kind]
            assert entries.items(self.state, key(owner)) == [self.facts.records[name].id for name in names]

    @invariant()
    def renewals_do_not_count_and_end_after_twelve_hours(self) -> None:
        if "access" not in self.stirred:
            return
        for name, granted in self.facts.consents.items():
            visits = queries.visits(self.state, consent_id(granted.stream, name))
            assert visits == granted.visits
            assert granted.most is None or visits <= granted.most
        for record in self.facts.records.values():
            assert record.kind != "receipt" or record.at < record.began + 12 * 3_600

    @invariant()
    def an_emergency_is_no_receipt(self) -> None:
        if "access" not in self.stirred:
            return
        for known in self.facts.records.values():
            found = queries.emergency(self.state, known.id)
            assert (found is not None) == (known.kind == "emergency" and not known.forgotten)
            if found is None:
                continue
            assert queries.receipt(self.state, known.id) is None
            assert (found.why or "", found.expires, found.review_due) == (known.why, known.expires, known.review_due)
            assert (found.review is not None, found.policies) == (known.reviewed, known.policies)
            assert queries.is_open(found, self.facts.now) == (not known.why and self.facts.now < known.expires)

    @invariant()
    def a_dispute_is_answered_once(self) -> None:
        if "access" not in self.stirred:
            return
        for known in self.facts.records.values():
            found = queries.dispute(self.state, known.id)
            if known.forgotten or known.dispute is None:
                assert found is None
            else:
                assert found is not None
                assert (found.due, found.answer is not None) == known.dispute

    @invariant()
    def release_logs_only_grow(self) -> None:
        if "access" not in self.stirred:
            return
        for name, told in self.facts.reports.items():
            found = ANCHORS.items(self.state, did(name).encode())
            entries = [(int.from_bytes(each.root), each.count, each.at) for each in found]
            assert entries == told
            assert all(one.count <= other.count for one, other in pairwise(found))


class Access(AccessRules, ConsentRules, RecordsRules, MembersRules, IdentityRules):
    """Consents are revoked and narrowed, practitioners come and go, streams begin epochs meanwhile."""

    permits = permits_the_same_again = revokes_the_permit = rotates = None  # type: ignore[assignment]
    registers_a_segment = retracts = seals_again = attests = the_source_erases = None  # type: ignore[assignment]
    removes_a_controller = chooses_custodians = closes = adds_a_controller = None  # type: ignore[assignment]
    grants = asks = accepts = declines = extends = narrows = supersedes = None  # type: ignore[assignment]
    admits = sets_roles = says_where_it_is = replaces_keys = leaves = suspends = None  # type: ignore[assignment]
    registers = names_guardians = recovers = finishes_recovery = objects_to_recovery = None  # type: ignore[assignment]
    the_waiting_period_passes = None  # type: ignore[assignment]

    @precondition(lambda self: any(self.facts.lists.values()))
    @rule(years=st.sampled_from([1, 1, 7]))
    def time_flies(self, years: int) -> None:
        self.let_pass(40 * DAY_S if years == 1 else years * 366 * DAY_S)


TestAccess = Access.TestCase
TestAccess.settings = profile(400, 50)
