"""The commands as a person runs them: in processes of their own, one after the other, on one folder."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caremesh.fhir import samples

pytestmark = pytest.mark.slow

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``caremesh`` with a home and a passphrase of its own."""
    environment = os.environ | {
        "CAREMESH_HOME": str(tmp_path / "home"),
        "CAREMESH_PASSPHRASE": "pass",
        "COLUMNS": "120",
    }

    def command(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).parent / "caremesh")
        return subprocess.run([program, *words], env=environment | changes, capture_output=True, text=True, check=False)

    return command


def told(result: subprocess.CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


@pytest.mark.promise("P5")
def test_a_damaged_copy_of_the_ledger_is_made_anew_from_a_snapshot(run: Run, tmp_path: Path) -> None:
    told(run("wallet", "create", "--json"))
    file = str(tmp_path / "today.snapshot")
    taken = told(run("ledger", "snapshot", "--out", file, "--json"))
    assert taken["size_bytes"] == Path(file).stat().st_size
    told(run("import", "sample", "--json"))
    data = tmp_path / "home" / "mesh" / "hospital" / "ledger" / "data.mdb"
    damaged = bytearray(data.read_bytes())
    for at in range(8_192, len(damaged), 64):
        damaged[at] ^= 0xFF
    data.write_bytes(damaged)
    noticed = run("ledger", "show")
    assert noticed.returncode in (5, 6)
    assert "ledger.3" in noticed.stderr
    done = told(run("ledger", "restore", file, "--member", "hospital", "--json"))
    assert done["from"] == taken["height"] < done["height"]
    assert told(run("ledger", "show", "--json"))["replicas_agreeing"] == 4
    assert told(run("ledger", "verify", "--json"))["from"] == 0
    assert "every app hash is the same" in run("ledger", "verify").stdout
    again = run("ledger", "restore", str(data), "--member", "hospital")
    assert (again.returncode, "node.08" in again.stderr) == (5, True)
    assert run("ledger", "restore", "nothing").returncode == 3


@pytest.mark.promise("P9")
def test_from_wallet_to_revocation_and_back_from_the_phrase(run: Run, tmp_path: Path) -> None:
    phrase = told(run("wallet", "create", "--json"))["phrase"]
    assert len(phrase) == 24
    report = told(run("import", "sample", "--json"))
    assert report["records"]["laboratory"] == 100
    assert told(run("import", "sample", "--json"))["segments"] == 0
    shared = told(run("wallet", "share", "laboratory", "medications", "--json"))
    bundle = told(run("read", "laboratory", "--json"))
    originals = {r["resource"]["id"]: r["resource"] for r in json.loads(samples.patient())["entry"]}
    assert len(bundle["entry"]) == 100
    assert all(originals[entry["resource"]["id"]] == entry["resource"] for entry in bundle["entry"])
    denied = run("read", "laboratory", "--purpose", "HPAYMT")
    assert (denied.returncode, "access.11" in denied.stderr) == (4, True)
    audit = told(run("wallet", "audit", "--json"))
    assert [(row["outcome"], row["released"]) for row in audit["accesses"]] == [("refused", "no"), ("permitted", "yes")]
    assert audit["findings"] == []

    receipt = audit["accesses"][1]["receipt"]
    proof = str(tmp_path / "proof.cbor")
    assert told(run("ledger", "prove", "receipt", receipt, "--out", proof, "--json"))["present"]
    assert told(run("ledger", "verify", proof, "--json"))["present"]
    assert not told(run("ledger", "prove", "receipt", "00" * 32, "--out", proof, "--json"))["present"]
    assert not told(run("ledger", "verify", proof, "--json"))["present"]
    data = bytearray(Path(proof).read_bytes())
    data[-1] ^= 1
    Path(proof).write_bytes(data)
    assert run("ledger", "verify", proof).returncode == 5
    assert told(run("ledger", "verify", "--json"))["verified"]

    saved = str(tmp_path / "mine.audit")
    assert told(run("wallet", "dispute", receipt, "I was not there.", "--json"))["receipt"] == receipt
    told(run("wallet", "audit", "--save", saved, "--json"))
    verified = told(run("wallet", "audit", "--verify", saved, "--calendar", "--json"))
    assert [row["receipt"] for row in verified["accesses"]] == [None, receipt]
    assert [row["dispute"] for row in verified["accesses"]] == [None, "waiting"]
    assert (verified["complete"], verified["logs"]) == (True, {"expected": 48, "believed": 48})
    assert list(verified["days"].values()) == [{"refused": 1, "permitted": 1, "opened": 1}]
    assert "you questioned this: waiting" in run("wallet", "audit", "--verify", saved).stdout
    assert "Day: number of accesses" in run("wallet", "audit", "--calendar").stdout
    Path(saved).write_bytes(Path(saved).read_bytes()[:-1])
    assert run("wallet", "audit", "--verify", saved).returncode == 5
    assert run("wallet", "audit", "--verify", "nothing").returncode == 3

    other = str(tmp_path / "again.wallet")
    found = told(run("wallet", "restore", "--wallet", other, "--json", CAREMESH_PHRASE=" ".join(phrase)))
    assert (found["streams"], found["shares"]) == (21, 1), "those too that hold nothing yet"
    restored = told(run("wallet", "audit", "--wallet", other, "--json"))
    assert len(restored["accesses"]) == 2

    assert told(run("wallet", "revoke", shared["share"], "--json"))["fragments_destroyed"] == 6
    refused = run("read", "laboratory", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]) == (4, "access.10")
    assert told(run("ledger", "show", "--json"))["replicas_agreeing"] == 4
    assert all(finding["ok"] for finding in told(run("doctor", "--json")))


def test_doctor_names_a_damaged_block(run: Run, tmp_path: Path) -> None:
    run("wallet", "create")
    run("import", "sample")
    named = [path for path in (tmp_path / "home/mesh/hospital/blocks").rglob("b*") if not path.suffix]
    block = max(named, key=lambda path: path.stat().st_size)
    data = bytearray(block.read_bytes())
    data[0] ^= 1
    block.write_bytes(data)
    result = run("doctor", "--json")
    wrong = [finding for finding in json.loads(result.stdout) if not finding["ok"]]
    assert result.returncode == 1
    assert [finding["check"] for finding in wrong] == ["blocks of hospital"]
    assert block.name in wrong[0]["found"]


@pytest.mark.promise("P1")
def test_bad_input_gets_a_code_a_place_and_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    phrase = told(run("wallet", "create", "--json"))["phrase"]
    height = told(run("ledger", "show", "--json"))["height"]
    whole = samples.patient()
    entries = json.loads(whole)
    name = next(
        r["resource"]["name"][0]["family"] for r in entries["entry"] if r["resource"]["resourceType"] == "Patient"
    )
    without = {**entries, "entry": [e for e in entries["entry"] if e["resource"]["resourceType"] != "Patient"]}
    deep = b'{"resourceType":"Bundle","type":"collection","entry":[{"resource":' + b'{"a":' * 100_000
    files = {
        "cut.json": (whole[:-100], "fhir.02"),
        "latin1.json": (whole.replace(b'"resourceType"', b'"\xe4\xf6"', 1), "fhir.01"),
        "nobody.json": (json.dumps(without).encode(), "fhir.04"),
        "deep.json": (deep, "fhir.08"),
        "text.json": (b"not json", "fhir.02"),
        "cut.json.gz": (gzip.compress(whole)[:-100], "fhir.22"),
    }
    for file, (data, code) in files.items():
        (tmp_path / file).write_bytes(data)
        result = run("import", str(tmp_path / file))
        assert result.returncode == 3, (file, result.stderr)
        assert code in result.stderr, (file, result.stderr)
        assert "what to do" in result.stderr
        assert name not in result.stderr
    assert run("import", str(tmp_path / "missing.json")).returncode == 3

    wrong = run("wallet", "audit", CAREMESH_PASSPHRASE="wrong")
    assert (wrong.returncode, "envelope.03" in wrong.stderr) == (7, True)
    words = [*phrase]
    words[4] = "zzyzx"
    misspelt = run("wallet", "restore", "--wallet", str(tmp_path / "w"), CAREMESH_PHRASE=" ".join(words))
    assert (misspelt.returncode, "word 5" in misspelt.stderr) == (3, True)
    assert phrase[0] not in misspelt.stderr.split()
    assert not (tmp_path / "w").exists()
    assert run("wallet", "create").returncode == 4
    after = told(run("ledger", "show", "--json"))
    assert {event["type"] for event in after["events"]} == {"identity/registered", "members/appointed"}
    assert after["height"] > height


def test_a_file_where_the_home_should_be(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = run("wallet", "create", "--home", str(tmp_path / "file"))
    assert result.returncode == 6
    assert "Traceback" not in result.stderr


def test_demo_tells_programs_too(run: Run) -> None:
    story = told(run("demo", "--json"))
    assert story["kept"]
    assert len(story["steps"]) == 17


def test_every_command_has_help_with_an_example(run: Run) -> None:
    for words in (
        ["demo"], ["import"], ["read"], ["doctor"], ["wallet"], ["ledger"], ["policy"],
        *(["wallet", name] for name in ("create", "restore", "share", "revoke", "audit", "dispute")),
        *(["ledger", name] for name in ("show", "prove", "verify", "snapshot", "restore")),
        ["evidence"], ["evidence", "verify"],
        *(["policy", name] for name in ("example", "explain")),
    ):  # fmt: skip
        result = run(*words, "--help")
        assert result.returncode == 0
        assert "Example" in result.stdout, words
