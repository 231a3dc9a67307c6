"""What a block's events name that a custodian may keep something of."""

from __future__ import annotations

from typing import NamedTuple

from caremesh.ledger.application import Event
from caremesh.types import ConsentId, StreamId


class Touched(NamedTuple):
    """What events name that a custodian may keep something of."""

    consents: list[ConsentId]
    redelegated: list[ConsentId]
    streams: list[StreamId]
    erased: list[StreamId]

    @property
    def registered(self) -> list[StreamId]:
        """Streams with something new or changed, each once."""
        return sorted(set(self.streams))

    def add(self, event: Event) -> None:
        """Take in one event."""
        about = event.attributes
        if event.type == "consent/redelegated":
            self.redelegated.append(about["consent"])
        elif event.type.startswith("consent/") and "consent" in about:
            self.consents.append(about["consent"])
        elif event.type.startswith("records/"):
            self.streams.append(about["stream"])
            if event.type == "records/erased":
                self.erased.append(about["stream"])
