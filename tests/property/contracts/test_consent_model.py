"""The consent contract against a plain account of what a subject allows, and of what it took back."""

from __future__ import annotations

import copy

from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, precondition, rule

from caremesh.contracts.consent import queries
from caremesh.contracts.consent.messages import (
    Decline,
    Extend,
    Narrow,
    Offer,
    Redelegate,
    Revoke,
)
from caremesh.contracts.consent.state import OF_STREAM
from caremesh.contracts.network.messages import Brake, EndBrake
from caremesh.contracts.records import queries as segments
from caremesh.contracts.streams import queries as stream_queries
from caremesh.crypto.hashes import tagged_hash
from caremesh.types import DAY_S
from tests.property.contracts.test_members_model import MembersRules
from tests.property.contracts.test_records_model import RecordsRules
from tests.support.models.consents import Consents, as_sent, consent_id, fragments
from tests.support.models.facts import Consent, Scope
from tests.support.models.facts import Offer as OfferFacts
from tests.support.models.kernel import Signs, did
from tests.support.models.machine import Ground, broken, profile, twist
from tests.support.models.permits import CARERS, curve_point, signing, stream_id

grantees = st.sampled_from(["practice", "practice", "clinic", "hospital"])
relays = st.sampled_from(["practice", "hospital"])
actions = st.sampled_from([["read"], ["read"], ["copy", "read"], ["copy"]])
purposes = st.sampled_from([["TREAT"], ["TREAT"], ["HRESCH", "TREAT"], ["HPAYMT"], ["HMARKT"], ["COC"]])
scopes = st.sampled_from(
    [
        Scope("future"),
        Scope("existing", height=8),
        Scope("existing", height=5),
        Scope("listed", (0, 1)),
        Scope("listed", (1,)),
        Scope("listed", (0, 2)),
        Scope("listed", ()),
        Scope("existing", height=10_000),
    ]
)
days = st.sampled_from([1, 30, 31, 365, 731, 3_652, 3_653])
GRANT_FAULTS = (
    "a stranger signs",
    "a carer signs",
    "the first key signs",
    "not alone",
    "begins within a day",
    "ends within a day",
    "ends before it begins",
    "ends in the past",
    "an unknown purpose",
    "a purpose twice",
    "an unknown action",
    "no action",
    "nobody as grantee",
    "a custodian as grantee",
    "another epoch",
    "an old receiving key",
    "no verifying key",
    "a fragment too few",
    "no receipt at all",
    "a used salt",
)


class ConsentRules(Consents):
    """Subjects grant, change and take back; members ask for it."""

    @rule(
        target=Ground.consents,
        stream=st.sampled_from(["heart", "heart", "lungs", "bones"]),
        grantee=grantees,
        scope=scopes,
        actions=actions,
        purposes=purposes,
        days=days,
        tomorrow=st.sampled_from([0, 0, 0, 1]),
        explicit=st.sampled_from([True, True, False]),
        bring=st.sampled_from(["", "", "", "a permit", "of another stream", "garbled"]),
        by=relays,
        wrong=twist(*GRANT_FAULTS),
    )
    def grants(
        self,
        stream: str,
        grantee: str,
        scope: Scope,
        actions: list[str],
        purposes: list[str],
        days: int,
        tomorrow: int,
        explicit: bool,
        bring: str,
        by: str,
        wrong: str,
    ) -> object:
        name, new = self.drafted(
            stream, grantee, scope, actions, purposes, days, wrong, tomorrow=tomorrow, explicit=explicit
        )
        return self.gives(name, new, self.brings_permit(stream, bring), by, wrong)

    @rule(target=Ground.consents, stream=Ground.streams, grantee=st.sampled_from(["practice", "clinic"]), by=relays)
    def grants_plainly(self, stream: str, grantee: str, by: str) -> object:
        name, new = self.drafted(stream, grantee, Scope("future"), ["copy", "read"], ["HRESCH", "TREAT"], 30)
        return self.gives(name, new, None, by)

    @rule(name=Ground.consents, by=relays, wrong=signing)
    def revokes(self, name: str, by: str, wrong: str) -> None:
        granted, signers = self.known(name), self.subject(self._stream(name), by, wrong)
        why = {"consent.11"}
        if granted is not None:
            why = self._taking(granted, signers, wrong) | broken((granted.revoked is None, "consent.10"))
        if self.send(Revoke(consent=self._id(name)), signers, why, alone=wrong != "not alone"):
            self.facts.consents[name].revoked = self.facts.now - self.facts.now % DAY_S

    @rule(
        name=Ground.consents,
        scope=st.one_of(st.none(), scopes),
        actions=st.one_of(st.none(), st.none(), actions),
        purposes=st.one_of(st.none(), st.none(), purposes),
        sooner=st.sampled_from([None, None, 1, 10, 29, -5]),
        by=relays,
        wrong=twist("a stranger signs", "a carer signs", "not alone", "an action twice", "within a day"),
    )
    def narrows(
        self,
        name: str,
        scope: Scope | None,
        actions: list[str] | None,
        purposes: list[str] | None,
        sooner: int | None,
        by: str,
        wrong: str,
    ) -> None:
        signers = self.subject(self._stream(name), by, wrong)
        why, old = self.not_in_force(name), self.facts.consents[name]
        new = copy.copy(old)
        new.scope = scope or old.scope
        new.purposes = purposes or old.purposes
        new.actions = ["read", "read"] if wrong == "an action twice" else actions or old.actions
        new.ends = old.ends if sooner is None else old.ends - sooner * DAY_S - (wrong == "within a day")
        if not why:
            why = self._taking(old, signers, wrong)
            why |= broken((self.lies_within(new, old), "consent.27")) | self.codes_broken(new.actions, new.purposes)
            why |= self.period_broken(new)
            if new.scope != old.scope:
                why |= self.scope_broken(self.facts.streams[old.stream], new.scope)
        message = Narrow(
            consent=self._id(name),
            scope=scope and as_sent(scope),
            actions=None if new.actions is old.actions else new.actions,
            purposes=purposes,
            until=None if sooner is None else new.ends,
        )
        before = self._allowed(name)
        if self.send(message, signers, why, alone=wrong != "not alone"):
            self.facts.consents[name] = new
            assert self._allowed(name) <= before, "narrowing widened"

    @rule(name=Ground.consents, days=st.sampled_from([1, 30, 400, 4_000, 0, -1]), by=relays, wrong=signing)
    def extends(self, name: str, days: int, by: str, wrong: str) -> None:
        signers = self.subject(self._stream(name), by, wrong)
        why, old = self.not_in_force(name), self.facts.consents[name]
        new = copy.copy(old)
        new.ends = old.ends + days * DAY_S
        if not why:
            at = self.facts.streams[old.stream]
            signs = self.signed_for(old.stream, signers, "grant")
            why = self.giving_broken(at, signed=signs, alone=wrong != "not alone")
            why |= broken((days > 0, "consent.28")) | self.grantee_broken(old.grantee, at)
            why |= self.terms_broken(new, besides=name)
        if self.send(Extend(consent=self._id(name), until=new.ends), signers, why, alone=wrong != "not alone"):
            self.facts.consents[name] = new

    @rule(
        name=Ground.consents,
        by=relays,
        wrong=twist(
            "a stranger signs",
            "a carer signs",
            "not alone",
            "another epoch",
            "an old receiving key",
            "no verifying key",
            "a fragment too few",
            "the same fragments",
            "the same verifying key",
        ),
    )
    def delegates_anew(self, name: str, by: str, wrong: str) -> None:
        signers = self.subject(self._stream(name), by, wrong)
        why, old = self.not_in_force(name), self.facts.consents[name]
        at, new = self.facts.streams[old.stream], copy.copy(old)
        self.delegates(new, f"{name} at {self.facts.height}", wrong)
        if wrong == "the same fragments":
            new.fragments = old.fragments
        elif wrong == "the same verifying key":
            new.verifying = old.verifying
        if not why:
            signs = self.signed_for(old.stream, signers, "grant")
            why = self.giving_broken(at, signed=signs, alone=wrong != "not alone")
            why |= self.grantee_broken(old.grantee, at) | self.delegation_broken(new, at)
            why |= self.terms_broken(new, besides=name)
            why |= broken((new.verifying != old.verifying and new.fragments != old.fragments, "consent.29"))
        message = Redelegate(
            consent=self._id(name),
            epoch=new.epoch,
            receiving_key=curve_point(new.receiving),
            verifying_key=curve_point(new.verifying),
            fragments=fragments(new.fragments),
        )
        if self.send(message, signers, why, alone=wrong != "not alone"):
            new.threshold = at.threshold
            self.facts.consents[name] = new

    @rule(
        target=Ground.offers,
        stream=st.sampled_from(["heart", "lungs", "bones"]),
        by=grantees,
        actions=actions,
        purposes=purposes,
        days=days,
        expires=st.sampled_from([1, 30, 92, 94, 0]),
        wrong=twist("ends within a day", "expires within a day", "an unknown purpose", "ends in the past"),
    )
    def asks(
        self, stream: str, by: str, actions: list[str], purposes: list[str], days: int, expires: int, wrong: str
    ) -> object:
        facts, today = self.facts, self.facts.now // DAY_S * DAY_S
        purposes = ["CURIOSITY"] if wrong == "an unknown purpose" else purposes
        until = {"ends within a day": today + DAY_S + 1, "ends in the past": today}.get(wrong, today + days * DAY_S)
        end = today + expires * DAY_S + (wrong == "expires within a day")
        at = facts.streams.get(stream)
        waiting = any(
            self.offer_is_open(facts.offers[each]) and facts.offers[each].member == by
            for each in ([] if at is None else at.offers)
        )
        why = {"consent.01"}
        if at is not None:
            why = self.codes_broken(actions, purposes) | broken(
                (not at.closed, "consent.25"),
                (until % DAY_S == 0, "consent.12"),
                (until > facts.now, "consent.03"),
                (end % DAY_S == 0 and facts.now < end <= facts.now + 92 * DAY_S, "consent.34"),
                (not waiting, "consent.33"),
            )
        message = Offer(
            stream=stream_id(stream), actions=actions, purposes=purposes, until=until, text=bytes(32), expires=end
        )
        if not self.send(message, [self.mine(by)], why) or at is None:
            return multiple()
        name = f"offer {len(facts.offers)}"
        identity = tagged_hash("caremesh/v1/offer", self.kernel.tx_id, bytes(4))
        self._old_offers_leave(stream)
        facts.offers[name] = OfferFacts(stream, by, actions, purposes, until, end, identity)
        at.offers.append(name)
        return name

    @rule(
        target=Ground.consents,
        name=Ground.offers,
        by=relays,
        wrong=twist(
            *GRANT_FAULTS, "for longer", "another purpose", "another action", "another grantee", "another stream"
        ),
    )
    def accepts(self, name: str, by: str, wrong: str) -> object:
        asked = self.facts.offers[name]
        stream = asked.stream if wrong != "another stream" else "lungs" if asked.stream == "heart" else "heart"
        grantee = asked.member if wrong != "another grantee" else "clinic" if asked.member != "clinic" else "practice"
        purposes = [*asked.purposes, "PATRQT"] if wrong == "another purpose" else asked.purposes
        actions = [*asked.actions, "decide"] if wrong == "another action" else asked.actions
        draft, new = self.drafted(stream, grantee, Scope("future"), actions, purposes, 1, wrong)
        if wrong not in GRANT_FAULTS:
            new.ends = asked.until + (DAY_S if wrong == "for longer" else 0)
        why = broken(
            ((stream, grantee) == (asked.stream, asked.member), "consent.32"),
            (set(actions) <= set(asked.actions) and set(new.purposes) <= set(asked.purposes), "consent.32"),
            (set(new.actions) <= set(asked.actions) and new.ends <= asked.until, "consent.32"),
            (new.grantee == asked.member, "consent.32"),
        )
        why = why if self.offer_is_open(asked) else self._not_open(asked)
        return self.gives(draft, new, None, by, wrong, offer=name, because=why)

    @rule(name=Ground.offers, by=relays, wrong=signing)
    def declines(self, name: str, by: str, wrong: str) -> None:
        asked = self.facts.offers[name]
        signers = self.subject(asked.stream, by, wrong)
        why = self._not_open(asked)
        if self.offer_is_open(asked):
            signs = self.signed_for(asked.stream, signers, "grant")
            why = broken((signs, "consent.09"), (wrong != "not alone", "consent.17"))
        if self.send(Decline(offer=asked.id), signers, why, alone=wrong != "not alone"):
            asked.status = "declined"

    # --- what several rules need -------------------------------------------------------------------------

    def _not_open(self, asked: OfferFacts) -> set[str]:
        return {"consent.30" if asked.status == "forgotten" else "consent.31"}

    def _old_offers_leave(self, stream: str) -> None:
        """As consents do: up to four at the head of the list that expired before audits reach back."""
        at, before = self.facts.streams[stream], self.facts.now - self.facts.network.audit_years * 366 * DAY_S
        for name in at.offers[:4]:
            if self.facts.offers[name].expires > before:
                return
            self.facts.offers[name].status = "forgotten"
            at.offers.remove(name)

    def _taking(self, granted: Consent, signers: list[Signs], wrong: str) -> set[str]:
        signs = self.signed_for(granted.stream, signers, "revoke")
        return broken((signs, "consent.09"), (wrong != "not alone", "consent.17"))

    def _stream(self, name: str) -> str:
        return self.facts.consents[name].stream

    def _id(self, name: str) -> bytes:
        return consent_id(self._stream(name), name)

    def _allowed(self, name: str) -> set[tuple[str, str, int]]:
        """What the ledger itself lets this consent open: action, purpose and segment, at some time or another."""
        found = queries.consent(self.state, self._id(name))
        entries = segments.segments(self.state, stream_id(self._stream(name)))
        return {
            (action, purpose, number)
            for action in ([] if found is None else found.actions)
            for purpose in ([] if found is None else found.purposes)
            for number, entry in enumerate(entries)
            if found is not None and queries.covers(found, number, entry)
        }

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def every_consent_is_as_its_subject_left_it(self) -> None:
        """And cites the law that permits it: what the law does not permit is not granted."""
        if "consent" not in self.stirred:
            return
        for name, known in self.facts.consents.items():
            found = queries.consent(self.state, self._id(name))
            assert (found is None) == known.forgotten
            if found is None:
                continue
            assert (found.grantee, found.source, found.explicit) == (
                did(known.grantee),
                did(known.source),
                known.explicit,
            )
            assert (found.scope, found.actions, found.purposes) == (as_sent(known.scope), known.actions, known.purposes)
            assert (found.starts, found.ends, found.epoch) == (known.starts, known.ends, known.epoch)
            assert (found.receiving_key, found.verifying_key) == (
                curve_point(known.receiving), curve_point(known.verifying),
            )  # fmt: skip
            assert (found.fragments, found.threshold) == (fragments(known.fragments), known.threshold)
            assert (found.policies, found.revoked) == (known.policies, known.revoked)

    @invariant()
    def the_list_of_consents_is_complete(self) -> None:
        """What a proof counts is what there is: from the head that is left to the newest."""
        if "consent" not in self.stirred:
            return
        for name, at in self.facts.streams.items():
            assert OF_STREAM.items(self.state, stream_id(name)) == [self._id(each) for each in at.consents]
            assert OF_STREAM.bounds(self.state, stream_id(name))[0] == at.forgotten

    @invariant()
    def those_that_stand_are_those_that_are_not_over(self) -> None:
        """What a new grant is compared with, a custodian's seat is refused for, and the bound on both."""
        for name, at in self.facts.streams.items() if self.stirred else ():
            standing = [known.id for known in queries.standing(self.state, stream_id(name), self.facts.now)]
            assert standing == [self._id(each) for each in at.consents if not self.is_over(self.facts.consents[each])]

    @invariant()
    def a_revoked_consent_never_permits(self) -> None:
        """Nor one before it begins or after it ends."""
        for name, known in self.facts.consents.items():
            found = queries.consent(self.state, self._id(name)) if self.stirred else None
            for at in (
                () if found is None else (self.facts.now, known.starts - 1, known.starts, known.ends, known.ends - 1)
            ):
                active = known.revoked is None and known.starts <= at < known.ends
                assert queries.is_active(found, at) == active

    @invariant()
    def no_grantee_is_a_custodian_of_what_it_is_granted(self) -> None:
        if not {"streams", "consent"} & self.stirred:
            return
        for name, known in self.facts.consents.items():
            if not self.is_over(known):
                at = stream_queries.stream(self.state, stream_id(known.stream))
                assert at is not None
                assert did(known.grantee) not in at.custodians
                held = queries.consent(self.state, consent_id(known.stream, name))
                assert held is not None
                assert not queries.is_custodian_of_any(self.state, at.id, held.grantee, self.facts.now)

    @invariant()
    def an_offer_is_answered_once(self) -> None:
        if "consent" not in self.stirred:
            return
        for known in self.facts.offers.values():
            found = queries.offer(self.state, known.id)
            if known.status == "forgotten":
                assert found is None
                continue
            assert found is not None
            assert (found.status, found.member) == (known.status, did(known.member))
            waiting = queries.open_offer(self.state, stream_id(known.stream), did(known.member), self.facts.now)
            assert not self.offer_is_open(known) or (waiting is not None and waiting.id == known.id)
        for name, at in self.facts.streams.items():
            listed = [found.id for found in queries.offers_to(self.state, stream_id(name))]
            assert listed == [self.facts.offers[each].id for each in at.offers]


class ConsentMachine(ConsentRules, RecordsRules, MembersRules):
    """Streams, their segments and the grantees change meanwhile; what their own models show is left out."""

    permits_the_same_again = revokes_the_permit = retracts = seals_again = attests = None  # type: ignore[assignment]
    permits = registers_a_segment = removes_a_controller = the_source_erases = None  # type: ignore[assignment]
    admits = sets_roles = says_where_it_is = appoints = dismisses = stops_a_person = None  # type: ignore[assignment]

    @rule(name=Ground.streams, powers=st.sampled_from([["grant"], ["revoke"], ["grant", "revoke"]]))
    def a_carer_may_act(self, name: str, powers: list[str]) -> None:
        self.adds_a_controller(name, CARERS[0], "practice", powers, 100, "")

    @rule(scope=st.sampled_from(["receipts", "all"]), on=st.booleans())
    def the_brake(self, scope: str, on: bool) -> None:
        signers = [self.mine("north"), self.mine("south")]
        until = self.facts.now + DAY_S
        message = Brake(scope=scope, reason="a drill", until=until) if on else EndBrake()  # type: ignore[arg-type]
        why = broken((self.quorum(signers), "network.01"), (on or self.brake_stops(), "network.04"))
        if self.send(message, signers, why):
            self.facts.network.brake = (scope, until) if on else None

    @precondition(lambda self: any(self.is_over(known) for known in self.facts.consents.values()))
    @rule()
    def years_pass(self) -> None:
        self.let_pass(6 * 366 * DAY_S + 40 * DAY_S)


TestConsent = ConsentMachine.TestCase
TestConsent.settings = profile(400, 50)
