"""Who orders blocks, against a plain account of members, keys, their lines, and who was found to sign twice."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from caremesh.contracts.members.messages import Leave, Reinstate, Suspend
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import RotateValidator, SetValidators, Validator
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.comet import address_of
from tests.support.models.kernel import Signs, did, public
from tests.support.models.machine import Ground, broken, profile, twist

mostly = st.sampled_from(
    [["north", "south"], ["south", "west"], ["west", "north"], ["north", "south", "west"], ["north"]]
)


def engine(member: str, number: int) -> str:
    """One of the keys that a member may order blocks with."""
    return f"engine of {member} {number}" if number else f"engine of {member}"


class ValidatorRules(Ground):
    """The authorities name validators, members replace their keys, engines find that one has signed twice."""

    @rule(
        agree=mostly,
        named=st.lists(st.sampled_from(["hospital", "practice", "clinic", "north"]), min_size=1, max_size=3),
        number=st.sampled_from([0, 0, 1, 2]),
        wrong=twist("unsorted", "a key twice", "a weak key"),
    )
    def names_validators(self, agree: list[str], named: list[str], number: int, wrong: str) -> None:
        signers, network = self.by_authorities(agree), self.facts.network
        entries = sorted(
            ((each, engine(each, number)) for each in dict.fromkeys(named)), key=lambda row: public(row[1])
        )
        entries = {"unsorted": entries[::-1], "a key twice": entries[:1] * 2}.get(wrong, entries)
        in_order = wrong != "a key twice" and (wrong != "unsorted" or len(entries) < 2)
        validators = [Validator(member=did(each), key=public(key), power=1) for each, key in entries]
        if wrong == "a weak key":
            validators[0] = msgspec.structs.replace(validators[0], key=b"\xed\x01" + bytes(32))
        why = broken(
            (self.quorum(signers), "network.01"),
            (in_order and all(self.is_active(each) for each, _ in entries), "network.06"),
            (wrong != "a weak key", "signatures.02"),
            (not any(key in network.given_up for _, key in entries), "network.14"),
        )
        if wrong == "a weak key":
            why.add("network.06")  # the zero key may stand out of order
        if self.send(SetValidators(validators=validators), signers, why):
            network.validators = entries

    @precondition(lambda self: bool(self.facts.network.validators))
    @rule(
        name=st.sampled_from(["", "", "", "hospital", "practice", "north"]),
        number=st.integers(0, 3),
        wrong=twist("another's", "not signed by the new key", "a person's key", "a key that signed twice"),
    )
    def replaces_a_validators_key(self, name: str, number: int, wrong: str) -> None:
        """A member does, mostly one that has a validator (``name`` empty: whose key is the lowest)."""
        network = self.facts.network
        name = name or network.validators[0][0]
        others = [key for member, key in network.validators if (member != name) == (wrong == "another's")]
        old = (others or [engine(name, 0)])[0]
        new = "ann" if wrong == "a person's key" else engine(name, number)
        if wrong == "a key that signed twice" and network.removed:
            new = min(network.removed)
        signers = [*([] if wrong == "not signed by the new key" else [(name, new)]), self.mine(name)]
        used = new in network.lines or new in network.removed or any(key == new for _, key in network.validators)
        why = broken(
            ((name, old) in network.validators, "network.12"),
            (wrong != "not signed by the new key", "network.13"),
            (not used and new not in self.facts.owners and new not in self.facts.stream_keys, "network.14"),
        )
        if self.send(RotateValidator(old=public(old), new=public(new)), signers, why):
            network.lines[new] = network.lines[old] = network.lines.get(old, old)
            network.given_up.add(old)
            rows = [(member, new if key == old else key) for member, key in network.validators]
            network.validators = sorted(rows, key=lambda row: public(row[1]))

    @precondition(lambda self: bool(self.facts.network.validators) and not self.upgrades_in_the_next_block())
    @rule(
        name=st.sampled_from(["", "", "hospital", "practice", "north", "insurer"]),
        number=st.integers(0, 3),
        ago=st.integers(0, 9),
    )
    def is_found_to_have_signed_twice(self, name: str, number: int, ago: int) -> None:
        """Under a key that orders blocks (``name`` empty: the lowest), has done so, or never did."""
        network = self.facts.network
        key = engine(name, number) if name else network.validators[0][1]
        if number == 3 and network.given_up:
            key = min(network.given_up)
        at = max(0, self.facts.height - ago)
        found = Misbehaviour(kind="two-votes", validator=address_of(public(key)), height=at, time=self.facts.now)
        changed = self.kernel.proof(self.facts.now, found)
        self.facts.height += 1
        self.stirred = {"network"}
        line = network.lines.get(key, key)
        left = [row for row in network.validators if network.lines.get(row[1], row[1]) != line]
        known = network.removed.get(line)
        if left == network.validators or (known is not None and at <= known + 1):
            assert not changed
            assert not self.kernel.events
            return
        assert [event.type for event in self.kernel.events] == ["network/equivocated"]
        network.removed[line] = self.facts.height
        network.validators = left or network.validators

    def by_authorities(self, agree: list[str]) -> list[Signs]:
        """Some authorities; the last of them, or a member, sponsors."""
        return [self.mine(name) for name in agree] or [self.mine("practice")]

    def upgrades_in_the_next_block(self) -> bool:
        following = self.facts.network.following
        return following is not None and self.facts.height + 1 >= following[1]

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def validators_are_who_was_named_last(self) -> None:
        if {"network", "members"} & self.stirred:
            found = [(entry.member, entry.key) for entry in queries.validators(self.state)]
            assert found == [(did(member), public(key)) for member, key in self.facts.network.validators]

    @invariant()
    def somebody_orders_blocks_and_nobody_twice(self) -> None:
        """Once there is somebody. Each acts, or is the last."""
        if {"network", "members"} & self.stirred:
            found = queries.validators(self.state)
            assert bool(found) == bool(self.facts.network.validators)
            assert len({entry.key for entry in found}) == len(found)
            assert sum(self.is_active(member) for member, _ in self.facts.network.validators) >= len(found) - 1


class Validators(ValidatorRules):
    """Members stop, go on and leave meanwhile, and nothing else happens."""

    @rule(
        name=st.sampled_from(["hospital", "practice", "clinic"]), how=st.sampled_from(["suspend", "reinstate", "leave"])
    )
    def comes_or_goes(self, name: str, how: str) -> None:
        known = self.facts.members[name]
        quorum = [self.mine("north"), self.mine("south")]
        match how:
            case "suspend" if known.status == "active":
                assert self.send(Suspend(member=did(name)), quorum)
                known.status = "suspended"
                self.drop_validators(name)
            case "reinstate" if known.status == "suspended":
                assert self.send(Reinstate(member=did(name)), quorum)
                known.status = "active"
            case "leave" if known.status == "active" and name != "practice" and self._is_one_of_several(name):
                assert self.send(Leave(member=did(name)), [self.mine(name)])
                known.status = "left"
                self.drop_validators(name)
            case _:
                pass

    def _is_one_of_several(self, name: str) -> bool:
        members = {member for member, _ in self.facts.network.validators}
        return name in members and len(members) > 1


TestValidators = Validators.TestCase
TestValidators.settings = profile(100, 50)
