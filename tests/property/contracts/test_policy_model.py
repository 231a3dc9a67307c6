"""The policy contract against a plain calendar of laws, each of them a Python condition."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from caremesh.contracts.policy import queries
from caremesh.contracts.policy.messages import Adopt, Approve, Retire, Withdraw
from caremesh.contracts.policy.request import AccessRequest, GrantRequest
from caremesh.types import DAY_S
from tests.support.models.facts import LawVersion
from tests.support.models.kernel import Signs, did
from tests.support.models.laws import ACCESS, BROKEN, GRANT, LAWS, policy_set, says
from tests.support.models.machine import Ground, broken, profile, twist

PLACES: list[list[str]] = [["US"], ["FR"], ["FR", "US"], []]
agreeing = st.sampled_from([["north", "south"], ["south", "west"], ["west", "north"], ["north"], []])
ahead = st.sampled_from([1, 2, 5, 0])
sets = st.sampled_from(["us", "us", "fr", "house", "extra", "policy"])
QUESTIONS: list[dict[str, Any]] = [
    {"source_jurisdiction": source, "grantee_jurisdiction": grantee, "purpose": purpose}
    for source, grantee in (("US", "US"), ("US", "FR"), ("FR", "FR"), ("US", "DE"))
    for purpose in ("TREAT", "HPAYMT", "HMARKT")
]


class PolicyRules(Ground):
    """Laws come into force and go out of force."""

    _announced: tuple[int, list[tuple[str, int]]] = (-1, [])
    """The next height, and what is known to count there."""

    @rule(
        name=sets,
        law=st.sampled_from([*LAWS]),
        places=st.sampled_from(PLACES),
        agree=agreeing,
        ahead=ahead,
        wrong=twist("places out of order", *BROKEN),
    )
    def adopts(self, name: str, law: str, places: list[str], agree: list[str], ahead: int, wrong: str) -> None:
        facts = self.facts
        height = facts.height + 1 + ahead
        places = ["US", "FR"] if wrong == "places out of order" else places
        signers, known = self._by(agree), facts.laws.get(name, [])
        same = bool(known) and (known[-1].law, known[-1].places, known[-1].ends) == (law, places, None)
        why = broken(
            (self.quorum(signers), "policy.01"),
            (ahead > 0, "policy.02"),
            (places == sorted(places), "policy.17"),
            (name != "policy", "policy.23"),
            (not same or wrong in BROKEN, "policy.15"),
        )
        why |= BROKEN.get(wrong, set())
        if wrong in {"a policy without a test", "a test of nothing", "a test that does not flip"} and same:
            why.add("policy.15")  # the text is the same
        rules = policy_set(name, law, places, wrong)
        if self.send(Adopt(rules=rules, effective=height), signers, why):
            self._ends(name, height)
            facts.laws.setdefault(name, []).append(LawVersion(law, places, height))

    @rule(
        member=st.sampled_from(["practice", "clinic", "nobody"]),
        approval=st.sampled_from(["data-permit", "ethics-board", "good-looks"]),
        days=st.sampled_from([1, 30, 0]),
        agree=agreeing,
        wrong=twist("within a day"),
    )
    def approves(self, member: str, approval: str, days: int, agree: list[str], wrong: str) -> None:
        facts, signers = self.facts, self._by(agree)
        until = (facts.now // DAY_S + days) * DAY_S + bool(wrong)
        why = broken(
            (self.quorum(signers), "policy.01"),
            (approval != "good-looks", "policy.19"),
            (until > facts.now and not wrong, "policy.20"),
            (member in facts.members, "policy.21"),
        )
        if self.send(Approve(member=did(member), approval=approval, until=until), signers, why):
            facts.approvals[member, approval] = until

    @rule(member=st.sampled_from(["practice", "clinic"]), approval=st.just("data-permit"), agree=agreeing)
    def withdraws(self, member: str, approval: str, agree: list[str]) -> None:
        signers = self._by(agree)
        why = broken((self.quorum(signers), "policy.01"), ((member, approval) in self.facts.approvals, "policy.22"))
        if self.send(Withdraw(member=did(member), approval=approval), signers, why):
            del self.facts.approvals[member, approval]

    @rule(name=sets, agree=agreeing, ahead=ahead)
    def retires(self, name: str, agree: list[str], ahead: int) -> None:
        height = self.facts.height + 1 + ahead
        signers = self._by(agree)
        counts = any(each.ends is None or each.starts < each.ends > height for each in self.facts.laws.get(name, []))
        why = broken((self.quorum(signers), "policy.01"), (ahead > 0, "policy.02"), (counts, "policy.14"))
        if self.send(Retire(set=name, effective=height), signers, why):
            self._ends(name, height)

    @rule(
        ahead=st.integers(1, 6),
        changes=st.fixed_dictionaries(
            {
                "purpose": st.sampled_from(["TREAT", "HPAYMT", "HMARKT"]),
                "source_jurisdiction": st.sampled_from(["US", "FR", "DE"]),
                "grantee_jurisdiction": st.sampled_from(["US", "FR", "DE"]),
                "explicit": st.booleans(),
            }
        ),
        more=st.fixed_dictionaries(
            {
                "asserted": st.booleans(),
                "break_glass": st.booleans(),
                "requester_roles": st.sampled_from([["physician"], ["nurse"], ["nurse", "physician"], []]),
            }
        ),
        unknown=st.sampled_from(["", "", "purpose", "action", "requester_roles"]),
    )
    def somebody_asks(self, ahead: int, changes: dict[str, Any], more: dict[str, Any], unknown: str) -> None:
        """The answer and the policies cited are those of the model; a code that nobody knows is never permitted."""
        height = self.facts.height + ahead
        changes |= {"height": height}
        grant, access = msgspec.structs.replace(GRANT, **changes), msgspec.structs.replace(ACCESS, **changes, **more)
        if unknown:
            strange = ["healer"] if unknown == "requester_roles" else "UNHEARD-OF"
            assert not queries.decide(self.state, msgspec.structs.replace(access, **{unknown: strange})).permit
            return
        self._compare("grant", grant)
        self._compare("access", access)

    def _compare(self, ask: str, request: GrantRequest | AccessRequest) -> None:
        found = queries.decide(self.state, request)
        assert (found.permit, found.policies) == says(
            self.facts.laws, request.height, ask, msgspec.to_builtins(request)
        )

    def _ends(self, name: str, height: int) -> None:
        """Nothing counts under this name from a height on."""
        for version in self.facts.laws.get(name, []):
            if version.ends is None or version.ends > height:
                version.ends = max(height, version.starts)

    def _by(self, agree: list[str]) -> list[Signs]:
        return [self.mine(name) for name in agree] or [self.mine("practice")]

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def the_list_of_versions_is_complete(self) -> None:
        if "policy" not in self.stirred:
            return
        for name, known in self.facts.laws.items():
            found = queries.versions(self.state, name)
            assert [(each.version, each.jurisdictions, each.starts, each.ends) for each in found] == [
                (number, each.places, each.starts, each.ends) for number, each in enumerate(known)
            ]

    @invariant()
    def an_approval_counts_until_its_day(self) -> None:
        if "policy" in self.stirred:
            for member in ("practice", "clinic"):
                counting = [(name, until) for (who, name), until in self.facts.approvals.items() if who == member]
                for at in (self.facts.now, *(until for _, until in counting)):
                    expected = sorted(name for name, until in counting if at < until)
                    assert queries.approvals(self.state, did(member), at) == expected

    @invariant()
    def no_block_has_two_laws_under_one_name(self) -> None:
        if "policy" in self.stirred:
            for height in range(self.facts.height, self.facts.height + 8):
                names = [version.set for version in queries.in_force(self.state, height)]
                assert names == sorted(set(names))

    @invariant()
    def nothing_is_permitted_without_every_law_in_force(self) -> None:
        """Where a place has no law there is no permit, and silence of one set is a denial."""
        if "policy" in self.stirred:
            for number, question in enumerate(QUESTIONS):
                height = self.facts.height + 1 + number % 3
                self._compare("grant", msgspec.structs.replace(GRANT, height=height, **question))

    @invariant()
    def the_law_of_a_block_was_known_before_it(self) -> None:
        """A set changes only at a height later than the message."""
        height, versions = self._announced
        if height == self.facts.height:
            assert self._counting(height) == versions
        self._announced = (self.facts.height + 1, self._counting(self.facts.height + 1))

    def _counting(self, height: int) -> list[tuple[str, int]]:
        return [(version.set, version.version) for version in queries.in_force(self.state, height)]


TestPolicy = PolicyRules.TestCase
TestPolicy.settings = profile(60, 40)
