"""The sealing profiles that a source has: one a patient, and whose wallet a channel key is.

profile/<patient>         the profile
wallet/<channel key>      the patient: one wallet is one person here
"""

from __future__ import annotations

from typing import Final

from caremesh import codec
from caremesh.blobs.vault import Vault
from caremesh.contracts.streams.messages import Permit
from caremesh.errors import Refused
from caremesh.sealing.channel import ProfileEntry, SealingProfile
from caremesh.source.errors import OLDER_PROFILE
from caremesh.source.here import profile_name
from caremesh.types import Count, Multikey

_WALLET: Final = "wallet/"


class Profiles:
    """One source's, in its vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault: Final = vault

    def of(self, patient: str) -> SealingProfile | None:
        """A patient's profile, or None. Raises Tampered vault.02, StorageFailed."""
        stored = self._vault.get(profile_name(patient))
        return None if stored is None else codec.decode_as(stored, SealingProfile)

    def patient_of(self, channel_key: Multikey) -> str | None:
        """Whose wallet has this channel key, or None."""
        stored = self._vault.get(_WALLET + channel_key.hex())
        return None if stored is None else stored.decode()

    def keep(self, patient: str, profile: SealingProfile, others: dict[str, bytes] | None = None) -> None:
        """Keep a patient's profile, and other objects in the same write. Another wallet's before it is forgotten.

        Raises Refused source.10 for one of the same wallet that is older than the one here; StorageFailed.
        """
        known = self.of(patient)
        gone = []
        if known is not None and known.channel_key == profile.channel_key:
            _check_newer(known, profile)
        elif known is not None:
            gone = [_WALLET + known.channel_key.hex()]
        self._vault.put(
            {
                profile_name(patient): codec.encode(profile),
                _WALLET + profile.channel_key.hex(): patient.encode(),
                **(others or {}),
            }
        )
        self._vault.destroy(gone)


def _check_newer(known: SealingProfile, profile: SealingProfile) -> None:
    """Who carried the older one may hand it in again; it would bring back what a new one has ended."""
    before = {entry.stream: _serial(entry) for entry in known.entries}
    for entry in profile.entries:
        if _serial(entry) < before.get(entry.stream, 0):
            raise Refused(OLDER_PROFILE)


def _serial(entry: ProfileEntry) -> Count:
    return codec.decode_as(entry.permit.permit, Permit).serial
