"""The commands of a wallet over the network: an invitation, a share, the audit, taking back, the phrase alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.errors import CareMeshError
from caremesh.gateway.ask import Asked
from caremesh.ledger.light import LightBlock
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.sealing.invitation import Invitation, link
from caremesh.testing.clock import SettableClock
from caremesh.wallet import kept_network
from tests.support.relayed import RelayedMesh, relayed

pytestmark = pytest.mark.slow
Run = Callable[..., Any]
_numbers = count(1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayedMesh]:
    """Members whose addresses the ledger has."""
    folder = tmp_path_factory.mktemp("joining")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh, relayed(mesh, folder) as doors:
        for door in doors.doors.values():
            mesh.send([door.home.requester], SetEndpoints(member=door.home.did, endpoints=[door.url]))
        yield doors


@pytest.fixture
def run(served: RelayedMesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CAREMESH_PASSPHRASE", "correct horse battery staple")
    monkeypatch.setenv("CAREMESH_HOME", str(tmp_path / "nothing"))

    def run(*arguments: str, wallet: str = "me.wallet", given: str = "") -> Any:
        served.mesh.tick()
        done = CliRunner().invoke(app, ["wallet", *arguments, "--wallet", str(tmp_path / wallet), "--json"], given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        run.errors = done.stderr  # type: ignore[attr-defined]
        return json.loads(done.stdout)

    return run


@pytest.fixture
def patient() -> str:
    return f"patient-{next(_numbers)}"


def invite(served: RelayedMesh, patient: str) -> Invitation:
    from msgspec.structs import replace

    return replace(served.mesh.invite("hospital", patient), node=served.doors["hospital"].url)


def bring(served: RelayedMesh, patient: str) -> None:
    rows = [
        {"resourceType": "Patient", "id": patient},
        {
            "resourceType": "Condition",
            "id": f"{patient}-c1",
            "subject": {"reference": f"Patient/{patient}"},
            "code": {"text": "Fever"},
            "clinicalStatus": {
                "coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]
            },
        },
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": row} for row in rows]}
    served.mesh.member("hospital").source(served.mesh).import_bundle(json.dumps(bundle).encode())


def height_kept(wallet: Path) -> int:
    """Of the newest header that a wallet has kept."""
    kept = kept_network.load(wallet)
    assert kept is not None
    assert isinstance(kept.newest, LightBlock)
    return kept.newest.signed.content().height


def test_join_share_audit_revoke_restore(served: RelayedMesh, run: Run, patient: str, tmp_path: Path) -> None:
    joined = run("join", link(invite(served, patient)))
    [known] = served.mesh.member("hospital").invitations.listed(patient)
    begun = height_kept(tmp_path / "me.wallet")
    assert (joined["name"], joined["check"], len(joined["phrase"])) == ("Lakeside Hospital", known.check, 24)
    bring(served, patient)
    assert [row["category"] for row in run("preview", "conditions", "--with", "elm street")["would_see"]] == [
        "conditions"
    ]
    shared = run("share", "conditions", "--with", "elm street")
    assert (shared["with"], shared["custodians_missing"]) == ("Elm Street Practice", 0)
    practice = served.mesh.member("practice")
    gateway, doctor = practice.gateway(served.mesh), practice.home.practitioner(CHAIN)
    asked = Asked(bytes.fromhex(shared["consents"][0]), "read", "TREAT", ["HIPAA:164.506.c.2"])
    assert len(gateway.open(gateway.ask(asked, doctor), doctor).records) == 1
    [access] = run("audit")["accesses"]
    assert height_kept(tmp_path / "me.wallet") > begun > 0, "each use renews what is believed"
    assert (access["member"], access["released"]) == ("Elm Street Practice", "yes")
    revoked = run("revoke", shared["share"])
    assert (revoked["fragments_destroyed"], revoked["to_be_confirmed"]) == (3, 0)
    [row] = run("shares")
    assert row["status"] == "revoked"
    served.mesh.tick()
    with pytest.raises(CareMeshError, match="access"):
        gateway.ask(asked, doctor)
    arguments = (
        "--node",
        served.doors["hospital"].url,
        "--network",
        joined["network"],
        "--phrase",
        " ".join(joined["phrase"]),
    )
    with pytest.raises(CareMeshError, match=r"wallet\.66"):
        run("restore", *arguments, wallet="again.wallet")
    (tmp_path / "again.wallet.network").write_bytes((tmp_path / "me.wallet.network").read_bytes())
    again = run("restore", "--phrase", " ".join(joined["phrase"]), wallet="again.wallet")
    assert again["shares"] == 1
    assert again["streams"] >= 20


def test_an_invitation_of_another_network_is_refused(served: RelayedMesh, run: Run, patient: str) -> None:
    from msgspec.structs import replace

    invitation = invite(served, patient)
    with pytest.raises(CareMeshError, match=r"wallet\.63"):
        run("join", link(replace(invitation, network=bytes(32))))
    run("join", link(invitation))
    with pytest.raises(CareMeshError, match=r"wallet\.24"):
        run("join", link(replace(invitation, network=bytes(32))))
    with pytest.raises(CareMeshError, match=r"relay\.21"):
        run("join", link(invitation), wallet="another.wallet")
    with pytest.raises(CareMeshError, match=r"relay\.03"):
        run("join", link(invitation)[:-1])
    with pytest.raises(CareMeshError, match=r"client\.02"):
        run("join", link(replace(invitation, node="https://127.0.0.1:9")), wallet="third.wallet")


@pytest.mark.promise("P6")
def test_who_gives_out_something_else_is_named_and_the_records_are_there(
    served: RelayedMesh, run: Run, patient: str
) -> None:
    run("join", link(invite(served, patient)))
    bring(served, patient)
    rows = run("records", "conditions")
    assert [row["id"] for row in rows] == [f"{patient}-c1"]
    for did, store in served.mesh.holders().items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "get", lambda _: b"something else")
            served.mesh.tick()
            assert run("records", "conditions") == rows
        if "blobs.01" in run.errors:  # type: ignore[attr-defined]
            assert served.mesh.name_of(did) in run.errors  # type: ignore[attr-defined]
            return
    pytest.fail("nobody was asked")


def test_a_saved_audit_is_checked_against_the_network_of_the_wallet(
    served: RelayedMesh, run: Run, patient: str, tmp_path: Path
) -> None:
    run("join", link(invite(served, patient)))
    bring(served, patient)
    file = str(tmp_path / "saved.audit")
    assert run("audit", "--save", file)["complete"]
    assert run("audit", "--verify", file)["complete"]
