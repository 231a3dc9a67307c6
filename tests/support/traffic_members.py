"""Plausible messages of those who run the mesh: identity, members, network, policy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from caremesh.contracts.identity import messages as identity
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import messages as members
from caremesh.contracts.members import queries as member_queries
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries as network_queries
from caremesh.contracts.policy import messages as policy
from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.library import shipped
from caremesh.crypto.hashes import sha256
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message
from caremesh.types import DAY_S, Did
from tests.support.participants import CHAIN, CHANNEL, FOUNDERS, QUORUM, Participants, Who

HOUSE = shipped("house")[0]
ROLES = ["privacy-officer", "nurse", "emergency-responder"]
APPROVALS = ["data-permit", "ethics-board", "standard-clauses"]


class Attempt(NamedTuple):
    """A message, and who signs it: the last is the sponsor."""

    message: Message
    signers: list[Who]


class MembersTraffic:
    """What members and people do with their names and with the network."""

    def __init__(self, rng: random.Random, everybody: Participants) -> None:
        self.rng = rng
        self.all = everybody
        self.reader: Reader = {}
        self.now, self.height = 0, 0
        self._guardians: dict[Did, list[identity.GuardianProof]] = {}
        self._taking_over: dict[Did, SigningKey] = {}
        self._active: list[Did] = everybody.members
        self._approved: list[tuple[Did, str]] = []
        self._staff: dict[Did, list[Did]] = {}

    def kinds(self) -> dict[str, int]:
        """Names of the methods below and how often each is tried."""
        return {
            "register": 6, "rotate": 3, "deactivate": 1, "set_guardians": 5, "recover": 9, "cancel_recovery": 1,
            "finish_recovery": 7, "admit": 1, "suspend": 1, "reinstate": 3, "set_keys": 1, "set_endpoints": 1,
            "set_role": 1, "leave": 1, "appoint": 9, "dismiss": 1, "suspend_person": 2, "set_params": 1, "brake": 1,
            "end_brake": 2, "set_validators": 2, "rotate_validator": 2, "upgrade": 1, "cancel_upgrade": 1, "adopt": 1,
            "retire": 1, "set_person_key": 2, "set_authorities": 1, "approve": 2, "withdraw": 1, "convert": 1,
            "cancel_convert": 1,
        }  # fmt: skip

    # --- who ----------------------------------------------------------------------------------------------

    def begin(self, reader: Reader, now: int, height: int) -> None:
        """Another block: what was found out about the state before does not hold any more."""
        self.reader, self.now, self.height = reader, now, height
        self._active = [did for did in self.all.members if member_queries.is_active(reader, did)] or self.all.members
        self._staff.clear()

    def member(self) -> Who:
        """Any active member."""
        return self.who(self.rng.choice(self._active))

    def reading_member(self) -> Who:
        """Any member but those that only keep."""
        choices = [did for did in self._active if did not in self.all.authorities]
        return self.who(self.rng.choice(choices or self._active))

    def who(self, did: Did) -> Who:
        """Who acts for a DID now."""
        return self.all.now(self.reader, did)

    def person(self) -> Did:
        """Anyone registered who is no member, mostly active and not about to be recovered; or nobody."""
        did = did_of(CHAIN, self.all.new_key().public)
        for _ in range(3 if self.all.people else 0):
            did = self.rng.choice(self.all.people)
            found = identities.identity(self.reader, did)
            if found is not None and found.active and identities.recovery(self.reader, did) is None:
                break
        return did

    def staff(self, member: Did) -> Did:
        """Someone who is, or was, appointed by a member, if anyone is."""
        if member not in self._staff:
            self._staff[member] = [
                did for did in self.all.people if member_queries.appointment(self.reader, did, member) is not None
            ]
        return self.rng.choice(self._staff[member]) if self._staff[member] else self.person()

    def authorities(self) -> network.Authorities:
        """Who decides now."""
        return network_queries.authorities(self.reader) or network.Authorities(self.all.authorities, QUORUM)

    def quorum(self) -> list[Who]:
        """Enough authorities; now and then too few."""
        deciding = self.authorities()
        count = deciding.quorum if self.rng.random() < 0.95 else max(1, deciding.quorum - 1)
        able = [did for did in deciding.dids if did in self._active] or deciding.dids
        return [self.who(did) for did in self.rng.sample(able, min(count, len(able)))]

    def days(self, count: int) -> int:
        """Midnight, so many days from now."""
        return (self.now // DAY_S + count) * DAY_S

    # --- identity -----------------------------------------------------------------------------------------

    def register(self) -> Attempt:
        key = self.all.new_key()
        did = did_of(CHAIN, key.public)
        kind: Any = self.rng.choice([*["practitioner"] * 4, "guardian", "device"])
        return Attempt(identity.Register(did=did, key=key.public, kind=kind), [Who(key, did), self.member()])

    def rotate(self) -> Attempt:
        member = self.rng.random() < 0.2
        old = self.member() if member else self.who(self.person())
        new = Who(self.all.new_key(), old.did)
        message = identity.Rotate(did=str(old.did), key=new.key.public)
        return Attempt(message, [new, old] if member else [old, new, self.member()])

    def deactivate(self) -> Attempt:
        who = self.who(self.person())
        return Attempt(identity.Deactivate(did=str(who.did)), [who, self.member()])

    def set_guardians(self) -> Attempt:
        who = self.who(self.person())
        others = [did for did in self.all.people if did != who.did]
        chosen = self.rng.sample(others, min(len(others), self.rng.randrange(4)))
        proofs = [identity.GuardianProof(guardian=did, salt=self.rng.randbytes(16)) for did in chosen]
        self._guardians[str(who.did)] = proofs
        commitments = sorted(identities.guardian_commitment(proof.guardian, proof.salt) for proof in proofs)
        message = identity.SetGuardians(
            did=str(who.did), commitments=commitments, threshold=min(len(proofs), self.rng.randrange(1, 3))
        )
        return Attempt(message, [who, self.member()])

    def recover(self) -> Attempt:
        did = self.rng.choice(list(self._guardians)) if self._guardians else self.person()
        proofs = self._guardians.get(did, [])
        key = self.all.new_key()
        if identities.recovery(self.reader, did) is None:
            self._taking_over[did] = key
        guardians = [self.who(proof.guardian) for proof in proofs]
        message = identity.Recover(did=did, key=key.public, guardians=proofs)
        return Attempt(message, [Who(key, did), *guardians, self.member()])

    def recovering(self, by: int) -> Did:
        """Someone whose recovery waits, and is ready by then; if there is none, anyone who has tried."""
        tried = sorted(self._taking_over)
        found = [(did, identities.recovery(self.reader, did)) for did in tried]
        waiting = [did for did, recovery in found if recovery is not None and recovery.ready <= by]
        return self.rng.choice(waiting or tried or [self.person()])

    def cancel_recovery(self) -> Attempt:
        who = self.who(self.recovering(self.now + DAY_S))
        return Attempt(identity.CancelRecovery(did=str(who.did)), [who, self.member()])

    def finish_recovery(self) -> Attempt:
        did = self.recovering(self.now)
        key = self._taking_over.get(did) or self.all.new_key()
        return Attempt(identity.FinishRecovery(did=did), [Who(key, did), self.member()])

    # --- members ------------------------------------------------------------------------------------------

    def admit(self) -> Attempt:
        roles, place = self.rng.choice([*FOUNDERS.values(), *[(["provider"], "US")] * 10])
        return Attempt(self.all.admission(self.all.new_key(), roles, place), self.quorum())

    def some_member(self) -> Did:
        """A member that is no authority: without these nothing could be decided any more."""
        return self.rng.choice([did for did in self.all.members if did not in self.all.authorities])

    def suspend(self) -> Attempt:
        return Attempt(members.Suspend(member=self.some_member()), self.quorum())

    def reinstate(self) -> Attempt:
        suspended = [
            did
            for did in self.all.members
            if (found := member_queries.member(self.reader, did)) is not None and found.status == "suspended"
        ]
        return Attempt(members.Reinstate(member=self.rng.choice(suspended or self.all.members)), self.quorum())

    def set_keys(self) -> Attempt:
        who = self.member()
        keys = members.Keys(self.all.new_key().public, CHANNEL, b"\x03" + self.rng.randbytes(32))
        return Attempt(members.SetKeys(member=str(who.did), keys=keys), [who])

    def set_endpoints(self) -> Attempt:
        who = self.member()
        addresses = [f"https://{self.rng.randrange(9)}.example"] * self.rng.randrange(3)
        return Attempt(members.SetEndpoints(member=str(who.did), endpoints=addresses), [who])

    def set_role(self) -> Attempt:
        roles = self.rng.choice([*(roles for roles, _ in FOUNDERS.values()), *[["provider"]] * 20])
        return Attempt(members.SetRole(member=self.some_member(), roles=roles), self.quorum())

    def leave(self) -> Attempt:
        extra = [did for did in self.all.members if did not in self.all.dids.values()]
        who = self.who(self.rng.choice(extra)) if extra else self.member()
        return Attempt(members.Leave(member=str(who.did) if extra else self.person()), [who])

    def appoint(self) -> Attempt:
        message = members.Appoint(
            practitioner=self.person(),
            roles=["physician", *self.rng.sample(ROLES, self.rng.randrange(3))],
            licensed_until=self.days(self.rng.choice([1, *[400] * 4])),
        )
        return Attempt(message, [self.reading_member()])

    def dismiss(self) -> Attempt:
        who = self.member()
        return Attempt(members.Dismiss(practitioner=self.staff(str(who.did))), [who])

    def suspend_person(self) -> Attempt:
        who = self.member()
        suspended = self.rng.random() < 0.6
        return Attempt(members.SuspendPerson(practitioner=self.staff(str(who.did)), suspended=suspended), [who])

    def set_person_key(self) -> Attempt:
        who = self.member()
        person = self.who(self.staff(str(who.did)))
        receiving = self.rng.choice([None, b"\x02" + self.rng.randbytes(32)])
        return Attempt(members.SetPersonKey(practitioner=str(person.did), receiving=receiving), [person, who])

    # --- network and policy -------------------------------------------------------------------------------

    def set_params(self) -> Attempt:
        params = network.Params(
            quota=self.rng.choice([20, 400, 10_000, 10_000]),
            quota_window_s=self.rng.choice([300, 3_600]),
            kept_heights=self.rng.choice([5, 20]),
            retain_blocks=self.rng.choice([200, 400]),
            receipt_life_s=self.rng.choice([60, 900]),
            recovery_wait_s=DAY_S,
            audit_years=3,
        )
        return Attempt(network.SetParams(params=params), self.quorum())

    def brake(self) -> Attempt:
        scope: Any = self.rng.choice(["receipts", "all"])
        return Attempt(
            network.Brake(scope=scope, reason="drill", until=self.now + self.rng.choice([2, 30])), self.quorum()
        )

    def end_brake(self) -> Attempt:
        return Attempt(network.EndBrake(), self.quorum())

    def set_validators(self) -> Attempt:
        return Attempt(network.SetValidators(validators=self.validators()), self.quorum())

    def validators(self) -> list[network.Validator]:
        """One to three, with new keys, in order."""
        count = self.rng.randrange(1, 4)
        entries = [
            network.Validator(member=did, key=self.all.new_key().public, power=1)
            for did in self.rng.sample(self.all.members, count)
        ]
        return sorted(entries, key=lambda entry: entry.key)

    def rotate_validator(self) -> Attempt:
        """Mostly one that there is; its member and the new key sign."""
        now = network_queries.validators(self.reader)
        old, member = (now[0].key, now[0].member) if now else (self.all.new_key().public, self.rng.choice(self._active))
        new = self.all.new_key()
        return Attempt(network.RotateValidator(old=old, new=new.public), [Who(new, member), self.who(member)])

    def set_authorities(self) -> Attempt:
        """Mostly those of the beginning, so that there is always somebody to decide."""
        dids = [*self.rng.sample(self.all.authorities, 4), *self.rng.sample(self._active, self.rng.randrange(2))]
        message = network.SetAuthorities(authorities=network.Authorities(dids, QUORUM))
        return Attempt(message, self.quorum())

    def approve(self) -> Attempt:
        message = policy.Approve(
            member=self.rng.choice(self.all.members),
            approval=self.rng.choice(APPROVALS),
            until=self.days(self.rng.choice([1, 30])),
        )
        return Attempt(message, self.quorum())

    def withdraw(self) -> Attempt:
        member, approval = self.rng.choice(self._approved or [(self.all.members[0], APPROVALS[0])])
        return Attempt(policy.Withdraw(member=member, approval=approval), self.quorum())

    def upgrade(self) -> Attempt:
        version = network_queries.rules(self.reader).version + 1
        return Attempt(network.Upgrade(version=version, height=self.height + self.rng.randrange(1, 6)), self.quorum())

    def cancel_upgrade(self) -> Attempt:
        return Attempt(network.CancelUpgrade(), self.quorum())

    def convert(self) -> Attempt:
        """For a height that the traffic never comes to: with it the chain would end."""
        return Attempt(
            network.Convert(height=self.height + 10**9, validators=self.validators(), peers=[]), self.quorum()
        )

    def cancel_convert(self) -> Attempt:
        return Attempt(network.CancelConvert(), self.quorum())

    def adopt(self) -> Attempt:
        condition = self.rng.choice(["true", "!context.asserted", "!context.restricted", "nonsense", "("])
        text = (
            f'@id("p") @legal("§ 1") @sentence("{sha256(self.rng.randbytes(2))[:3].hex()}") '
            f'permit (principal, action in Action::"access", resource) when {{ context.licensed && {condition} }};'
        )
        rules = policy.PolicySet(
            set=self.rng.choice(["law", "rule"]),
            jurisdictions=["FR"],
            text=text,
            access=HOUSE.access,
            grant=HOUSE.grant,
            tests=[PolicyTest("p", "access", {}, {"licensed": False})],
        )
        return Attempt(policy.Adopt(rules=rules, effective=self.height + self.rng.randrange(3)), self.quorum())

    def retire(self) -> Attempt:
        message = policy.Retire(set=self.rng.choice(["law", "rule"]), effective=self.height + self.rng.randrange(3))
        return Attempt(message, self.quorum())

    # --- what a follower learns ---------------------------------------------------------------------------

    def heard(self, kind: str, attributes: dict[str, Any]) -> None:
        """Take in an event."""
        if kind == "identity/registered":
            self.all.people.append(attributes["did"])
        elif kind == "members/admitted":
            self.all.members.append(attributes["member"])
        elif kind == "policy/approved":
            self._approved.append((attributes["member"], attributes["approval"]))


def weighted(rng: random.Random, kinds: dict[str, int]) -> str:
    """One of the names."""
    names: Sequence[str] = sorted(kinds)
    return rng.choices(names, [kinds[name] for name in names])[0]
