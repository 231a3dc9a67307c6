"""What goes in comes out: records of several patients, imported, shared, opened elsewhere, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support import synthea
from tests.support.round_trip import round_trip


@pytest.mark.slow
@pytest.mark.promise("P5")
def test_three_patients_come_out_as_they_went_in(tmp_path: Path) -> None:
    with LocalMesh(tmp_path / "mesh", SettableClock()) as mesh:
        for bundle in synthea.directory():
            mesh.member("hospital").source(mesh).import_bundle(bundle)
        smallest = list(synthea.sizes())[:3]
        counts = [round_trip(mesh, data, tmp_path) for data in synthea.read(*smallest)]
    assert len(counts) == 3
    assert sum(counts) > 900
