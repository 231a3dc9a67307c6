"""The streams contract against a plain account of keys, permits, epochs, custodians and controllers."""

from __future__ import annotations

import copy

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, multiple, rule

from caremesh.contracts.streams import queries
from caremesh.contracts.streams.messages import (
    AddController,
    Close,
    NewEpoch,
    Power,
    RemoveController,
    RenewPermit,
    RevokePermit,
    RotateKey,
    SetCustodians,
)
from caremesh.crypto.hashes import sha256
from caremesh.types import DAY_S
from tests.property.contracts.test_members_model import MembersRules
from tests.support.models.facts import Controller, Permit, Stream
from tests.support.models.kernel import Signs, did, public
from tests.support.models.machine import LATER_KEYS, Ground, broken, profile, twist
from tests.support.models.permits import (
    BAD_POINT,
    CARERS,
    KEEPERS,
    PERMIT_FAULTS,
    Permits,
    curve_point,
    in_order,
    signed,
    signing,
    stream_id,
)

NAMES = ["heart", "lungs", "bones"]
KEYS = st.sampled_from([*LATER_KEYS[:4], "heart", "bones", "ann"])
POWERS: list[Power] = ["dispute", "erase", "grant", "revoke"]
relays = st.sampled_from(["practice", "hospital"])


class StreamsRules(Permits):
    """A subject opens streams, and says who writes to them, keeps them and acts in the subject's place."""

    @initialize(target=Ground.streams)
    def two_streams(self) -> object:
        for name in NAMES[:2]:
            permit = self.next_permit(name)
            assert self.send(RenewPermit(permit=signed(permit)), [self.mine("practice")])
            self.permit_counts(permit)
            self.begins(name)
        return multiple(*NAMES[:2])

    @rule(
        target=Ground.streams,
        name=st.sampled_from(["bones", *NAMES]),
        by=relays,
        days=st.sampled_from([1, 60, 0]),
        most=st.sampled_from([1, 2, 4, 0]),
        wrong=twist(*PERMIT_FAULTS),
    )
    def permits(self, name: str, by: str, days: int, most: int, wrong: str) -> object:
        until = (self.facts.now // DAY_S + days) * DAY_S
        permit = self.next_permit(name, wrong, until=until, most=most)
        opens = name not in self.facts.streams
        why = self.permit_broken(permit, self.facts.streams.get(name))
        if self.send(RenewPermit(permit=signed(permit)), [self.relay(by)], why):
            self.permit_counts(permit)
            return name if opens else multiple()
        return multiple()

    @rule(name=Ground.streams, by=relays)
    def permits_the_same_again(self, name: str, by: str) -> None:
        """The newest permit may be shown again, and changes nothing; what has ended with it stays ended."""
        permit = self.facts.streams[name].permit
        why = self.permit_broken(permit, self.facts.streams[name])
        self.send(RenewPermit(permit=signed(permit)), [self.relay(by)], why)

    @rule(name=st.sampled_from([*NAMES, *NAMES[:2]]), by=relays, bring=st.booleans(), wrong=signing)
    def revokes_the_permit(self, name: str, by: str, bring: bool, wrong: str) -> None:
        at = self.facts.streams.get(name)
        permit = self.next_permit(name) if bring else None
        why = {"streams.12"} if at is None and permit is None else set()
        if permit is not None:
            why |= self.permit_broken(permit, at, revoking=True)
        signers = self.subject(name, by, wrong)
        if not why:
            writable = permit is not None or (at is not None and at.writable)
            why = broken(
                (self.signed_for(name, signers, "revoke"), "streams.03"),
                (wrong != "not alone", "streams.16"),
                (writable, "streams.09"),
            )
        message = RevokePermit(stream=stream_id(name), permit=permit and signed(permit))
        if self.send(message, signers, why, alone=wrong != "not alone"):
            if permit is not None:
                self.permit_counts(permit)
            self.facts.streams[name].writable = False

    @rule(
        name=Ground.streams,
        key=KEYS,
        by=relays,
        bring=twist("none", "by the old key", "of another stream", "the same serial"),
        wrong=twist("a stranger signs", "not alone", "the new key is silent"),
    )
    def rotates(self, name: str, key: str, by: str, bring: str, wrong: str) -> None:
        at = self.facts.streams[name]
        after = copy.copy(at)
        after.key, after.rotation, after.writable = key, at.rotation + 1, False
        changes = {} if bring == "by the old key" else {"key": key, "rotation": at.rotation + 1}
        permit = self._brings(name, bring, changes)
        signers = self.subject(name, by, wrong)
        if wrong != "the new key is silent":
            signers.insert(0, (None, key))
        why = self._own(name, signers, wrong) | broken(
            ((None, key) in signers, "streams.03"),
            (key not in self.facts.stream_keys and key not in self.facts.owners, "streams.19"),
        )
        why = why or self._brought(name, permit, after)
        message = RotateKey(stream=stream_id(name), key=public(key), permit=permit and signed(permit))
        if self.send(message, signers, why, alone=wrong != "not alone"):
            at.key, at.rotation = key, at.rotation + 1
            self.facts.stream_keys[key] = name
            self._changed(at, permit)

    @rule(
        name=Ground.streams,
        by=relays,
        bring=twist("none", "of the old epoch", "of another stream", "the same serial"),
        wrong=twist("a stranger signs", "a carer signs", "not alone", "the same reading key", "no point"),
    )
    def begins_an_epoch(self, name: str, by: str, bring: str, wrong: str) -> None:
        at = self.facts.streams[name]
        reading = {"the same reading key": at.reading, "no point": BAD_POINT}.get(wrong, f"{name} {at.epoch + 1}")
        after = copy.copy(at)
        after.epoch, after.reading, after.writable = at.epoch + 1, reading, False
        changes = {} if bring == "of the old epoch" else {"epoch": at.epoch + 1, "reading": reading}
        permit = self._brings(name, bring, changes)
        signers = self.subject(name, by, wrong)
        why = self._own(name, signers, wrong) | broken(
            (reading != BAD_POINT, "streams.18"), (reading != at.reading, "streams.20")
        )
        why = why or self._brought(name, permit, after)
        message = NewEpoch(stream=stream_id(name), reading_key=curve_point(reading), permit=permit and signed(permit))
        if self.send(message, signers, why, alone=wrong != "not alone"):
            at.epoch, at.reading = at.epoch + 1, reading
            self._changed(at, permit)

    @rule(
        name=Ground.streams,
        by=relays,
        custodians=st.lists(st.sampled_from([*KEEPERS, *KEEPERS, "practice", "clinic"]), max_size=3, unique=True),
        threshold=st.integers(1, 2),
        bring=twist("none", "of the old set", "of another stream", "the same serial"),
        wrong=twist("a stranger signs", "a carer signs", "not alone", "unsorted", "too few"),
    )
    def chooses_custodians(
        self, name: str, by: str, custodians: list[str], threshold: int, bring: str, wrong: str
    ) -> None:
        at = self.facts.streams[name]
        custodians = in_order(custodians)[:: -1 if wrong == "unsorted" else 1]
        threshold = len(custodians) + 1 if wrong == "too few" else threshold
        after = copy.copy(at)
        after.custodians, after.threshold, after.writable = custodians, threshold, False
        changes = {} if bring == "of the old set" else {"custodians": tuple(custodians), "threshold": threshold}
        permit = self._brings(name, bring, changes)
        signers = self.subject(name, by, wrong)
        why = self._own(name, signers, wrong) | broken(
            (self.may_keep(custodians, threshold), "streams.11"),
            (not any(self.is_granted(name, custodian) for custodian in custodians), "streams.21"),
        )
        why = why or self._brought(name, permit, after)
        message = SetCustodians(
            stream=stream_id(name),
            custodians=[did(custodian) for custodian in custodians],
            threshold=threshold,
            permit=permit and signed(permit),
        )
        if self.send(message, signers, why, alone=wrong != "not alone"):
            at.custodians, at.threshold = custodians, threshold
            self._changed(at, permit)

    @rule(
        name=Ground.streams,
        key=st.sampled_from([*CARERS[:3], "ann", "heart"]),
        by=relays,
        powers=st.lists(st.sampled_from(POWERS), min_size=1, max_size=3, unique=True),
        days=st.sampled_from([1, 100, 366]),
        wrong=twist(
            "a stranger signs",
            "not alone",
            "no power",
            "unsorted",
            "not a whole day",
            "too long",
            "over",
            "the controller is silent",
        ),
    )
    def adds_a_controller(self, name: str, key: str, by: str, powers: list[Power], days: int, wrong: str) -> None:
        facts, at = self.facts, self.facts.streams[name]
        powers = [] if wrong == "no power" else sorted(powers, reverse=wrong == "unsorted")
        today = facts.now // DAY_S * DAY_S
        until = today + {"too long": 368 * DAY_S, "over": 0, "not a whole day": DAY_S + 1}.get(wrong, days * DAY_S)
        signers = self.subject(name, by, wrong)
        if wrong != "the controller is silent":
            signers.insert(0, (None, key))
        why = self._own(name, signers, wrong) | broken(
            (key in at.controllers or (None, key) in signers, "streams.03"),
            (bool(powers) and powers == sorted(powers) and until % DAY_S == 0, "streams.22"),
            (facts.now < until <= facts.now + 366 * DAY_S, "streams.22"),
            (key in at.controllers or (key not in facts.stream_keys and key not in facts.owners), "streams.19"),
            (key in at.controllers or len(at.controllers) < 8, "streams.23"),
        )
        message = AddController(stream=stream_id(name), key=public(key), powers=powers, until=until)
        if self.send(message, signers, why, alone=wrong != "not alone"):
            at.controllers[key] = Controller(list(powers), until)
            facts.stream_keys[key] = name

    @rule(name=Ground.streams, key=st.sampled_from(CARERS[:3]), by=relays, own=st.booleans(), wrong=signing)
    def removes_a_controller(self, name: str, key: str, by: str, own: bool, wrong: str) -> None:
        at = self.facts.streams[name]
        signers = [(None, key), self.relay(by)] if own else self.subject(name, by, wrong)
        why = broken(
            ((None, at.key) in signers or (None, key) in signers, "streams.03"),
            (wrong != "not alone", "streams.16"),
            (key in at.controllers, "streams.24"),
        )
        message = RemoveController(stream=stream_id(name), key=public(key))
        if self.send(message, signers, why, alone=wrong != "not alone"):
            del at.controllers[key]

    @rule(name=st.sampled_from(["bones", "bones", "lungs"]), by=relays, wrong=signing)
    def closes(self, name: str, by: str, wrong: str) -> None:
        signers = self.subject(name, by, wrong)
        why = {"streams.12"} if name not in self.facts.streams else self._own(name, signers, wrong)
        if self.send(Close(stream=stream_id(name)), signers, why, alone=wrong != "not alone"):
            self.facts.streams[name].closed = True

    # --- what a message may bring along --------------------------------------

    def _own(self, name: str, signers: list[Signs], wrong: str = "") -> set[str]:
        at = self.facts.streams[name]
        return broken(
            ((None, at.key) in signers, "streams.03"),
            (wrong != "not alone", "streams.16"),
            (not at.closed, "streams.17"),
        )

    def _brings(self, name: str, bring: str, changes: dict[str, object]) -> Permit | None:
        if bring == "none":
            return None
        if bring == "of another stream":
            return self.next_permit("lungs" if name == "heart" else "heart")
        return self.next_permit(name, bring, **changes)

    def _brought(self, name: str, permit: Permit | None, after: Stream) -> set[str]:
        if permit is None:
            return set()
        if permit.stream != name:
            return self.permit_broken(permit, self.facts.streams.get(permit.stream)) | {"streams.15"}
        return self.permit_broken(permit, after)

    def _changed(self, at: Stream, permit: Permit | None) -> None:
        at.writable = False
        if permit is not None:
            self.permit_counts(permit)

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def every_stream_is_as_its_own_key_left_it(self) -> None:
        if "streams" not in self.stirred:
            return
        for name in NAMES:
            found, at = queries.stream(self.state, stream_id(name)), self.facts.streams.get(name)
            assert (found is None) == (at is None)
            if found is None or at is None:
                continue
            assert (found.key, found.rotation, found.closed) == (public(at.key), at.rotation, at.closed)
            assert (found.source, found.reading_key, found.epoch) == (did(at.source), curve_point(at.reading), at.epoch)
            assert (found.custodians, found.threshold) == ([did(each) for each in at.custodians], at.threshold)
            assert (found.segments_left, found.permit_revoked) == (at.left, not at.writable)

    @invariant()
    def an_older_permit_never_counts_again(self) -> None:
        """Serials never go back: the ledger holds the newest that the model has seen, byte for byte."""
        if "streams" in self.stirred:
            for name, at in self.facts.streams.items():
                found = queries.stream(self.state, stream_id(name))
                assert found is not None
                assert (found.serial, found.permit_until) == (at.serial, at.until)
                assert found.permit == sha256(signed(at.permit).permit)

    @invariant()
    def no_key_serves_two_streams(self) -> None:
        if "streams" not in self.stirred:
            return
        found = [queries.stream(self.state, stream_id(name)) for name in self.facts.streams]
        keys = [each.key for each in found if each is not None]
        keys += [entry.key for name in self.facts.streams for entry in queries.controllers(self.state, stream_id(name))]
        assert len(set(keys)) == len(keys)

    @invariant()
    def a_controller_does_what_its_powers_name_while_they_last(self) -> None:
        if "streams" not in self.stirred:
            return
        for name, at in self.facts.streams.items():
            found = queries.controllers(self.state, stream_id(name))
            assert [(entry.key, entry.powers, entry.until) for entry in found] == sorted(
                (public(key), entry.powers, entry.until) for key, entry in at.controllers.items()
            )
            held = queries.stream(self.state, stream_id(name))
            for key in (*CARERS[:2], at.key, name):
                for power in POWERS:
                    assert held is not None
                    may = queries.may_sign(self.state, held, public(key), power, self.facts.now)
                    assert may == self.may_sign(name, key, power)


class Streams(StreamsRules, MembersRules):
    """Sources and custodians stop, go on and change roles meanwhile."""

    @rule(name=Ground.streams, by=relays)
    def adds_controllers_to_the_limit(self, name: str, by: str) -> None:
        at = self.facts.streams[name]
        until = (self.facts.now // DAY_S + 30) * DAY_S
        signers = self.subject(name, by)
        for key in CARERS:
            new = key not in self.facts.stream_keys
            both = [(None, key), *signers]
            why = self._own(name, signers) | broken(
                (key in at.controllers or new, "streams.19"),
                (key in at.controllers or len(at.controllers) < 8, "streams.23"),
            )
            message = AddController(stream=stream_id(name), key=public(key), powers=["revoke"], until=until)
            if self.send(message, both, why):
                at.controllers[key] = Controller(["revoke"], until)
                self.facts.stream_keys[key] = name
        self.stirred = {"streams"}


TestStreams = Streams.TestCase
TestStreams.settings = profile(400, 50)
