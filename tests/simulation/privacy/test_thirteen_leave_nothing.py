"""All thirteen patients whole, 97 MB: no text of theirs is in anything that a mesh keeps or says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import synthea
from tests.support.canaries import personal
from tests.support.told import Told, as_json, check


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.promise("P1")
def test_no_text_of_thirteen_whole_patients_gets_out(tmp_path: Path) -> None:
    bundles = [as_json(data) for data in synthea.read(*synthea.sizes())]
    told = Told(tmp_path, bundles, synthea.directory())
    wanted = set().union(*map(personal, bundles))
    assert len(wanted) > 50_000
    check(told, wanted)
