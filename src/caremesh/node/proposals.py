"""What can be proposed to the authorities of a network: from what somebody asks for to the message, and back to words.

Names are those that the ledger has. A key comes from the ledger, or from an admission file, which shows that somebody
has it; such a file is a **paper** of the decision, and travels with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from msgspec import Struct

from caremesh.contracts.members import messages as to_members
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.state import Member
from caremesh.contracts.network import messages as to_network
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import Authorities, BrakeScope, Reason, Validator
from caremesh.crypto.signatures import multikey_text
from caremesh.errors import ErrorCode, Refused
from caremesh.ledger.state import Reader
from caremesh.node.joining import POWER, Admission, read_admission
from caremesh.types import Count, Did, Height, Seconds

NOT_ONE_MEMBER = ErrorCode(
    "decision.01",
    "No member of the network has this name or DID, or more than one has.",
    "Take its DID from `caremesh network status --json`.",
)
NO_KEY = ErrorCode(
    "decision.02", "This member orders no blocks, and its key for that is not known.", "Add its admission file."
)

Kind: TypeAlias = (
    to_members.Admit
    | to_members.Suspend
    | to_members.Reinstate
    | to_network.Brake
    | to_network.EndBrake
    | to_network.SetAuthorities
    | to_network.SetValidators
    | to_network.Upgrade
    | to_network.CancelUpgrade
    | to_network.Convert
    | to_network.CancelConvert
)
"""What is decided so. Another message has no words here, and nobody signs what is not told."""


class ToAdmit(Struct, frozen=True, tag="admit"):
    """Let in who made this admission file."""

    file: bytes


class ToSuspend(Struct, frozen=True, tag="suspend"):
    """Stop a member. Members are named by name or DID, here and below."""

    member: str


class ToReinstate(Struct, frozen=True, tag="reinstate"):
    """Let a suspended member act again."""

    member: str


class ToBrake(Struct, frozen=True, tag="brake"):
    """Stop the network for so long, from now."""

    scope: BrakeScope
    reason: Reason
    seconds: Seconds


class ToEndBrake(Struct, frozen=True, tag="end-brake"):
    """Go on."""


class ToSetValidators(Struct, frozen=True, tag="validators"):
    """These order blocks, and nobody else. ``files``: admission files of those who do not yet."""

    members: list[str]
    files: list[bytes]


class ToSetAuthorities(Struct, frozen=True, tag="authorities"):
    """These decide, and so many of them; 0: more than half."""

    members: list[str]
    quorum: Count


class ToUpgrade(Struct, frozen=True, tag="upgrade"):
    """The next version of the rules counts from a height on."""

    version: Count
    height: Height


class ToCancelUpgrade(Struct, frozen=True, tag="cancel-upgrade"):
    """It does not."""


class ToConvert(Struct, frozen=True, tag="convert"):
    """After a height, those whose admission files these are order blocks together."""

    height: Height
    files: list[bytes]


class ToCancelConvert(Struct, frozen=True, tag="cancel-convert"):
    """They do not."""


Wanted: TypeAlias = (
    ToAdmit
    | ToSuspend
    | ToReinstate
    | ToBrake
    | ToEndBrake
    | ToSetValidators
    | ToSetAuthorities
    | ToUpgrade
    | ToCancelUpgrade
    | ToConvert
    | ToCancelConvert
)


def message(wanted: Wanted, reader: Reader, now: Seconds) -> tuple[Kind, list[bytes]]:
    """The message that does what is wanted, and the papers that go with it.

    Raises Refused decision.01, decision.02; Tampered node.16.
    """
    made: Kind
    papers: list[bytes] = []
    match wanted:
        case ToAdmit(file):
            made, papers = read_admission(file, "admission file").admit, [file]
        case ToSuspend(word):
            made = to_members.Suspend(member=member_named(reader, word, "member").did)
        case ToReinstate(word):
            made = to_members.Reinstate(member=member_named(reader, word, "member").did)
        case ToBrake(scope, reason, seconds):
            made = to_network.Brake(scope=scope, reason=reason, until=now + seconds)
        case ToEndBrake():
            made = to_network.EndBrake()
        case ToSetValidators(words, files):
            made, papers = _validators(reader, members_named(reader, words), files), files
        case ToSetAuthorities(words, quorum):
            dids = members_named(reader, words)
            made = to_network.SetAuthorities(authorities=Authorities(dids, quorum or len(dids) // 2 + 1))
        case ToUpgrade(version, height):
            made = to_network.Upgrade(version=version, height=height)
        case ToCancelUpgrade():
            made = to_network.CancelUpgrade()
        case ToConvert(height, files):
            made, papers = _conversion(reader, height, files), files
        case ToCancelConvert():
            made = to_network.CancelConvert()
    return made, papers


def members_named(reader: Reader, words: Sequence[str]) -> list[Did]:
    """Members by name or DID. Raises Refused decision.01, which says which one: what was typed is not repeated."""
    return [member_named(reader, word, f"member {number}").did for number, word in enumerate(words, 1)]


def member_named(reader: Reader, word: str, place: str) -> Member:
    """A member by name or DID. Raises Refused decision.01 with the place."""
    found = [each for each in members.members(reader) if word in (each.did, each.name)]
    if len(found) != 1:
        raise Refused(NOT_ONE_MEMBER, place)
    return found[0]


def _validators(reader: Reader, dids: Sequence[Did], files: Sequence[bytes]) -> to_network.SetValidators:
    found: list[Validator] = []
    papers = [read_admission(file, f"admission file {number}") for number, file in enumerate(files, 1)]
    for did in dids:
        mine = [each for each in network.validators(reader) if each.member == did]
        if not mine:
            mine = [
                Validator(member=did, key=paper.ordering.key, power=POWER)
                for paper in papers
                if paper.ordering is not None and paper.admit.member == did
            ]
        if not mine:
            raise Refused(NO_KEY, name_of(reader, did))
        found += mine
    return to_network.SetValidators(validators=sorted(found, key=lambda each: each.key))


def _conversion(reader: Reader, height: Height, files: Sequence[bytes]) -> to_network.Convert:
    papers = [read_admission(file, f"admission file {number}") for number, file in enumerate(files, 1)]
    validators, peers = [], []
    for paper in papers:
        if paper.ordering is None:
            raise Refused(NO_KEY, name_of(reader, paper.admit.member))
        validators.append(Validator(member=paper.admit.member, key=paper.ordering.key, power=POWER))
        peers.append(to_network.Peer(member=paper.admit.member, address=paper.ordering.peer))
    return to_network.Convert(
        height=height,
        validators=sorted(validators, key=lambda each: each.key),
        peers=sorted(peers, key=lambda each: each.member),
    )


def is_backed(message: Kind, papers: Sequence[Admission], reader: Reader) -> bool:
    """Whether every key in it is one that the ledger has already, or its holder has signed for in a paper."""
    match message:
        case to_members.Admit():
            return any(paper.admit == message for paper in papers)
        case to_network.Convert():
            offered = [(each.admit.member, each.ordering) for each in papers if each.ordering is not None]
            keys = {(member, ordering.key) for member, ordering in offered}
            peers = {(member, ordering.peer) for member, ordering in offered}
            named = all((each.member, each.key) in keys for each in message.validators)
            return named and all((each.member, each.address) in peers for each in message.peers)
        case to_network.SetValidators():
            known = {(each.member, each.key) for each in network.validators(reader)}
            known |= {(each.admit.member, each.ordering.key) for each in papers if each.ordering is not None}
            return all((each.member, each.key) in known for each in message.validators)
        case _:
            return True


def told(message: Kind, reader: Reader) -> list[str]:
    """What it decides, in words for people: all of it, so that nobody signs what they were not told."""
    match message:
        case to_members.Admit():
            roles, where = ", ".join(message.roles), ", ".join(message.endpoints)
            said = [
                f"{message.name} becomes a member ({roles}), under the law of {message.jurisdiction}, at {where}.",
                f"It is {message.member}.",
                f"Its key, to be compared by voice: {multikey_text(message.key)}",
            ]
        case to_members.Suspend():
            said = [f"{_who(reader, message.member)} is suspended: no receipt, no release to it, no vote on blocks."]
        case to_members.Reinstate():
            said = [f"{_who(reader, message.member)} may act again; whether it orders blocks is decided apart."]
        case to_network.Brake():
            what = "receipts and releases" if message.scope == "receipts" else "all but reads, revocations and erasures"
            said = [f"The brake is pulled: {what} stop until {moment(message.until)}.", f"Why: {message.reason}"]
        case to_network.EndBrake():
            said = ["The brake ends."]
        case to_network.SetAuthorities():
            names = ", ".join(_who(reader, did) for did in message.authorities.dids)
            said = [f"From now on these decide, {message.authorities.quorum} of them together: {names}."]
        case to_network.SetValidators():
            said = _told_of_validators(message, reader)
        case to_network.Upgrade():
            said = [f"From block {message.height:,} on, version {message.version} of the rules counts."]
        case to_network.CancelUpgrade():
            said = ["The upgrade that waits is called off."]
        case to_network.Convert():
            said = [f"After block {message.height:,} no single key orders blocks any more; all of these do, together:"]
            reached = {each.member: each.address for each in message.peers}
            said += [
                f"  {_who(reader, each.member)}, votes: {each.power}, at {reached.get(each.member, 'no address')}, "
                f"key {multikey_text(each.key)}"
                for each in message.validators
            ]
            said.append("More than two thirds of these votes have to be there then, or no block is made.")
        case to_network.CancelConvert():
            said = ["The conversion that waits is called off: one key goes on ordering blocks."]
    return said


def _told_of_validators(message: to_network.SetValidators, reader: Reader) -> list[str]:
    said = ["From now on blocks are ordered by these, and by nobody else:"]
    now = {each.key: each for each in network.validators(reader)}
    for each in message.validators:
        known = now.pop(each.key, None)
        change = "" if known == each else ", new" if known is None else f", {known.power} until now"
        said.append(f"  {_who(reader, each.member)}, votes: {each.power}{change}, key {multikey_text(each.key)}")
    gone = ", ".join(_who(reader, each.member) for each in now.values())
    return [*said, f"No more: {gone}."] if gone else said


def moment(at: Seconds) -> str:
    """A time for people."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def name_of(reader: Reader, did: Did) -> str:
    """What people call a member; its DID where the ledger knows none."""
    known = members.member(reader, did)
    return did if known is None else known.name


def _who(reader: Reader, did: Did) -> str:
    """Two members may have one name."""
    return f"{name_of(reader, did)} ({did})"
