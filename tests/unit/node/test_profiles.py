"""The folder of installed packages: what it takes, what it names, what imports and ``doctor`` make of it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from caremesh.errors import BadInput
from caremesh.fhir.entries import read_entry, split
from caremesh.node import profiles
from caremesh.node.diagnosis import diagnose
from caremesh.node.profiles import checking, installed
from caremesh.source.survey import valid_r4

URL = "http://example.org/StructureDefinition/dated"
SNAPSHOT = {
    "element": [
        {"id": "Patient", "path": "Patient", "min": 0, "max": "*"},
        {"id": "Patient.birthDate", "path": "Patient.birthDate", "min": 1, "max": "1", "type": [{"code": "date"}]},
    ]
}


def package(path: Path, **definition: Any) -> None:
    """A package with one profile."""
    data = json.dumps({"resourceType": "StructureDefinition", "url": URL, "type": "Patient"} | definition).encode()
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/StructureDefinition-dated.json")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    path.write_bytes(held.getvalue())


def patient(**fields: Any) -> Any:
    data = json.dumps({"resourceType": "Patient", "id": "p", "meta": {"profile": [URL]}} | fields).encode()
    return read_entry(split(data).entries[0])


def test_a_declared_profile_counts_once_its_package_is_there(tmp_path: Path) -> None:
    before = checking(tmp_path)(patient())
    assert before.valid
    assert before.not_checked == [f"profile {URL}: it is not installed"]
    package(tmp_path / "dated.tgz", snapshot=SNAPSHOT)
    check = checking(tmp_path)
    assert [issue.expression for issue in check(patient()).issues] == ["Patient.birthDate"]
    assert check(patient(birthDate="1980-02-03")).valid
    assert check(patient(birthDate="1980-02-03")).not_checked == []


def test_without_packages_it_is_plain_r4(tmp_path: Path) -> None:
    assert checking(tmp_path / "nowhere") is valid_r4
    (tmp_path / "notes.txt").write_text("not a package")
    assert checking(tmp_path) is valid_r4


def test_packages_are_taken_together(tmp_path: Path) -> None:
    package(tmp_path / "a.tgz", snapshot=SNAPSHOT)
    package(tmp_path / "b.tgz", url=f"{URL}-too")
    found = installed(tmp_path)
    assert (found.packages, found.usable, found.bare) == (2, 1, 1)


def test_what_is_no_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.tgz").write_bytes(b"no package")
    with pytest.raises(BadInput, match=r"fhir\.45.*broken\.tgz"):
        installed(tmp_path)
    monkeypatch.setattr(profiles, "MAX_PACKAGE_BYTES", 3)
    with pytest.raises(BadInput, match=r"node\.11.*broken\.tgz"):
        installed(tmp_path)


def test_doctor_tells_what_is_installed(tmp_path: Path) -> None:
    def told() -> tuple[bool, str]:
        [finding] = [finding for finding in diagnose(tmp_path) if finding.check == "profiles"]
        return finding.ok, finding.found

    assert told() == (True, "no packages")
    folder = tmp_path / profiles.FOLDER
    folder.mkdir()
    package(folder / "a.tgz", snapshot=SNAPSHOT)
    assert told() == (True, "1 packages with 1 profiles")
    package(folder / "b.tgz", url=f"{URL}-too")
    assert told() == (False, "2 packages with 1 profiles, 1 without snapshot")
    (folder / "c.tgz").write_bytes(b"")
    assert told() == (False, "fhir.45 c.tgz")
