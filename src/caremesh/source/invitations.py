"""Invitations at a member: a one-time claim code for a patient who is to enrol, bound to that patient when it is made.

Whose records a wallet gets is decided here, and a mistake is the worst there is, so:
- a code is bound to one patient, once; a new one for the same patient ends the older ones;
- it ends when it is used, expires, or was typed wrong ``MAX_TRIES`` times (an invitation's id is no secret);
- a patient who has a wallet here gets another only where the front desk says ``again``: the new one takes its place;
- a wallet that is enrolled here as one patient is never enrolled as a second;
- what the front desk sees afterwards names the patient, and six digits that the wallet shows too.

Invitation and profile change in one write: after a crash both are there, or neither. Only a hash of a code is kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hmac import compare_digest
from typing import Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.errors import BadInput, ErrorCode, Refused
from caremesh.sealing import channel
from caremesh.sealing.channel import SealingProfile
from caremesh.sealing.invitation import check_words, code_digest, new_code, read_claim
from caremesh.source.profiles import Profiles
from caremesh.types import DAY_S, Bytes8, Count, Did, Digest, Seconds

MAX_TRIES: Final = 5
LIFE_S: Final[Seconds] = 14 * DAY_S
MAX_LIFE_S: Final[Seconds] = 90 * DAY_S
MAX_INVITATIONS: Final = 100_000
MAX_PATIENT_BYTES: Final = 200
_PREFIX: Final = "invitation/"

Standing: TypeAlias = Literal["open", "used", "expired", "ended", "wrong-code"]

NO_INVITATION = ErrorCode("relay.20", "There is no such invitation, or the code is wrong.", "Ask the front desk.")
USED = ErrorCode("relay.21", "This invitation was used already.", "If that was not you, tell the front desk at once.")
EXPIRED = ErrorCode("relay.22", "This invitation has expired.", "Ask the front desk for a new one.")
ENDED = ErrorCode("relay.23", "This invitation was ended, or replaced by a newer one.", "Use the newest.")
TOO_MANY_TRIES = ErrorCode(
    "relay.24", "The code was wrong too often: this invitation counts no more.", "Ask the front desk for a new one."
)
HAS_WALLET = ErrorCode(
    "relay.25",
    "This patient is enrolled with a wallet already.",
    "Make sure who it is; then invite `--again`: the new wallet takes the old one's place.",
)
OTHER_PATIENT = ErrorCode(
    "relay.26",
    "This wallet is enrolled here as another patient.",
    "The front desk has to make sure who it is: one wallet is one person.",
)
BAD_INVITATION = ErrorCode(
    "relay.27", "A patient's id is 1 to 200 bytes without a slash; a code lives at most 90 days."
)
TOO_MANY_INVITATIONS = ErrorCode("relay.28", "This member has as many invitations as it can keep.", "End some.")


class Invited(Struct, frozen=True, kw_only=True):
    """One invitation, as the member keeps it.

    ``number``: in the order in which they were made; ``digest``: of its code; ``channel_key``: who has claimed it.
    """

    id: Bytes8
    number: Count
    patient: str
    digest: Digest
    made: Seconds
    expires: Seconds
    again: bool = False
    tries: Count = 0
    ended: bool = False
    used: Seconds = 0
    channel_key: bytes = b""

    def __repr__(self) -> str:
        return f"Invited({self.id.hex()})"

    def standing(self, now: Seconds) -> Standing:
        """Where it stands."""
        if self.used:
            return "used"
        if self.tries >= MAX_TRIES:
            return "wrong-code"
        if self.ended:
            return "ended"
        return "open" if now < self.expires else "expired"

    @property
    def check(self) -> str:
        """What the wallet that claimed it shows; empty before."""
        return check_words(self.channel_key) if self.channel_key else ""


class Invitations:
    """One member's. Owns its part of the vault; any thread may call."""

    def __init__(self, chain: str, did: Did, hpke_private: bytes, vault: Vault, clock: Callable[[], Seconds]) -> None:
        self._chain: Final = chain
        self._did: Final = did
        self._hpke_private: Final = hpke_private
        self._vault: Final = vault
        self._profiles: Final = Profiles(vault)
        self._clock: Final = clock
        self._lock: Final = threading.Lock()

    def invite(self, patient: str, life_s: Seconds = LIFE_S, *, again: bool = False) -> tuple[Invited, str]:
        """An invitation for one patient (the member's own id), and its code, which is shown once.

        Raises BadInput relay.27; Refused relay.25, relay.28; StorageFailed.
        """
        if not 1 <= len(patient.encode()) <= MAX_PATIENT_BYTES or "/" in patient or not 1 <= life_s <= MAX_LIFE_S:
            raise BadInput(BAD_INVITATION)
        with self._lock:
            if self._profiles.of(patient) is not None and not again:
                raise Refused(HAS_WALLET)
            names = self._vault.names(_PREFIX)
            if len(names) >= MAX_INVITATIONS:
                raise Refused(TOO_MANY_INVITATIONS)
            now, identity, code = self._clock(), os.urandom(8), new_code()
            every = self._all()
            made = Invited(
                id=identity,
                number=1 + max((known.number for known in every), default=0),
                patient=patient,
                digest=code_digest(identity, code),
                made=now,
                expires=now + life_s,
                again=again,
            )
            older = [replace(known, ended=True) for known in every if known.patient == patient and not known.used]
            self._vault.put({_name(each.id): codec.encode(each) for each in [*older, made]})
        return made, code

    def listed(self, patient: str = "") -> list[Invited]:
        """All invitations, or one patient's, the oldest first."""
        with self._lock:
            mine = [known for known in self._all() if patient in ("", known.patient)]
            return sorted(mine, key=lambda known: known.number)

    def end(self, identity: bytes) -> Invited:
        """Let an invitation count no more. Raises Refused relay.20, relay.21 when it was used."""
        with self._lock:
            known = self._get(identity)
            if known.used:
                raise Refused(USED)
            ended = replace(known, ended=True)
            self._vault.put({_name(identity): codec.encode(ended)})
            return ended

    def claim(self, data: bytes) -> str:
        """A wallet claims an invitation with its code, and is enrolled as that patient: the six digits to compare.

        The same wallet again gets the same answer. Raises Tampered custody.NN, relay.04; Refused relay.20 to relay.26,
        source.10.
        """
        said = read_claim(self._chain, self._did, data)
        with self._lock:
            known, now = self._get(said.invitation), self._clock()
            if known.tries >= MAX_TRIES:
                raise Refused(TOO_MANY_TRIES)
            if not compare_digest(code_digest(known.id, said.code), known.digest):
                self._vault.put({_name(known.id): codec.encode(replace(known, tries=known.tries + 1))})
                raise Refused(NO_INVITATION)
            profile = channel.hear_profile(self._chain, self._did, self._hpke_private, said.profile)
            if profile.channel_key != said.channel_key:
                raise Refused(NO_INVITATION)
            self._check(known, profile, now)
            taken = replace(known, used=known.used or now, channel_key=said.channel_key)
            self._profiles.keep(known.patient, profile, {_name(known.id): codec.encode(taken)})
            return taken.check

    def _check(self, known: Invited, profile: SealingProfile, now: Seconds) -> None:
        """Whether this wallet may be this patient's. Raises Refused relay.21 to relay.23, relay.25, relay.26."""
        same = known.channel_key == profile.channel_key
        standing = known.standing(now)
        if standing == "used" and not same:
            raise Refused(USED)
        if standing == "expired":
            raise Refused(EXPIRED)
        if standing == "ended":
            raise Refused(ENDED)
        if self._profiles.patient_of(profile.channel_key) not in (None, known.patient):
            raise Refused(OTHER_PATIENT)
        stored = self._profiles.of(known.patient)
        other = stored is not None and stored.channel_key != profile.channel_key
        if other and (not known.again or standing == "used"):
            raise Refused(HAS_WALLET)

    def _all(self) -> list[Invited]:
        stored = [self._vault.get(name) for name in self._vault.names(_PREFIX)]
        return [codec.decode_as(data, Invited) for data in stored if data is not None]

    def _get(self, identity: Bytes8) -> Invited:
        data = self._vault.get(_name(identity))
        if data is None:
            raise Refused(NO_INVITATION)
        return codec.decode_as(data, Invited)


def _name(identity: Bytes8) -> str:
    return f"{_PREFIX}{identity.hex()}"
