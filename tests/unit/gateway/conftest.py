"""One mesh for each module, and in it a patient of their own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.crypto import envelope
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.case import Case


@pytest.fixture(scope="module", autouse=True)
def _least_effort() -> Iterator[None]:
    """A passphrase is stretched no longer than a wallet's file has to ask for: every test makes a wallet."""
    patch = pytest.MonkeyPatch()
    patch.setattr(envelope, "_COST", envelope._Cost(memory_kib=19_456, passes=1, lanes=1))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("gateway") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    """A patient with records 1 and 2 in one segment."""
    made = Case(mesh, tmp_path)
    made.add(1, 2)
    mesh.confirmations.clear()
    return made
