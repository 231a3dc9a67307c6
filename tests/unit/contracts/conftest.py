"""Every test of a contract gets a world of its own."""

import pytest

from tests.support.world import World


@pytest.fixture
def world() -> World:
    """A ledger state with founders."""
    return World()
