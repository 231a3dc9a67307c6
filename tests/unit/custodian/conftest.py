"""Three custodians over a ledger state in memory, for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.keepers import Keepers


@pytest.fixture
def keepers(tmp_path: Path) -> Iterator[Keepers]:
    made = Keepers(tmp_path)
    yield made
    made.close()
