"""The identity contract against a plain account of who has which key."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, multiple, precondition, rule

from caremesh.contracts.identity import queries
from caremesh.contracts.identity.messages import (
    CancelRecovery,
    Deactivate,
    FinishRecovery,
    GuardianProof,
    Recover,
    Register,
    Rotate,
    SetGuardians,
)
from caremesh.crypto.hashes import tagged_hash
from tests.support.models.facts import Did
from tests.support.models.kernel import Signs, did, public
from tests.support.models.machine import LATER_KEYS, Ground, broken, profile, twist

PEOPLE = ["ann", "bob", "cyd", "dan"]
NAMES = st.sampled_from(["ann", "practice", "bob", "cyd"])
LOSERS = st.sampled_from(["ann", "practice"])
"""Those who name guardians at the start: most recoveries are theirs."""
GUARDIANS = [("bob", 0), ("south", 0)]
KEYS = st.sampled_from([*LATER_KEYS, "ann", "cyd"])


def commitment(guardian: str, salt: int) -> bytes:
    """As the design states it: a salted hash that names nobody."""
    return tagged_hash("caremesh/v1/guardian", did(guardian).encode(), salt.to_bytes(16))


class IdentityRules(Ground):
    """Someone registers, replaces a key, loses one, or ends."""

    @initialize()
    def two_name_guardians(self) -> None:
        named = sorted(commitment(*guardian) for guardian in GUARDIANS)
        for name in ("ann", "practice"):
            message = SetGuardians(did=did(name), commitments=named, threshold=1)
            assert self.send(message, [self.mine(name), self.mine("practice")])
            self.facts.dids[name].guardians, self.facts.dids[name].threshold = list(GUARDIANS), 1

    @rule(
        target=Ground.people,
        name=st.sampled_from(PEOPLE),
        kind=st.sampled_from(["practitioner", "guardian"]),
        by=Ground.members,
        wrong=twist("another first key", "unsigned", "as a member"),
    )
    def registers(self, name: str, kind: str, by: str, wrong: str) -> object:
        key = LATER_KEYS[0] if wrong == "another first key" else name
        kind = "member" if wrong == "as a member" else kind
        signers: list[Signs] = [] if wrong == "unsigned" else [(name, key)]
        facts = self.facts
        why = broken(
            (kind != "member", "identity.07"),
            ((name, key) in signers, "identity.03"),
            (name not in facts.dids, "identity.02"),
            (key not in facts.owners and key not in facts.stream_keys, "identity.04"),
            (key == name, "identity.05"),
        )
        if self.send(Register(did=did(name), key=public(key), kind=kind), [*signers, self.mine(by)], why):  # type: ignore[arg-type]
            facts.dids[name] = Did(key, kind, by)
            facts.owners[key] = name
            return name
        return multiple()

    @rule(name=NAMES, key=KEYS, by=Ground.members, wrong=twist("without the old key", "without the new key"))
    def rotates(self, name: str, key: str, by: str, wrong: str) -> None:
        signers = [self.mine(name)] if wrong != "without the old key" else []
        signers += [(name, key)] if wrong != "without the new key" else []
        signers.append(self.mine(by))
        why = self._alive(name) or broken(
            (self.holds(signers, name) and (name, key) in signers, "identity.03"),
            (key not in self.facts.owners and key not in self.facts.stream_keys, "identity.04"),
        )
        if self.send(Rotate(did=did(name), key=public(key)), signers, why):
            self._takes_over(name, key)

    @rule(
        name=st.sampled_from(["bob", "cyd", "ann", "clinic"]),
        by=Ground.members,
        signed=st.sampled_from([False, False, True]),
    )
    def deactivates(self, name: str, by: str, signed: bool) -> None:
        signers = [*([self.mine(name)] if signed else []), self.mine(by)]
        known = self.facts.dids.get(name)
        why = self._alive(name) or broken(
            (known is not None and known.kind != "member", "identity.07"), (self.holds(signers, name), "identity.03")
        )
        if self.send(Deactivate(did=did(name)), signers, why):
            self.facts.dids[name].active = False
            self.facts.dids[name].recovery = None

    @rule(
        name=NAMES,
        guardians=st.lists(st.tuples(st.sampled_from([*PEOPLE, "south"]), st.integers(0, 1)), max_size=3),
        threshold=st.integers(0, 3),
        by=Ground.members,
        wrong=twist("unsigned", "unsorted"),
    )
    def names_guardians(self, name: str, guardians: list[tuple[str, int]], threshold: int, by: str, wrong: str) -> None:
        named = [commitment(*guardian) for guardian in guardians]
        named = named if wrong == "unsorted" else sorted(named)
        signers = [*([self.mine(name)] if wrong != "unsigned" else []), self.mine(by)]
        in_order = named == sorted(set(named))
        why = self._alive(name) or broken(
            (self.holds(signers, name), "identity.03"),
            (in_order and threshold <= len(named) and bool(threshold) == bool(named), "identity.10"),
        )
        if self.send(SetGuardians(did=did(name), commitments=named, threshold=threshold), signers, why):
            self.facts.dids[name].guardians, self.facts.dids[name].threshold = guardians, threshold

    @rule(
        name=LOSERS,
        key=KEYS,
        by=st.sampled_from(["hospital", "practice"]),
        wrong=twist("a silent guardian", "another salt", "the new key is silent", "twice the same", "a stranger"),
    )
    def recovers(self, name: str, key: str, by: str, wrong: str) -> None:
        facts = self.facts
        known = facts.dids.get(name)
        proofs = list(known.guardians[-max(1, known.threshold) :]) if known else []
        if wrong == "another salt":
            proofs = [(guardian, salt + 1) for guardian, salt in proofs]
        elif wrong == "twice the same" and proofs:
            proofs = proofs[:1] * len(proofs)
        elif wrong == "a stranger":
            proofs = [("west", 0), *proofs[1:]]
        signers = [self.mine(guardian) for guardian, _ in proofs[wrong == "a silent guardian" :]]
        signers += [(name, key)] if wrong != "the new key is silent" else []
        signers.append(self.mine(by))
        why = self._alive(name)
        if known is not None and not why:
            agreed = {who for who, salt in proofs if (who, salt) in known.guardians and self.holds(signers, who)}
            why = broken(
                (known.recovery is None, "identity.12"),
                ((name, key) in signers, "identity.03"),
                (key not in facts.owners and key not in facts.stream_keys, "identity.04"),
                (0 < known.threshold <= len(agreed), "identity.08"),
            )
        message = Recover(
            did=did(name),
            key=public(key),
            guardians=[GuardianProof(guardian=did(who), salt=salt.to_bytes(16)) for who, salt in proofs],
        )
        if self.send(message, signers, why):
            facts.owners[key] = name
            facts.dids[name].recovery = (key, facts.now + facts.network.recovery_wait)

    @precondition(lambda self: self.somebody_waits())
    @rule(name=LOSERS, by=Ground.members, signed=st.booleans())
    def objects_to_recovery(self, name: str, by: str, signed: bool) -> None:
        signers = [*([self.mine(name)] if signed else []), self.mine(by)]
        why = self._alive(name) or broken(
            (self.holds(signers, name), "identity.03"), (self.facts.dids[name].recovery is not None, "identity.11")
        )
        if self.send(CancelRecovery(did=did(name)), signers, why):
            self.facts.dids[name].recovery = None

    @precondition(lambda self: self.somebody_waits())
    @rule(name=LOSERS, by=Ground.members, signed=st.sampled_from([True, True, False]))
    def finishes_recovery(self, name: str, by: str, signed: bool) -> None:
        known = self.facts.dids.get(name)
        waits = known.recovery if known else None
        signers = [self.mine(by)]
        if waits is not None and signed and by != name:
            signers.insert(0, (name, waits[0]))
        why = self._alive(name)
        if not why and waits is None:
            why = {"identity.11"}
        elif not why and waits is not None:
            why = broken(((name, waits[0]) in signers, "identity.03"), (self.facts.now >= waits[1], "identity.09"))
        if self.send(FinishRecovery(did=did(name)), signers, why) and waits is not None:
            self._takes_over(name, waits[0])

    @precondition(lambda self: self.somebody_waits())
    @rule()
    def the_waiting_period_passes(self) -> None:
        self.let_pass(self.facts.network.recovery_wait)

    def somebody_waits(self) -> bool:
        return any(known.recovery is not None for known in self.facts.dids.values())

    def _alive(self, name: str) -> set[str]:
        known = self.facts.dids.get(name)
        return {"identity.01"} if known is None else broken((known.active, "identity.06"))

    def _takes_over(self, name: str, key: str) -> None:
        known = self.facts.dids[name]
        self.facts.owners[key] = name
        known.key, known.rotation, known.recovery = key, known.rotation + 1, None

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def every_did_is_as_its_owner_left_it(self) -> None:
        if "identity" not in self.stirred:
            return
        for name, known in self.facts.dids.items():
            found = queries.identity(self.state, did(name))
            assert found is not None
            assert (found.key, found.rotation, found.active) == (public(known.key), known.rotation, known.active)
            assert (found.kind, found.enrolled_by) == (known.kind, did(known.enrolled_by))

    @invariant()
    def one_key_serves_one_did_for_ever(self) -> None:
        if "identity" in self.stirred:
            for key, name in self.facts.owners.items():
                assert queries.owner(self.state, public(key)) == did(name)

    @invariant()
    def a_recovery_waits_only_while_nobody_objects(self) -> None:
        if "identity" not in self.stirred:
            return
        for name, known in self.facts.dids.items():
            found = queries.recovery(self.state, did(name))
            waits = None if found is None else (found.key, found.ready)
            assert waits == (None if known.recovery is None else (public(known.recovery[0]), known.recovery[1]))

    @invariant()
    def a_deactivated_did_acts_for_nobody(self) -> None:
        if "identity" not in self.stirred:
            return
        for name, known in self.facts.dids.items():
            assert known.active or not any(
                queries.is_current_key(self.state, did(name), public(key)) for key in self.facts.owners
            )


TestIdentity = IdentityRules.TestCase
TestIdentity.settings = profile(120, 50)
