"""All thirteen patients, 97 MB: imported, shared, opened elsewhere, byte for byte, references and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support import synthea
from tests.support.round_trip import round_trip


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.promise("P5")
def test_all_thirteen_patients_come_out_as_they_went_in(tmp_path: Path) -> None:
    with LocalMesh(tmp_path / "mesh", SettableClock()) as mesh:
        for bundle in synthea.directory():
            mesh.member("hospital").source(mesh).import_bundle(bundle)
        counts = [round_trip(mesh, data, tmp_path) for name in synthea.sizes() for data in synthea.read(name)]
    assert len(counts) == 13
    assert sum(counts) == 33_896
