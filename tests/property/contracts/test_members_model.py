"""The members contract against a plain account of who belongs, and of who acts for whom."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, precondition, rule

from caremesh.contracts.members import queries
from caremesh.contracts.members.messages import (
    Admit,
    Appoint,
    Dismiss,
    Keys,
    Leave,
    Reinstate,
    SetEndpoints,
    SetKeys,
    SetRole,
    Suspend,
    SuspendPerson,
)
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.types import DAY_S
from tests.property.contracts.test_identity_model import IdentityRules
from tests.support.models.facts import Appointment, Did, Member
from tests.support.models.kernel import Signs, did, public
from tests.support.models.machine import AUTHORITIES, FOUNDERS, Ground, broken, channel, point, profile, twist

ROLES = ["provider", "payer", "custodian", "regulator", "researcher"]
APPLICANTS = st.sampled_from(["insurer", "laboratory", "insurer", "laboratory", "clinic"])
PRACTITIONERS = st.sampled_from(["ann", "bob", "cyd", "practice"])
SMALL_ORDER = ED25519_PREFIX + bytes(32)
agreeing = st.sampled_from([["north", "south"], ["south", "west"], [*AUTHORITIES], ["west", "north"], ["north"], []])
roles = st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True)


class MembersRules(Ground):
    """Organisations come, stop, go on and leave; they appoint their people."""

    @rule(
        target=Ground.members,
        name=APPLICANTS,
        agree=agreeing,
        roles=roles,
        place=st.sampled_from(["US", "FR"]),
        wrong=twist("another first key", "an unknown role", "a role twice", "a bad receiving key", "a bad node key"),
    )
    def admits(self, name: str, agree: list[str], roles: list[str], place: str, wrong: str) -> object:
        facts = self.facts
        key = "somebody" if wrong == "another first key" else name
        roles = {"an unknown role": ["healer"], "a role twice": [*roles, *roles]}.get(wrong, roles)
        node = SMALL_ORDER if wrong == "a bad node key" else public(f"node of {name}")
        receiving = bytes(33) if wrong == "a bad receiving key" else point(name)
        signers = self._agree(agree)
        why = self._no_quorum(signers) | broken(
            (name not in facts.members, "members.03"),
            (set(roles) <= set(ROLES) and len(roles) == len(set(roles)), "members.10"),
            (wrong != "a bad node key", "signatures.02"),
            (wrong != "a bad receiving key", "members.09"),
            (name not in facts.dids, "identity.02"),
            (key not in facts.owners and key not in facts.stream_keys, "identity.04"),
            (key == name, "identity.05"),
        )
        message = Admit(
            member=did(name),
            key=public(key),
            name=name,
            roles=roles,
            jurisdiction=place,
            keys=Keys(node, channel(), receiving),
            endpoints=[],
        )
        if not self.send(message, signers, why):
            return multiple()
        facts.members[name] = Member(roles, place, name)
        facts.dids[name] = Did(name, "member", name)
        facts.owners[name] = name
        return name

    @rule(name=Ground.members, agree=agreeing)
    def suspends(self, name: str, agree: list[str]) -> None:
        signers = self._agree(agree)
        why = self._no_quorum(signers) | self._gone(name)
        why |= broken((self.is_active(name), "members.11"), (self.quorum_without(name), "members.12"))
        if self.send(Suspend(member=did(name)), signers, why):
            self.facts.members[name].status = "suspended"
            self.drop_validators(name)

    @precondition(lambda self: any(known.status == "suspended" for known in self.facts.members.values()))
    @rule(name=st.sampled_from(["the last", "the last", "practice", "nobody"]), agree=agreeing)
    def reinstates(self, name: str, agree: list[str]) -> None:
        """``the last``: that was admitted of those who are suspended."""
        if name == "the last":
            stopped = [each for each, known in self.facts.members.items() if known.status == "suspended"]
            name = stopped[-1] if stopped else "practice"
        signers = self._agree(agree)
        known = self.facts.members.get(name)
        why = self._no_quorum(signers) | self._gone(name)
        why |= {"members.02"} if known is None else broken((known.status == "suspended", "members.11"))
        if self.send(Reinstate(member=did(name)), signers, why):
            self.facts.members[name].status = "active"

    @rule(name=Ground.members | st.just("nobody"), agree=agreeing, roles=roles, wrong=twist("an unknown role"))
    def sets_roles(self, name: str, agree: list[str], roles: list[str], wrong: str) -> None:
        signers = self._agree(agree)
        roles = ["healer"] if wrong else roles
        why = self._no_quorum(signers) | self._gone(name)
        why |= broken((name in self.facts.members, "members.02"), (set(roles) <= set(ROLES), "members.10"))
        if self.send(SetRole(member=did(name), roles=roles), signers, why):
            self.facts.members[name].roles = roles

    @rule(
        name=Ground.members,
        by=Ground.members,
        receiving=st.sampled_from(["first", "second"]),
        wrong=twist("for another", "a bad receiving key", "a bad node key"),
    )
    def replaces_keys(self, name: str, by: str, receiving: str, wrong: str) -> None:
        by = by if wrong == "for another" else name
        receiving = f"{receiving} of {name}"
        node = SMALL_ORDER if wrong == "a bad node key" else public(f"node of {name}")
        keys = Keys(node, channel(), bytes(33) if wrong == "a bad receiving key" else point(receiving))
        why = broken(
            (by == name, "members.05"),
            (wrong != "a bad node key", "signatures.02"),
            (wrong != "a bad receiving key", "members.09"),
        )
        if self.send(SetKeys(member=did(name), keys=keys), [self.mine(by)], why):
            self.facts.members[name].receiving = receiving

    @rule(name=Ground.members, by=Ground.members, number=st.integers(0, 2))
    def says_where_it_is(self, name: str, by: str, number: int) -> None:
        endpoints = [f"https://{name}.example:{port}" for port in range(number)]
        if self.send(
            SetEndpoints(member=did(name), endpoints=endpoints),
            [self.mine(by)],
            broken((by == name, "members.05")),
        ):
            self.facts.members[name].endpoints = endpoints

    @rule(name=st.sampled_from(["clinic", "insurer", "laboratory"]), by=st.sampled_from(["", "", "practice"]))
    def leaves(self, name: str, by: str) -> None:
        by = by or name
        why = broken((by == name, "members.05"), (self.quorum_without(name), "members.12"))
        if self.send(Leave(member=did(name)), [self.mine(by)], why):
            self.facts.members[name].status = "left"
            self.drop_validators(name)

    @rule(
        person=PRACTITIONERS,
        by=Ground.members,
        roles=st.sampled_from([["physician"], ["nurse"], ["physician", "privacy-officer"]]),
        days=st.sampled_from([1, 10, 100]),
        wrong=twist("no role", "a role twice", "an unknown role", "a licence that is over", "not a whole day"),
    )
    def appoints(self, person: str, by: str, roles: list[str], days: int, wrong: str) -> None:
        facts = self.facts
        roles = {"no role": [], "a role twice": [*roles, *roles], "an unknown role": ["healer"]}.get(wrong, roles)
        today = facts.now // DAY_S * DAY_S
        until = {"a licence that is over": today, "not a whole day": today + DAY_S + 1}.get(wrong, today + days * DAY_S)
        known = facts.dids.get(person)
        why = broken(
            (known is not None and known.active and known.kind == "practitioner", "members.06"),
            (bool(roles) and len(roles) == len(set(roles)) and "healer" not in roles, "members.10"),
            (until > facts.now and until % DAY_S == 0, "members.08"),
        )
        message = Appoint(practitioner=did(person), roles=roles, licensed_until=until)
        if self.send(message, [self.mine(by)], why):
            before = facts.people.get((person, by))
            stopped = before is not None and before.status == "suspended"
            facts.people[person, by] = Appointment(roles, until, "suspended" if stopped else "active")

    @rule(person=st.sampled_from(["ann", "bob", "cyd"]), by=st.sampled_from(["practice", "practice", "hospital"]))
    def dismisses(self, person: str, by: str) -> None:
        if self.send(Dismiss(practitioner=did(person)), [self.mine(by)], self._not_appointed(person, by)):
            self.facts.people[person, by].status = "dismissed"

    @rule(
        person=st.sampled_from(["ann", "bob", "cyd"]),
        by=st.sampled_from(["practice", "practice", "hospital"]),
        stop=st.booleans(),
    )
    def stops_a_person(self, person: str, by: str, stop: bool) -> None:
        status = "suspended" if stop else "active"
        why = self._not_appointed(person, by)
        if not why:
            why = broken((self.facts.people[person, by].status != status, "members.11"))
        if self.send(SuspendPerson(practitioner=did(person), suspended=stop), [self.mine(by)], why):
            self.facts.people[person, by].status = status

    def may_act(self, person: str, member: str) -> bool:
        """Appointed, not suspended, licensed."""
        known = self.facts.people.get((person, member))
        return known is not None and known.status == "active" and self.facts.now < known.until

    def _agree(self, agree: list[str]) -> list[Signs]:
        """Some authorities and, last, one that sponsors: an authority among them counts once."""
        sponsor = next((name for name in (*agree, "practice", "hospital", *FOUNDERS) if self.is_active(name)), "west")
        return [*(self.mine(name) for name in agree if name != sponsor), self.mine(sponsor)]

    def _no_quorum(self, signers: list[Signs]) -> set[str]:
        return broken((self.quorum(signers), "members.01"))

    def _gone(self, name: str) -> set[str]:
        known = self.facts.members.get(name)
        return broken((known is None or known.status != "left", "members.04"))

    def _not_appointed(self, person: str, by: str) -> set[str]:
        known = self.facts.people.get((person, by))
        return broken((known is not None and known.status != "dismissed", "members.07"))

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def every_member_is_as_the_authorities_left_it(self) -> None:
        if "members" not in self.stirred:
            return
        for name, known in self.facts.members.items():
            found = queries.member(self.state, did(name))
            assert found is not None
            assert (found.status, found.roles, found.jurisdiction) == (known.status, known.roles, known.place)
            assert (found.keys.receiving, found.endpoints) == (point(known.receiving), known.endpoints)

    @invariant()
    def the_list_of_members_is_complete(self) -> None:
        if "members" in self.stirred:
            assert [found.did for found in queries.members(self.state)] == [did(name) for name in self.facts.members]

    @invariant()
    def a_suspended_member_acts_for_nobody(self) -> None:
        """Neither it nor one that left sponsors anything; that its messages are refused is in every step."""
        if "members" in self.stirred:
            for name, known in self.facts.members.items():
                assert queries.is_active(self.state, did(name)) == (known.status == "active")

    @invariant()
    def a_practitioner_acts_only_while_appointed_and_licensed(self) -> None:
        if "members" not in self.stirred:
            return
        for (person, member), known in self.facts.people.items():
            found = queries.appointment(self.state, did(person), did(member))
            assert found is not None
            assert (found.roles, found.licensed_until, found.status) == (known.roles, known.until, known.status)
            for at in (self.facts.now, known.until - 1, known.until):
                acts = known.status == "active" and at < known.until
                assert queries.may_act(self.state, did(person), did(member), at) == acts


class Members(MembersRules, IdentityRules):
    """Authorities and practitioners replace and lose keys meanwhile."""


TestMembers = Members.TestCase
TestMembers.settings = profile(120, 50)
