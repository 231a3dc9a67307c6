"""A patient whose share is known to the word, for tests that only look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caremesh.crypto.keys import SigningKey
from caremesh.node.mesh import LocalMesh
from caremesh.types import DAY_S
from caremesh.wallet import change
from caremesh.wallet import state as states
from caremesh.wallet.change import Narrower
from caremesh.wallet.state import ShareRecord
from tests.support.case import Case


class Known(Case):
    """A patient who shares two categories for two purposes; records 1 to 3 are in two segments of one of them."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        super().__init__(mesh, folder)
        self.add(1, 2)
        self.add(3)
        self.given = self.share(categories=("conditions", "laboratory"), purposes=["COC", "TREAT"], days=30)
        self.at = self.clock()

    @property
    def record(self) -> ShareRecord:
        return self.given.record

    @property
    def consents(self) -> dict[str, bytes]:
        return {item.category: item.consent for item in self.record.items}

    @property
    def today(self) -> int:
        return self.at // DAY_S * DAY_S

    def narrowed(self, **less: Any) -> dict[str, object]:
        """The messages by category, each signed by its stream's key."""
        found = change.narrowings(self.wallet.state, self.record, self.reader, self.at, Narrower(**less))
        return self.by_category(found)

    def by_category(self, changes: Sequence[tuple[SigningKey, Any]]) -> dict[str, object]:
        keys = {
            located.keys.signing(0).public: located.stream.category for located in states.streams(self.wallet.state)
        }
        assert len({key.public for key, _ in changes}) == len(changes)
        return {keys[key.public]: message for key, message in changes}
