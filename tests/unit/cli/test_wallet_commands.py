"""Every command of the wallet, as a person and as a program use it; in one process, on one folder."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from msgspec.structs import replace
from typer.testing import CliRunner

from caremesh import codec
from caremesh.cli.main import app
from caremesh.cli.wallet import opened_ways
from caremesh.crypto.signatures import multikey_text
from caremesh.errors import CareMeshError, Tampered, Unavailable
from caremesh.ledger import forks
from caremesh.ledger.blocks import HEADER_DOMAIN, HeaderSignature, SignedHeader
from caremesh.ledger.light import LightBlock
from caremesh.node.errors import NO_NODE
from caremesh.node.mesh import OPERATOR, LocalMesh
from caremesh.testing.person import Person
from caremesh.wallet import kept_network

pytestmark = pytest.mark.slow
PATIENT = "p1"
WATCH = ("wallet", "audit", "--verify")


class Terminal:
    """Commands one after the other, on one folder."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "CAREMESH_HOME": str(folder / "home"), "CAREMESH_PASSPHRASE": "a long sentence", "COLUMNS": "200",
        }  # fmt: skip
        self.folder = folder

    def say(self, *words: str) -> str:
        done = CliRunner().invoke(app, words, env=self.environment, catch_exceptions=True)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def json(self, *words: str) -> Any:
        return json.loads(self.say(*words, "--json"))

    def refused(self, *words: str) -> str:
        with pytest.raises(CareMeshError) as caught:
            self.say(*words)
        return caught.value.code

    def bring(self, *numbers: int) -> None:
        path = self.folder / "bundle.json"
        patient = {"resourceType": "Patient", "id": PATIENT, "gender": "other"}
        resources = [patient, *map(condition, numbers)]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": r} for r in resources]}
        path.write_text(json.dumps(bundle))
        self.say("import", str(path))


def condition(number: int, text: str = "Fever") -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
    return {
        "resourceType": "Condition",
        "id": f"c{number}",
        "clinicalStatus": {"coding": [{"system": system, "code": "active"}]},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "code": {"text": text},
    }


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    made = Terminal(tmp_path)
    made.phrase = made.json("wallet", "create")["phrase"]  # type: ignore[attr-defined]
    made.bring(1, 2)
    made.bring(3)
    return made


def test_see_grant_narrow_extend_and_take_back(terminal: Terminal) -> None:
    shown = terminal.say("wallet", "preview", "conditions", "--template", "second-opinion")
    assert "Elm Street Practice would see" in shown
    assert "0, 1" in shown
    assert "for TREAT (read)" in shown
    planned = terminal.json("wallet", "preview", "conditions", "--template", "insurer", "--with", "hospital")
    assert (planned["purposes"], planned["would_see"][0]["future"]) == (["HPAYMT"], False)
    assert terminal.json("wallet", "shares") == [], "to look is not to grant"
    words = ("wallet", "share", "conditions", "demographics", "--days", "9")
    share = terminal.json(*words)["share"]
    assert {row["status"] for row in terminal.json("wallet", "shares")} == {"active"}
    terminal.say("wallet", "narrow", share, "--only", "conditions", "--segments", "conditions=1", "--days", "3")
    rows = {row["category"]: row for row in terminal.json("wallet", "shares")}
    assert (rows["demographics"]["status"], rows["conditions"]["scope"]) == ("revoked", "segments 1")
    before = rows["conditions"]["until"]
    terminal.say("wallet", "extend", share, "--days", "20")
    assert terminal.json("wallet", "shares")[0]["until"] > before
    assert terminal.json("wallet", "redelegate") == {"consents": [], "custodians_missing": 0}
    terminal.say("rotate-key", "--as", "practice")
    assert "to be delegated anew" in terminal.say("wallet", "shares")
    assert len(terminal.json("wallet", "redelegate")["consents"]) == 1
    assert "Taken back" in terminal.say("wallet", "revoke", share)
    assert "revoked" in terminal.say("wallet", "shares")
    assert terminal.refused("wallet", "extend", share, "--days", "9") == "wallet.32"
    for wrong in ("conditions=x", "conditions"):
        done = CliRunner().invoke(app, [*words, "--segments", wrong], env=terminal.environment)
        assert done.exit_code == 2, done.output


def test_a_member_asks_and_is_answered(terminal: Terminal) -> None:
    terminal.say("wallet", "share", "conditions", "--days", "9")
    for answer in ("decline", "accept"):
        [offer] = terminal.json("ask", "conditions", "--purpose", "COC", "--why", "To plan your care.")["requests"]
        [open_] = [row for row in terminal.json("wallet", "requests") if row["status"] == "open"]
        assert (open_["request"], open_["who"], open_["why"]) == (offer, "Elm Street Practice", "To plan your care.")
        terminal.say("wallet", answer, offer)
    statuses = [row["status"] for row in terminal.json("wallet", "requests")]
    assert statuses == ["declined", "accepted"]
    assert [row["purposes"] for row in terminal.json("wallet", "shares")] == [["TREAT"], ["COC"]]
    assert "To plan your care." in terminal.say("wallet", "requests")
    assert terminal.refused("ask", "imaging", "--why", "Why not?") == "gateway.01"


def test_a_release_that_its_custodian_hides_is_found_and_shown_to_others(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.say("wallet", "share", "conditions", "--days", "9")
    kept = str(tmp_path / "got.releases")
    terminal.say("read", "conditions", "--releases", kept)
    told = terminal.json("wallet", "audit", "--releases", kept)
    assert (told["findings"], told["evidence"], told["complete"]) == ([], [], True)
    for log in (tmp_path / "home/mesh").glob("*/releases"):
        shutil.rmtree(log)  # every custodian forgets what it has released
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 120)  # what is being logged just now is no fault
    assert {row["kind"] for row in terminal.json("wallet", "audit")["findings"]} == {"not-anchored"}
    saved = str(tmp_path / "mine.audit")
    told = terminal.json("wallet", "audit", "--releases", kept, "--save", saved)
    assert [row["kind"] for row in told["findings"]].count("no-entry") == 4, "two segments, by two custodians each"
    assert len(told["evidence"]) == 4
    for file in told["evidence"]:
        assert "later told a log of 0 entries without that release" in terminal.say("evidence", "verify", file)
    kinds, again = ([row["kind"] for row in each["findings"]] for each in (told, terminal.json(*WATCH, saved)))
    assert kinds == again, "a saved audit holds the releases too"
    assert terminal.refused("wallet", "audit", "--releases", str(tmp_path / "none")) == "cli.01"
    assert terminal.refused("wallet", "audit", "--releases", saved) == "custody.01"


def test_new_epoch_drop_correct_retract_and_erase(terminal: Terminal, tmp_path: Path) -> None:
    terminal.say("wallet", "share", "conditions", "--days", "9")
    assert terminal.json("wallet", "new-epoch", "conditions")["to_be_delegated_anew"] == []
    terminal.say("wallet", "drop", "conditions", "0", "Condition/c1")
    assert [row["id"] for row in terminal.json("wallet", "records", "conditions")] == ["c2", "c3"]
    (tmp_path / "one.json").write_text(json.dumps(condition(3, "No fever")))
    assert terminal.json("correct", str(tmp_path / "one.json"))["segment"] == 2
    terminal.say("retract", PATIENT, "conditions", "2")
    assert "No fever" not in terminal.say("wallet", "records", "conditions")
    erased = terminal.json("wallet", "erase", "conditions", "0")
    assert (erased["confirmations"], erased["faults"], erased["to_complete"]) == (7, [], "")
    assert erased["unreadable"]
    told = terminal.say("wallet", "certificate", "conditions", "0", "--from", "hospital")
    assert "Erased. Nobody can open it any more." in told
    assert "7 confirmations are in" in told
    assert "has not confirmed" not in told
    found = terminal.json("evidence", "verify", erased["certificate"])
    assert (found["unreadable"], found["custodians_missing"]) == (True, [])
    said = terminal.say("evidence", "verify", erased["certificate"])
    assert "Nobody can open it any more" in said
    again = terminal.json("wallet", "certificate", "conditions", "0")
    assert again["confirmations"] == 7
    terminal.say("retract", PATIENT, "conditions", "1", "--duty", "GDPR:17.1.e")
    assert terminal.refused("retract", PATIENT, "conditions", "1") == "source.03"
    path = Path(erased["certificate"])
    path.write_bytes(path.read_bytes()[:-1])
    assert terminal.refused("evidence", "verify", str(path)) == "certificate.01"
    done = CliRunner().invoke(app, ["wallet", "drop", "conditions", "2", "c2"], env=terminal.environment)
    assert done.exit_code == 2


@pytest.mark.promise("P9")
def test_the_phrase_brings_the_wallet_back_from_its_keepers(terminal: Terminal, tmp_path: Path) -> None:
    terminal.say("wallet", "share", "conditions", "--days", "9")
    assert terminal.json("wallet", "keep") == {"fragments_missing": [], "index_missing": []}
    assert "Three members keep your index" in terminal.say("wallet", "keep")
    terminal.environment["CAREMESH_PHRASE"] = " ".join(terminal.phrase)  # type: ignore[attr-defined]
    other = str(tmp_path / "again.wallet")
    found = terminal.json("wallet", "restore", "--wallet", other)
    assert (found["streams"], found["shares"]) == (21, 1), "those that nothing was written to, too"
    assert terminal.json("wallet", "shares", "--wallet", other) == terminal.json("wallet", "shares")


def test_every_command_of_the_wallet_has_help_with_an_example() -> None:
    group = typer.main.get_command(app).commands["wallet"]  # type: ignore[attr-defined]
    for name, command in group.commands.items():
        assert f"Example: caremesh wallet {name}" in command.help, name


def test_who_has_not_confirmed_an_erasure_is_named_with_the_command_that_asks_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    custodians: list[str] = []

    def away(mesh: LocalMesh, member: str, stream: bytes, segment: int) -> list[bytes]:
        custodians[:] = sorted(mesh.custodians)[:2]
        if member in custodians:
            raise Unavailable(NO_NODE)
        return mesh.member(member_name(mesh, member)).confirm_erased(stream, segment)

    true = Person.erase
    with monkeypatch.context() as patched:
        patched.setattr(LocalMesh, "confirm_erased", away)
        patched.setattr(Person, "erase", lambda self, *words: true(self, *words, within_s=0))
        told = terminal.say("wallet", "erase", "conditions", "0", "--from", "hospital")
    assert "Erased. Too few have confirmed: it may still be opened." in told
    assert told.count("has not confirmed yet: node.21") == 2
    again = "caremesh wallet certificate conditions 0 --from hospital"
    assert f"To complete the certificate later: {again}" in told
    done = terminal.json(*again.split()[1:])
    assert (done["faults"], done["unreadable"]) == ([], True)


def member_name(mesh: LocalMesh, did: str) -> str:
    return next(name for name, member in mesh.members.items() if member.home.did == did)


@pytest.mark.promise("P4")
def test_a_fork_that_a_wallet_meets_is_kept_and_shown_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The operator has signed two headers of one height; a wallet over the network was shown both."""
    terminal = Terminal(tmp_path)
    with LocalMesh(tmp_path / "home/mesh") as mesh:
        block, key = mesh.engine.light_block(), mesh.member(OPERATOR).home.node_key
    other = codec.encode(replace(block.signed.own(), app_hash=bytes(32)))
    vote = HeaderSignature(key.public, key.sign(HEADER_DOMAIN + other))
    forged = LightBlock(SignedHeader(other, [vote]), block.validators)
    fork = forks.Fork(v=1, kind="fork", chain=block.signed.content().chain, one=[block], other=[forged])
    met = SimpleNamespace(proven=SimpleNamespace(fork=fork), faults=[])
    network = SimpleNamespace(open=lambda _: nullcontext(met))
    with monkeypatch.context() as patched:
        patched.setattr(kept_network, "load", lambda _: network)
        with pytest.raises(forks.Forked), opened_ways(tmp_path / "home", None, quiet=True):
            raise forks.Forked(fork, "height 1")
        [path] = (tmp_path / "home").glob("*.fork")
        assert str(path) in capsys.readouterr().err
        met.proven.fork = None
        with pytest.raises(Tampered), opened_ways(tmp_path / "home", None, quiet=True):
            raise Tampered(forks.NO_FORK)
        assert len(list((tmp_path / "home").glob("*.fork"))) == 1
    found = terminal.json("evidence", "verify", str(path))
    assert found["shown"] == "fork"
    assert found["signed_both"] == [multikey_text(key.public)]
    assert (found["power"], found["same_round"], found["differs"]) == (found["total"], True, ["app_hash"])
    said = terminal.say("evidence", "verify", str(path))
    assert "1 signed both, in one round" in said
    assert multikey_text(key.public) in said
    path.write_bytes(path.read_bytes()[:-1])
    assert terminal.refused("evidence", "verify", str(path)) == "light.14"
    path.write_bytes(codec.encode(replace(fork, other=[block])))
    assert terminal.refused("evidence", "verify", str(path)) == "light.13"
