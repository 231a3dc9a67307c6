"""Nothing personal in what a mesh keeps outside wallets: ledgers, release logs, blocks, vaults, events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caremesh.fhir import samples
from caremesh.fhir.categories import ALL
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from caremesh.testing.main_job import MainJob
from caremesh.types import DAY_S
from tests.support.canaries import MIN_CHARACTERS, texts


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mesh")
    assert MainJob(folder).run().kept
    return folder / "mesh"


@pytest.fixture(scope="module")
def personal(mesh: Path) -> list[bytes]:
    """Texts of the patient's records, but for words that the founding document has before there was a patient."""
    bundle = json.loads(samples.patient())
    found = {text for entry in bundle["entry"] for text in texts(entry["resource"]) if len(text) >= MIN_CHARACTERS}
    patient = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Patient")
    found |= {text for text in texts([patient["name"], patient["address"], patient["telecom"]]) if len(text) >= 7}
    founding = (mesh / "founding.cbor").read_bytes()
    return sorted(text.encode() for text in found if text.encode() not in founding)


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_no_text_of_a_record_is_in_any_file(mesh: Path, personal: list[bytes]) -> None:
    files = [path for path in sorted(mesh.rglob("*")) if path.is_file()]
    assert len(personal) > 1_000
    assert sum(path.stat().st_size for path in files) > 1_000_000
    listed = directory()
    for path in files:
        data = path.read_bytes()
        # A member's directory names hospitals and those who work there, and nobody else.
        allowed = listed if path.parent.name == "directory" else b""
        leaked = [text for text in personal if text in data and text not in allowed]
        assert not leaked, path.relative_to(mesh)


def directory() -> bytes:
    """The organisations, places and practitioners that the samples have."""
    bundles = [json.loads(data) for data in (*samples.directory(), samples.patient())]
    kinds = ("Organization", "Practitioner", "PractitionerRole", "Location")
    resources = [entry["resource"] for bundle in bundles for entry in bundle["entry"]]
    return json.dumps([each for each in resources if each["resourceType"] in kinds], ensure_ascii=False).encode()


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_the_ledger_names_no_category(mesh: Path) -> None:
    categories = [name.encode() for name in ALL if name not in ("claims", "documents", "imaging")]
    for path in sorted(mesh.glob("*/ledger/data.mdb")):
        data = path.read_bytes()
        assert not [name for name in categories if len(name) >= MIN_CHARACTERS and name in data]


@pytest.mark.slow
@pytest.mark.promise("P1")
def test_no_two_streams_share_a_value_that_could_tie_them_together(mesh: Path) -> None:
    """Keys, permits, commitments and ids of streams are all different; what they share, everybody's have."""
    from caremesh.contracts.streams.state import STREAMS, Stream

    clock = SettableClock()
    clock.advance(4 * DAY_S)  # the main job has moved its clock ahead
    with LocalMesh(mesh, clock) as opened:
        events = [event.attributes for _, event in opened.engine.subscribe() if event.type == "streams/opened"]
        streams = [STREAMS.get(opened.engine.reader(), attributes["stream"]) for attributes in events]
    found: list[Stream] = [stream for stream in streams if stream is not None]
    assert len(found) >= 16
    for field in ("id", "key", "reading_key", "permit"):
        values = [getattr(stream, field) for stream in found]
        assert len(set(values)) == len(values), field
