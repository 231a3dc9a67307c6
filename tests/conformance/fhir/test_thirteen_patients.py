"""The thirteen patients and both directory files: nothing of them is refused, and HAPI accepts all of it."""

from __future__ import annotations

import json

import pytest

from tools import fhir_patients


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_refused_of_the_patients_is_what_the_page_says_and_hapi_agrees() -> None:
    kept = json.loads(fhir_patients.KEPT.read_text("utf-8"))["files"]
    looked = [fhir_patients.look(name, data) for name, data in fhir_patients.files()]
    assert [one.name for one in looked] == list(kept)
    assert {one.name: (len(one.raws), one.refused) for one in looked} == {
        name: (said["resources"], [tuple(each) for each in said["refused"]]) for name, said in kept.items()
    }
    assert (len(looked), sum(len(one.raws) for one in looked)) == (15, 34_089)
    for name, said in kept.items():
        assert len(said["refused"]) == said["resources"] - said["accepted_by_hapi"] == 0, name
