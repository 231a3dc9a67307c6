"""What a grant may say, judged by plain facts; consents as they travel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis.stateful import initialize, multiple

from caremesh.contracts.consent import messages
from caremesh.crypto.hashes import sha256, tagged_hash
from caremesh.types import DAY_S
from tests.support.models.facts import Consent, Offer, Permit, Scope, Stream
from tests.support.models.kernel import Signs, did
from tests.support.models.laws import says
from tests.support.models.machine import Ground, broken
from tests.support.models.permits import BAD_POINT, KEEPERS, Permits, curve_point, in_order, signed, stream_id

ACTIONS = {"read", "copy", "compute", "decide"}
PURPOSES = {"TREAT", "HPAYMT", "HRESCH", "HMARKT", "COC"}
LONGEST = {"TREAT": 3_653 * DAY_S, "HRESCH": 3_653 * DAY_S, "HPAYMT": 731 * DAY_S}


def salt(name: str) -> bytes:
    return sha256(name.encode())[:16]


def consent_id(stream: str, name: str) -> bytes:
    """As the design has it: H("caremesh/v1/consent" ‖ stream ‖ salt)."""
    return tagged_hash("caremesh/v1/consent", stream_id(stream), salt(name))


def as_sent(given: Scope) -> messages.Scope:
    return messages.Scope(kind=given.kind, segments=list(given.segments), height=given.height)  # type: ignore[arg-type]


def fragments(given: list[tuple[str, str]]) -> list[messages.FragmentCommitment]:
    return [
        messages.FragmentCommitment(custodian=did(custodian), commitment=sha256(label.encode()))
        for custodian, label in given
    ]


def conditions(given: Consent) -> messages.Conditions | None:
    if (given.most, given.place, given.second) == (None, None, False):
        return None
    return messages.Conditions(max_receipts=given.most, jurisdiction=given.place, second_signature=given.second)


class Consents(Permits):
    """The rules of giving and of taking back. Each stream begins with a consent."""

    @initialize(target=Ground.consents)
    def first_consents(self) -> object:
        """Given when the streams begin."""
        return multiple("consent 0 of heart", "consent 1 of lungs")

    def begins(self, name: str) -> None:
        super().begins(name)
        identity, new = self.drafted(name, "practice", Scope("future"), ["copy", "read"], ["HRESCH", "TREAT"], 30)
        self.gives(identity, new, None, "practice")

    def is_over(self, granted: Consent) -> bool:
        return granted.revoked is not None or granted.ends <= self.facts.now

    def known(self, name: str) -> Consent | None:
        granted = self.facts.consents.get(name)
        return None if granted is None or granted.forgotten else granted

    def brake_stops(self) -> bool:
        brake = self.facts.network.brake
        return brake is not None and self.facts.now < brake[1]

    def not_in_force(self, name: str) -> set[str]:
        granted = self.known(name)
        if granted is None:
            return {"consent.11"}
        if granted.revoked is not None:
            return {"consent.10"}
        return broken((not self.is_over(granted), "consent.26"))

    def giving_broken(self, at: Stream, *, signed: bool, alone: bool) -> set[str]:
        return broken(
            (alone, "consent.17"),
            (not self.brake_stops(), "consent.20"),
            (signed, "consent.09"),
            (not at.closed, "consent.25"),
        )

    def codes_broken(self, actions: list[str], purposes: list[str]) -> set[str]:
        return broken(
            (bool(purposes) and set(purposes) <= PURPOSES and len(purposes) == len(set(purposes)), "consent.08"),
            (bool(actions) and set(actions) <= ACTIONS and len(actions) == len(set(actions)), "consent.13"),
        )

    def scope_broken(self, at: Stream, given: Scope) -> set[str]:
        """Lists name segments that are there, in ascending order; an existing scope ends at a height that is."""
        numbers = list(given.segments)
        if given.kind == "listed":
            there = all(each < len(at.segments) and at.segments[each].status != "erased" for each in numbers)
            right = bool(numbers) and numbers == sorted(set(numbers)) and there
            return broken((right and not given.height, "consent.18"))
        fits = given.height <= self.facts.height + 1 if given.kind == "existing" else not given.height
        return broken((fits and not numbers, "consent.18"))

    def grantee_broken(self, grantee: str, at: Stream) -> set[str]:
        if grantee not in self.facts.members:
            return {"consent.05"}
        return broken((self.is_active(grantee), "consent.06"), (not self.keeps_any(grantee, at), "consent.07"))

    def keeps_any(self, member: str, at: Stream) -> bool:
        """Whether a member keeps a fragment of the stream: as its custodian, or of a consent that is not over."""
        granted = [self.facts.consents[each] for each in at.consents]
        kept = [keeper for each in granted if not self.is_over(each) for keeper, _ in each.fragments]
        return member in (*at.custodians, *kept)

    def delegation_broken(self, new: Consent, at: Stream) -> set[str]:
        """For this epoch, to the grantee's key, with a fragment for each custodian."""
        grantee = self.facts.members.get(new.grantee)
        return broken(
            (new.epoch == at.epoch, "consent.14"),
            (grantee is not None and new.receiving == grantee.receiving, "consent.16"),
            (new.verifying != BAD_POINT, "consent.22"),
            ([custodian for custodian, _ in new.fragments] == at.custodians, "consent.15"),
        )

    def period_broken(self, new: Consent) -> set[str]:
        now = self.facts.now
        length = new.ends - max(new.starts, now)
        return broken(
            (new.ends % DAY_S == 0, "consent.12"),
            (new.ends > new.starts and new.ends > now, "consent.03"),
            (all(length <= LONGEST.get(purpose, 366 * DAY_S) for purpose in new.purposes), "consent.04"),
        )

    def terms_broken(self, new: Consent, besides: str = "") -> set[str]:
        """Period, nothing else that covers the same, and the law. Sets the policies that the law cites."""
        facts = self.facts
        why = self.period_broken(new)
        at = facts.streams.get(new.stream)
        for name in [] if at is None else at.consents:
            other = facts.consents[name]
            if name != besides and other.grantee == new.grantee and not self.is_over(other) and _overlap(other, new):
                why.add("consent.02")
        grantee, source = facts.members.get(new.grantee), facts.members.get(new.source)
        if grantee is None or source is None or not set(new.purposes) <= PURPOSES or not set(new.actions) <= ACTIONS:
            return why
        cited: set[str] = set()
        for action in new.actions:
            for purpose in new.purposes:
                asked = {
                    "action": action,
                    "purpose": purpose,
                    "explicit": new.explicit,
                    "source_jurisdiction": source.place,
                    "grantee_jurisdiction": grantee.place,
                }
                permit, policies = says(facts.laws, facts.height + 1, "grant", asked)
                cited |= set(policies)
                if not permit:
                    why.add("consent.19")
        new.policies = sorted(cited)
        return why

    def lies_within(self, new: Consent, old: Consent) -> bool:
        """Whether nothing is allowed afterwards that was not before, and something no longer is."""
        same = replace(new, policies=old.policies) == old
        return (
            not same
            and set(new.actions) <= set(old.actions)
            and set(new.purposes) <= set(old.purposes)
            and new.ends <= old.ends
            and self._scope_within(new.scope, old)
        )

    def _scope_within(self, new: Scope, old: Consent) -> bool:
        if new == old.scope:
            return True
        if new.kind == "listed":
            return all(self.in_scope(old, number) for number in new.segments)
        if new.kind == "existing":
            return old.scope.kind == "future" or (old.scope.kind == "existing" and new.height <= old.scope.height)
        return False

    def old_consents_leave(self, stream: str) -> None:
        """With each new consent, up to four at the head of the list that were over before audits reach back."""
        at, before = self.facts.streams[stream], self.facts.now - self.facts.network.audit_years * 366 * DAY_S
        for _ in range(4):
            if not at.consents:
                return
            head = self.facts.consents[at.consents[0]]
            if min(head.ends, head.ends if head.revoked is None else head.revoked) > before:
                return
            head.forgotten = True
            at.forgotten += 1
            del at.consents[0]

    def offer_is_open(self, asked: Offer) -> bool:
        return asked.status == "open" and self.facts.now < asked.expires

    # --- drafts ------------------------------------------------------------------------------------------

    def drafted(
        self,
        stream: str,
        grantee: str,
        scope: Scope,
        actions: list[str],
        purposes: list[str],
        days: int,
        wrong: str = "",
        *,
        tomorrow: int = 0,
        explicit: bool = True,
    ) -> tuple[str, Consent]:
        """A consent from today on, and its name; ``wrong`` names what is wrong with it."""
        facts, at = self.facts, self.facts.streams.get(stream)
        today = facts.now // DAY_S * DAY_S
        keepers = in_order(KEEPERS) if at is None else at.custodians
        name = f"consent {len(facts.consents)} of {stream}"
        if wrong == "a used salt" and at is not None and at.consents:
            name = at.consents[-1]
        grantee = {"nobody as grantee": "nobody", "a custodian as grantee": keepers[0]}.get(wrong, grantee)
        starts = today + tomorrow * DAY_S
        new = Consent(
            stream=stream,
            source="hospital" if at is None else at.source,
            grantee=grantee,
            scope=scope,
            actions=[*actions, "gossip"] if wrong == "an unknown action" else [] if wrong == "no action" else actions,
            purposes={"an unknown purpose": ["CURIOSITY"], "a purpose twice": purposes * 2}.get(wrong, purposes),
            starts=starts + (wrong == "begins within a day"),
            ends=today + days * DAY_S + (wrong == "ends within a day"),
            epoch=0,
            receiving="",
            verifying="",
            fragments=[],
            explicit=explicit,
            threshold=2 if at is None else at.threshold,
        )
        if wrong == "ends before it begins":
            new.ends = new.starts
        elif wrong == "ends in the past":
            new.starts, new.ends = today - 2 * DAY_S, today
        if wrong == "no receipt at all":
            new.most = 0
        self.delegates(new, f"{name} at {facts.height}", wrong)
        return name, new

    def delegates(self, new: Consent, label: str, wrong: str = "") -> None:
        """Fragments of a delegation for the stream and the grantee as they are now."""
        at, grantee = self.facts.streams.get(new.stream), self.facts.members.get(new.grantee)
        keepers = in_order(KEEPERS) if at is None else at.custodians
        keepers = keepers[1:] if wrong == "a fragment too few" else keepers
        new.epoch = (0 if at is None else at.epoch) + (wrong == "another epoch")
        current = new.grantee if grantee is None else grantee.receiving
        new.receiving = "an old key" if wrong == "an old receiving key" else current
        new.verifying = BAD_POINT if wrong == "no verifying key" else f"verifies {label}"
        new.fragments = [(keeper, f"{label} for {keeper}") for keeper in keepers]

    def gives(
        self,
        name: str,
        new: Consent,
        permit: Permit | None,
        by: str,
        wrong: str = "",
        *,
        offer: str = "",
        because: set[str] | None = None,
    ) -> object:
        """Send a grant, or the acceptance of an offer; ``because``: what is wrong beside the rules of a grant."""
        facts = self.facts
        signers = self.subject(new.stream, by, wrong)
        alone = wrong != "not alone"
        why = because or self._grant_broken(name, new, permit, signers, wrong)
        fields: dict[str, Any] = {
            "stream": stream_id(new.stream),
            "grantee": did(new.grantee),
            "scope": as_sent(new.scope),
            "actions": new.actions,
            "purposes": new.purposes,
            "from_": new.starts,
            "until": new.ends,
            "epoch": new.epoch,
            "receiving_key": curve_point(new.receiving),
            "verifying_key": curve_point(new.verifying),
            "fragments": fragments(new.fragments),
            "explicit": new.explicit,
            "salt": salt(name),
            "conditions": conditions(new),
            "permit": permit and signed(permit),
        }
        message = messages.Accept(**fields, offer=facts.offers[offer].id) if offer else messages.Grant(**fields)
        if not self.send(message, signers, why, alone=alone):
            return multiple()
        if permit is not None:
            self.permit_counts(permit)
        self.old_consents_leave(new.stream)
        facts.consents[name] = new
        facts.streams[new.stream].consents.append(name)
        if offer:
            facts.offers[offer].status = "accepted"
        return name

    def _grant_broken(
        self, name: str, new: Consent, permit: Permit | None, signers: list[Signs], wrong: str
    ) -> set[str]:
        facts, at = self.facts, self.facts.streams.get(new.stream)
        if permit is not None:
            why = self.permit_broken(permit, facts.streams.get(permit.stream))
            if why or permit.stream != new.stream:
                return why or {"consent.23"}
            at = at or Stream(permit.key, permit.source, permit.reading, list(permit.custodians), permit.threshold)
        if at is None:
            return {"consent.01"}
        signs = self.signed_for(new.stream, signers, "grant")
        why = self.giving_broken(at, signed=signs, alone=wrong != "not alone")
        why |= self.codes_broken(new.actions, new.purposes) | self.scope_broken(at, new.scope)
        why |= self.grantee_broken(new.grantee, at) | self.delegation_broken(new, at) | self.terms_broken(new)
        return why | broken(
            (new.starts % DAY_S == 0, "consent.12"),
            (new.most != 0, "consent.24"),
            (self.known(name) is None, "consent.21"),
        )

    def brings_permit(self, stream: str, bring: str) -> Permit | None:
        if bring == "of another stream":
            return self.next_permit("lungs" if stream == "heart" else "heart")
        if bring or stream not in self.facts.streams:
            return self.next_permit(stream, bring)
        return None


def _overlap(one: Consent, other: Consent) -> bool:
    """In time, purpose, action and segments; only two lists can be told apart by their segments."""
    listed = one.scope.kind == other.scope.kind == "listed"
    return (
        one.starts < other.ends
        and other.starts < one.ends
        and bool(set(one.purposes) & set(other.purposes))
        and bool(set(one.actions) & set(other.actions))
        and (not listed or bool(set(one.scope.segments) & set(other.scope.segments)))
    )
