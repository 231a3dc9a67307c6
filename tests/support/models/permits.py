"""Write permits: made, and judged by plain facts. Several contracts' messages carry them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from caremesh import codec
from caremesh.contracts.streams import messages
from caremesh.crypto.signatures import stream_of
from caremesh.types import DAY_S, SignedPermit
from tests.support.models.facts import Consent, Permit, Stream
from tests.support.models.kernel import Signs, did, key, public
from tests.support.models.machine import Ground, broken, point, twist

CARERS = [f"carer {number}" for number in range(10)]
KEEPERS = ["north", "south", "west"]
BAD_POINT = "no point"
signing = twist("a stranger signs", "a carer signs", "the first key signs", "not alone")
"""How the signature of a subject may be wrong."""


@lru_cache
def stream_id(name: str) -> bytes:
    """The id of the stream whose first key has this name."""
    return stream_of(public(name))


def curve_point(name: str) -> bytes:
    return bytes(33) if name == BAD_POINT else point(name)


@lru_cache(maxsize=4_096)
def signed(permit: Permit) -> SignedPermit:
    """The permit as it travels."""
    data = codec.encode(
        messages.Permit(
            chain=permit.chain,
            stream=stream_id(permit.stream),
            key=public(permit.key),
            rotation=permit.rotation,
            source=did(permit.source),
            epoch=permit.epoch,
            reading_key=curve_point(permit.reading),
            custodians=[did(name) for name in permit.custodians],
            threshold=permit.threshold,
            serial=permit.serial,
            until=permit.until,
            max_segments=permit.most,
        )
    )
    if permit.garbled:
        data = data[:-1]
    return SignedPermit(permit=data, signature=key(permit.signer).sign(messages.PERMIT_DOMAIN + data))


def in_order(names: list[str]) -> list[str]:
    """As the ledger sorts members."""
    return sorted(names, key=did)


PERMIT_FAULTS = (
    "garbled",
    "another signer",
    "another chain",
    "another source",
    "an old serial",
    "the same serial",
    "another epoch",
    "another reading key",
    "other custodians",
    "unsorted custodians",
    "no threshold",
    "a grown threshold",
    "a later rotation",
    "not a whole day",
    "no power of two",
)


class Permits(Ground):
    """What a permit may do."""

    def begins(self, name: str) -> None:
        """What a model puts into a stream before it starts."""

    def next_permit(self, name: str, wrong: str = "", **changes: Any) -> Permit:
        """One that follows the newest of a stream, or opens it; ``wrong`` names what is wrong with it."""
        facts = self.facts
        at = facts.streams.get(name) or Stream(name, "hospital", f"{name} 0", in_order(KEEPERS), 2)
        permit = Permit(
            stream=name,
            key=at.key,
            rotation=at.rotation,
            source=at.source,
            epoch=at.epoch,
            reading=at.reading,
            custodians=tuple(at.custodians),
            threshold=at.threshold,
            serial=at.serial + 1,
            until=(facts.now // DAY_S + 60) * DAY_S,
            most=4,
            signer=at.key,
        )
        permit = replace(permit, **changes)
        if "signer" not in changes:
            permit = replace(permit, signer=permit.key)
        faults: dict[str, dict[str, Any]] = {
            "garbled": {"garbled": True},
            "another signer": {"signer": "somebody"},
            "another chain": {"chain": "elsewhere"},
            "another source": {"source": "clinic"},
            "an old serial": {"serial": max(0, at.serial - 1)},
            "the same serial": {"serial": at.serial},
            "another epoch": {"epoch": permit.epoch + 1},
            "another reading key": {"reading": f"{name} 9"},
            "other custodians": {"custodians": tuple(in_order(["north", "west"]))},
            "unsorted custodians": {"custodians": permit.custodians[::-1]},
            "no threshold": {"threshold": 0},
            "a grown threshold": {"threshold": 4},
            "a later rotation": {"rotation": permit.rotation + 1},
            "not a whole day": {"until": permit.until + 1},
            "no power of two": {"most": 6},
        }
        return replace(permit, **faults.get(wrong, {}))

    def permit_broken(self, permit: Permit, at: Stream | None, *, revoking: bool = False) -> set[str]:
        """The rules that a permit breaks for a stream as it stands; ``at`` None: not open."""
        facts = self.facts
        if permit.garbled:
            return {"streams.01"}
        why = broken(
            (permit.signer == permit.key, "streams.03"),
            (permit.chain == "test", "streams.02"),
            (revoking or self.is_active(permit.source), "streams.14"),
        )
        if at is None or permit != at.permit:
            why |= broken((permit.until % DAY_S == 0 and permit.most.bit_count() == 1, "streams.25"))
        if at is None:
            return why | broken(
                (permit.rotation == 0 and permit.key == permit.stream, "streams.04"),
                (permit.epoch == 0, "streams.07"),
                (permit.reading != BAD_POINT, "streams.18"),
                (permit.key not in facts.stream_keys and permit.key not in facts.owners, "streams.19"),
                (self.may_keep(list(permit.custodians), permit.threshold, revoking=revoking), "streams.11"),
            )
        return why | broken(
            (not at.closed, "streams.17"),
            (permit.key == at.key and permit.rotation == at.rotation, "streams.03"),
            (permit.epoch == at.epoch, "streams.07"),
            (permit.serial >= at.serial, "streams.05"),
            (permit.serial != at.serial or permit == at.permit, "streams.06"),
            (permit.source == at.source and permit.reading == at.reading, "streams.15"),
            (list(permit.custodians) == at.custodians and permit.threshold == at.threshold, "streams.13"),
        )

    def permit_counts(self, permit: Permit) -> Stream:
        """The facts after a permit that breaks no rule."""
        at = self.facts.streams.get(permit.stream)
        if at is None:
            at = Stream(
                permit.key,
                permit.source,
                permit.reading,
                list(permit.custodians),
                permit.threshold,
                permit.serial,
                permit,
                permit.until,
                permit.most,
                epoch=permit.epoch,
            )
            self.facts.streams[permit.stream] = at
            self.facts.stream_keys[permit.key] = permit.stream
        elif permit.serial > at.serial:
            at.serial, at.permit, at.until, at.left = permit.serial, permit, permit.until, permit.most
            at.writable = True
        return at

    def may_keep(self, custodians: list[str], threshold: int, *, revoking: bool = False) -> bool:
        """Custodians are active members in that role, sorted, each once, and enough of them."""
        return (
            custodians == in_order(list(set(custodians)))
            and 1 <= threshold <= len(custodians)
            and (revoking or all(self.is_custodian(name) for name in custodians))
        )

    def is_custodian(self, name: str) -> bool:
        return self.is_active(name) and "custodian" in self.facts.members[name].roles

    def may_sign(self, name: str, key: str, power: str) -> bool:
        """Whether a key has a power over a stream now."""
        at = self.facts.streams[name]
        entry = at.controllers.get(key)
        return key == at.key or (entry is not None and power in entry.powers and self.facts.now < entry.until)

    # --- who signs for a subject, and who is granted what --------------------------------------------------

    def subject(self, name: str, by: str, wrong: str = "") -> list[Signs]:
        """The stream's key, or who signs in its place, and the member that relays."""
        at = self.facts.streams.get(name)
        others = {"a stranger signs": "somebody", "a carer signs": CARERS[0], "the first key signs": name}
        return [(None, others.get(wrong, name if at is None else at.key)), self.relay(by)]

    def signed_for(self, name: str, signers: list[Signs], power: str) -> bool:
        if name not in self.facts.streams:  # it opens with this message, by its first key
            return (None, name) in signers
        return any(owner is None and self.may_sign(name, key, power) for owner, key in signers)

    def is_granted(self, name: str, member: str) -> bool:
        """Whether a member has a consent of a stream that is not over."""
        granted = (self.facts.consents[each] for each in self.facts.streams[name].consents)
        return any(each.grantee == member and each.revoked is None and self.facts.now < each.ends for each in granted)

    def is_in_force(self, granted: Consent) -> bool:
        return granted.revoked is None and granted.starts <= self.facts.now < granted.ends

    def in_scope(self, granted: Consent, number: int) -> bool:
        """Erased segments are nowhere; superseded ones only where they are named."""
        segments = self.facts.streams[granted.stream].segments
        if number >= len(segments) or segments[number].status == "erased":
            return False
        if granted.scope.kind == "listed":
            return number in granted.scope.segments
        if segments[number].status == "superseded":
            return False
        return granted.scope.kind == "future" or segments[number].height <= granted.scope.height

    def may_read(self, name: str, number: int, member: str) -> bool:
        granted = (self.facts.consents[each] for each in self.facts.streams[name].consents)
        return any(
            each.grantee == member and self.is_in_force(each) and self.in_scope(each, number) for each in granted
        )
