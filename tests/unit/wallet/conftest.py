"""One mesh for each module, and in it a patient of their own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.case import Case


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("wallet") / "mesh", SettableClock()) as made:
        yield made


@pytest.fixture
def case(mesh: LocalMesh, tmp_path: Path) -> Case:
    """A patient with two segments of a stream: records 1 and 2, and record 3."""
    made = Case(mesh, tmp_path)
    made.add(1, 2)
    made.add(3)
    mesh.confirmations.clear()
    return made
