"""``caremesh import`` and ``caremesh read`` as a person runs them: files of every kind, filters, plots, refusals."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caremesh.fhir import samples
from caremesh.fhir.references import references

pytestmark = pytest.mark.slow


class Shell:
    """Commands on one home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = os.environ | {
            "CAREMESH_HOME": str(folder / "home"),
            "CAREMESH_PASSPHRASE": "pass",
            "COLUMNS": "100",
        }
        self("wallet", "create")

    def __call__(self, *words: str, code: int = 0) -> str:
        program = str(Path(sys.executable).parent / "caremesh")
        done = subprocess.run([program, *words], env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def told(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code))

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    made = Shell(tmp_path_factory.mktemp("records"))
    hospitals, practitioners = samples.directory()
    files = [
        made.file("hospitals.json", hospitals),
        made.file("practitioners.json.gz", gzip.compress(practitioners)),
        made.file("patient.json.gz", gzip.compress(samples.patient())),
    ]
    report = made.told("import", *files)
    assert (sum(report["records"].values()), report["directory"], report["refused"]) == (570, 193, [])
    assert any("us-core-patient" in what for what in report["not_checked"])
    made("wallet", "share", "laboratory", "vital-signs", "conditions")
    return made


def test_filters_and_shapes(shell: Shell) -> None:
    entries = json.loads(samples.patient())["entry"]
    originals = {entry["resource"]["id"]: entry["resource"] for entry in entries}
    bundle = shell.told("read", "laboratory", "conditions", "--type", "Condition", "--since", "2022-01-01")
    shown = [entry["resource"] for entry in bundle["entry"]]
    assert shown
    assert all(originals[each["id"]] == each and each["resourceType"] == "Condition" for each in shown)
    assert all(entry["fullUrl"] == f"urn:uuid:{entry['resource']['id']}" for entry in bundle["entry"])
    assert all(each["onsetDateTime"] >= "2022" or "abatementDateTime" not in each for each in shown)
    lines = shell("read", "vital-signs", "--code", "http://loinc.org|29463-7", "--show", "fhir")
    assert lines.count('"resourceType": "Observation"') == lines.count('"code": "29463-7"') > 3
    table = shell("read", "vital-signs", "--code", "8480-6", "--until", "2022-03-31")
    assert "Systolic Blood Pressure" in table
    assert "Diastolic" not in table
    assert "2023-" not in table


def test_a_plot_of_numbers_over_time(shell: Shell) -> None:
    plot = shell("read", "vital-signs", "--code", "29463-7", "--show", "plot")
    assert "Body Weight" in plot
    assert "(kg)" in plot
    assert sum("⠀" in line for line in plot.splitlines()) >= 10
    assert "no series" in shell("read", "conditions", "--show", "plot")
    assert "cli.10" in shell("read", "conditions", "--since", "yesterday", code=3)


def test_lines_and_single_resources_and_what_is_refused(shell: Shell) -> None:
    patient = next(
        entry["resource"]["id"]
        for entry in json.loads(samples.patient())["entry"]
        if entry["resource"]["resourceType"] == "Patient"
    )
    observation = {
        "resourceType": "Observation",
        "id": "new-1",
        "status": "final",
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"text": "Sodium"},
        "subject": {"reference": f"Patient/{patient}"},
        "valueQuantity": {"value": 140, "unit": "mmol/l"},
    }
    single = shell.told("import", shell.file("single.json", json.dumps(observation).encode()))
    assert single["records"] == {"laboratory": 1}
    rows = [
        observation | {"id": "new-2"},
        observation | {"id": "new-3", "status": "perhaps"},
        observation | {"id": "new-4", "subject": {"reference": "Patient/nobody"}},
    ]
    lines = "\n".join(map(json.dumps, rows)).encode()
    report = shell.told("import", shell.file("more.ndjson", lines), code=3)
    assert report["records"] == {"laboratory": 1}
    assert [(row["place"], row["code"]) for row in report["refused"]] == [("line 2", "fhir.30"), ("line 3", "fhir.32")]
    assert report["refused"][0]["issues"][0]["expression"] == ["Observation.status"]
    assert shell.told("import", shell.file("more.ndjson", lines), code=3)["unchanged"] == 1

    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": row} for row in rows]}
    data = json.dumps(bundle).encode()
    answer = shell.told("import", shell.file("whole.json", data), code=3)
    assert answer["error"] == "fhir.31"
    assert {row["place"] for row in answer["refused"]} == {"entry[1]", "entry[2]"}
    told = shell("import", str(shell.folder / "whole.json"), code=3)
    assert "Observation.status" in told
    assert "fhir.31" in told


def test_the_directory_of_the_source_comes_along_when_asked_for(shell: Shell) -> None:
    alone = shell.told("read", "laboratory")["entry"]
    more = shell.told("read", "laboratory", "--directory")["entry"]
    assert [entry["resource"] for entry in more[: len(alone)]] == [entry["resource"] for entry in alone]
    added = [entry["resource"] for entry in more[len(alone) :]]
    asked = {reference for entry in alone for _, reference in references(entry["resource"]) if "?" in reference}
    named = {
        f"{one['resourceType']}?identifier={each['system']}|{each['value']}"
        for one in added
        for each in one["identifier"]
    }
    assert {one["resourceType"] for one in added} == {"Organization"}
    assert asked <= named
