"""The ground that every model stands on: founders, time, and one judge for all steps.

A rule of a model draws a message that may be wrong, says with plain facts which codes may refuse it (none: it must take
effect), sends it through the kernel's execution, and changes the facts when it took effect.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule

from caremesh import codec
from caremesh.contracts import FREE, Contracts, Genesis
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members.messages import Admit, Appoint, Keys, SetEndpoints
from caremesh.contracts.network.messages import Authorities, EndBrake, Params
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.hashes import sha256
from caremesh.crypto.reencryption import ReadingKey
from caremesh.ledger.state import View
from caremesh.ledger.transactions import Message
from caremesh.types import DAY_S
from tests.support.models.facts import Appointment, Did, Facts, LawVersion
from tests.support.models.facts import Member as MemberFacts
from tests.support.models.kernel import CHAIN, Kernel, Signs, did, public
from tests.support.models.laws import policy_set
from tests.support.world import NOW

AUTHORITIES = ("north", "south", "west")
FOUNDERS = {
    "hospital": (["provider"], "US"),
    "practice": (["provider"], "US"),
    "clinic": (["provider"], "FR"),
    **dict.fromkeys(AUTHORITIES, (["custodian", "regulator"], "US")),
}
FOUNDING_LAW = {"us": ("open", ["US"]), "fr": ("unpaid", ["FR"]), "house": ("open", [])}
NEWEST_RULES = 9
"""The last version of the rules that the software under test knows."""
LATER_KEYS = [f"key {number}" for number in range(8)]
CONTRACTS = ("identity", "members", "streams", "records", "consent", "access", "policy", "network")
CODES = ["read", "copy"], ["TREAT", "HPAYMT", "HRESCH", "HMARKT"]

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "0"))


def profile(examples: int, steps: int) -> settings:
    """The same examples at every run, so that a failure is one of the change under test."""
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


@lru_cache
def channel() -> bytes:
    return hpke_from_seed(bytes(32))[1]


@lru_cache(maxsize=4_096)
def point(name: str) -> bytes:
    """The compressed point with this name: a receiving, reading or verifying key."""
    return ReadingKey.from_secret(sha256(name.encode())).public


def broken(*rules: tuple[bool, str]) -> set[str]:
    """The codes of the rules that do not hold."""
    return {code for holds, code in rules if not holds}


def twist(*ways: str) -> st.SearchStrategy[str]:
    """Mostly nothing is wrong with a message; else one thing is."""
    return st.one_of(st.just(""), st.just(""), st.sampled_from(ways))


@lru_cache
def document() -> bytes:
    members = [
        Admit(
            member=did(name),
            key=public(name),
            name=name,
            roles=roles,
            jurisdiction=place,
            keys=Keys(public(f"node of {name}"), channel(), point(name)),
            endpoints=[],
        )
        for name, (roles, place) in FOUNDERS.items()
    ]
    genesis = Genesis(
        chain=CHAIN,
        time=NOW,
        params=Params(),
        authorities=Authorities([did(name) for name in AUTHORITIES], 2),
        members=members,
        regulations=[policy_set(name, law, places) for name, (law, places) in FOUNDING_LAW.items()],
    )
    return codec.encode(genesis)


def migrate(view: View) -> None:
    """What an upgrade of the model does: it counts itself."""
    view.put(b"model/upgrades", (view.get(b"model/upgrades") or b"") + b".")


class Ground(RuleBasedStateMachine):
    """A ledger with six founders and two practitioners, and what should be so."""

    members = Bundle("members")
    people = Bundle("people")
    streams = Bundle("streams")
    consents = Bundle("consents")
    offers = Bundle("offers")
    records = Bundle("records")

    def __init__(self) -> None:
        super().__init__()
        self.kernel = Kernel(Contracts(dict.fromkeys(range(2, NEWEST_RULES + 1), migrate)), document())
        self.facts = Facts()
        self.state = self.kernel.state
        self.stirred = {*CONTRACTS}
        """The contracts whose state the last step may have changed, or time has: their invariants are looked at."""
        for name, (roles, place) in FOUNDERS.items():
            self.facts.members[name] = MemberFacts(list(roles), place, name)
            self.facts.dids[name] = Did(name, "member", name)
            self.facts.owners[name] = name
        for name, (law, places) in FOUNDING_LAW.items():
            self.facts.laws[name] = [LawVersion(law, places, 0)]
        for name, roles in (("ann", ["physician"]), ("bob", ["nurse", "privacy-officer"])):
            self._appoint(name, roles)

    @initialize(target=members)
    def founders(self) -> object:
        return multiple(*FOUNDERS)

    @initialize(target=people)
    def practitioners(self) -> object:
        return multiple("ann", "bob")

    @rule(by_s=st.sampled_from([1, 60, 900, 3_600, 12 * 3_600, DAY_S, 3 * DAY_S, 8 * DAY_S, 33 * DAY_S]))
    def time_passes(self, by_s: int) -> None:
        self.let_pass(by_s)

    def let_pass(self, by_s: int) -> None:
        self.facts.now += by_s
        self.stirred = {*CONTRACTS}

    # --- what rules say of signers ------------------------------------------------------------------------

    def mine(self, name: str) -> Signs:
        """Someone, with the current key."""
        known = self.facts.dids.get(name)
        return name, name if known is None else known.key

    def relay(self, name: str) -> Signs:
        """This member, or another one while it may not act: any member relays for any subject."""
        able = (each for each in (name, *FOUNDERS) if self.is_active(each) and self.facts.dids[each].active)
        return self.mine(next(able, name))

    def holds(self, signers: Iterable[Signs], name: str) -> bool:
        """Whether someone's current key is among the signers, and may act."""
        known = self.facts.dids.get(name)
        return known is not None and known.active and (name, known.key) in signers

    def quorum(self, signers: list[Signs]) -> bool:
        network = self.facts.network
        able = [name for name in network.authorities if self.is_active(name)]
        return sum(self.holds(signers, name) for name in able) >= network.quorum

    def quorum_without(self, name: str) -> bool:
        """Whether enough authorities would be left without this member."""
        others = [each for each in self.facts.network.authorities if each != name and self.is_active(each)]
        return len(others) >= self.facts.network.quorum

    def is_active(self, name: str) -> bool:
        return name in self.facts.members and self.facts.members[name].status == "active"

    def drop_validators(self, name: str) -> None:
        """A member no longer acts: it orders no blocks, unless nobody would."""
        network = self.facts.network
        network.validators = [row for row in network.validators if row[0] != name] or network.validators

    # --- the judge ---------------------------------------------------------------------------------------

    def send(self, message: Message, signers: list[Signs], why: Iterable[str] = (), *, alone: bool = True) -> bool:
        """Whether it took effect: it must when no rule is broken, and else be refused with a code of one that is.

        Not ``alone``: another message of the sponsor travels along.
        """
        facts, network = self.facts, self.facts.network
        self.stirred = set()
        signers = list(dict.fromkeys(reversed(signers)))[::-1]
        if len({key for _, key in signers}) < len(signers):
            return False  # a key signs once: such a transaction does not even decode
        sponsor = signers[-1][0] or ""
        messages = [message] if alone else [message, SetEndpoints(member=did(sponsor), endpoints=[])]
        expected = self._gate(messages, signers) or set(why) or self._braked(messages[1:])
        result, changed = self.kernel.block(facts.now, self.kernel.transaction(facts.now, signers, messages))
        facts.height += 1
        assert facts.height == self.kernel.height
        if expected:
            assert result.code in expected, f"{result.code or 'accepted'} {result.place}, not one of {sorted(expected)}"
            assert all(name.startswith(b"ledger/") for name in changed), "a refused message changed something"
            assert not self.kernel.events, "a refused message left an event"
            return False
        assert result.code == "", f"refused with {result.code} {result.place}, but no rule is broken"
        self.stirred = {name.split(b"/")[0].decode() for name in changed} | {
            message.__struct_config__.tag.split("/")[0]
        }  # type: ignore[union-attr]
        if network.following is not None and facts.height >= network.following[1]:
            network.version, network.following = network.following[0], None
        if not alone:
            facts.members[sponsor].endpoints = []
        return True

    def _gate(self, messages: list[Message], signers: list[Signs]) -> set[str]:
        """What the kernel asks before any contract: a sponsor, quota, and the brake on everything."""
        facts, network = self.facts, self.facts.network
        sponsor = signers[-1][0] or ""
        if not self.is_active(sponsor) or not self.holds(signers[-1:], sponsor):
            return {"members.04"}
        cost = sum(not isinstance(message, FREE) for message in messages)
        window = facts.now // network.window
        used = facts.network.spent.get(sponsor, (window, 0))
        spent = (used[1] if used[0] == window else 0) + cost
        if cost and spent > network.quota:
            return {"ledger.10"}
        if cost:
            network.spent[sponsor] = (window, spent)
        return self._braked(messages[:1])

    def _braked(self, messages: list[Message]) -> set[str]:
        """The brake on everything stops all but what takes back, erases, or ends it."""
        brake = self.facts.network.brake
        stopped = brake is not None and brake[0] == "all" and self.facts.now < brake[1]
        return (
            {"network.05"} if stopped and not all(isinstance(each, (*FREE, EndBrake)) for each in messages) else set()
        )

    def _appoint(self, name: str, roles: list[str]) -> None:
        until = 20_040 * DAY_S
        register = Register(did=did(name), key=public(name), kind="practitioner")
        assert self.send(register, [self.mine(name), self.mine("practice")])
        self.facts.dids[name] = Did(name, "practitioner", "practice")
        self.facts.owners[name] = name
        assert self.send(Appoint(practitioner=did(name), roles=roles, licensed_until=until), [self.mine("practice")])
        self.facts.people[name, "practice"] = Appointment(roles, until)
