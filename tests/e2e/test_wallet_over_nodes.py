"""All that a patient's wallet does, by its commands, over five nodes of several processes; and the members' desks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from caremesh.blobs.placement import preferred
from caremesh.cli.main import app
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.errors import Refused
from caremesh.node.mesh import PARAMS
from caremesh.node.relay import signed_tx
from caremesh.sealing.invitation import link
from caremesh.testing.faults import damaged_blocks
from caremesh.testing.nodes import CHAIN, Network
from caremesh.testing.person import Person
from caremesh.types import DAY_S
from caremesh.wallet import kept_network
from caremesh.wallet import state as states
from caremesh.wallet.wallet import Wallet

pytestmark = pytest.mark.slow
WITHIN_S = 90.0
PASSPHRASE = "a long sentence"
BASIS = ["HIPAA:164.506.c.2"]
_numbers = count(1)
T = TypeVar("T")


class People:
    """Who has a wallet or a desk, and types commands."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def says(self, home: Path, *words: str, wallet: Path | None = None) -> Any:
        """What a command prints for programs."""
        environment = {"CAREMESH_HOME": str(home), "CAREMESH_PASSPHRASE": PASSPHRASE}
        if wallet is not None:
            environment["CAREMESH_WALLET"] = str(wallet)
        done = CliRunner().invoke(app, [*words, "--json"], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def at(self, member: str, *words: str) -> Any:
        """What a command says at a member's desk."""
        return self.says(self.network.nodes[member].home, *words)


class Patient:
    """One of them: invited by the hospital, joined, with two segments of conditions there."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people = people
        self.name = f"patient-{next(_numbers)}"
        self.home = folder / "nothing"
        self.wallet = folder / "me.wallet"
        invitation = people.network.nodes["hospital"].desk.invite(self.name)
        self.joined = self.says("join", link(invitation))
        self.bring(1, 2)
        self.bring(3)

    def says(self, *words: str, wallet: Path | None = None) -> Any:
        return self.people.says(self.home, "wallet", *words, wallet=wallet or self.wallet)

    def condition(self, number: int, text: str = "Fever") -> dict[str, Any]:
        system = "http://terminology.hl7.org/CodeSystem/condition-clinical"
        return {
            "resourceType": "Condition",
            "id": f"{self.name}-c{number}",
            "clinicalStatus": {"coding": [{"system": system, "code": "active"}]},
            "subject": {"reference": f"Patient/{self.name}"},
            "code": {"text": text},
        }

    def bring(self, *numbers: int) -> None:
        self.bring_all(*map(self.condition, numbers))

    def bring_all(self, *resources: dict[str, Any]) -> None:
        rows = [{"resourceType": "Patient", "id": self.name, "gender": "other"}, *resources]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": row} for row in rows]}
        self.people.network.nodes["hospital"].desk.import_file(json.dumps(bundle).encode())

    def own(self) -> list[str]:
        return sorted(row["id"].rpartition("-")[2] for row in self.says("records", "conditions"))

    def share(self, *words: str) -> str:
        """Shared with the practice; the share's id."""
        shared = self.says("share", "conditions", "--with", "elm street", *words)
        assert shared["custodians_missing"] == 0
        return str(shared["share"])

    def read(self, share: str) -> list[str]:
        """What the practice opens of a share."""
        desk = self.people.network.nodes["practice"].desk
        opened = desk.open(desk.ask("conditions", "TREAT", BASIS, bytes.fromhex(share)))
        return sorted(record.id.rpartition("-")[2] for record in opened.records)

    @contextmanager
    def opened(self) -> Iterator[Person]:
        """The wallet, without commands: they are for one at a time."""
        kept = kept_network.load(self.wallet)
        assert kept is not None
        with kept.open(lambda: int(time.time())) as ways:
            yield Person.open(ways, self.wallet, PASSPHRASE)

    def holders(self) -> list[str]:
        """Who holds blocks of the conditions, those first that a wallet asks first."""
        state = Wallet.open(self.wallet, PASSPHRASE, CHAIN, lambda: 0).state
        [stream] = states.choose(state, ["conditions"])
        names = {node.keys.did: name for name, node in self.people.network.nodes.items()}
        return [names[did] for did in preferred(stream, names)]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    with Network(tmp_path_factory.mktemp("w")) as network:
        network.start()
        practice = network.nodes["practice"]
        doctor, licensed_until = practice.keys.practitioner(CHAIN), int(time.time()) + 300 * DAY_S
        practice.desk.appoint(doctor.did, ["physician"], licensed_until)
        yield People(network)


@pytest.fixture
def patient(people: People, tmp_path: Path) -> Patient:
    return Patient(people, tmp_path)


def until(found: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """What is found once it holds: copies of the ledger follow, and a machine may be busy."""
    end = time.monotonic() + WITHIN_S
    while not holds(value := found()):
        assert time.monotonic() < end, value
        time.sleep(0.2)
    return value


@pytest.mark.promise("P6")
def test_own_records_come_from_the_next_member_where_one_has_them_damaged(patient: Patient) -> None:
    assert patient.own() == ["c1", "c2", "c3"]
    first, second, *_ = patient.holders()
    nodes = patient.people.network.nodes
    with damaged_blocks([nodes[name].home / "blocks" for name in (first, second)]) as damaged:
        assert damaged
        assert patient.own() == ["c1", "c2", "c3"]


def test_ask_accept_decline(patient: Patient) -> None:
    shared = patient.share()
    why = f"To settle the bill of {patient.name}"
    [first] = patient.people.at(
        "practice", "ask", "conditions", "--share", shared, "--purpose", "HPAYMT", "--why", why
    )["requests"]
    [row] = until(lambda: patient.says("requests"), bool)
    assert (row["request"], row["who"], row["why"], row["status"]) == (first, "Elm Street Practice", why, "open")
    accepted = patient.says("accept", first, "--days", "7")
    assert accepted["with"] == "Elm Street Practice"
    [second] = patient.people.at(
        "practice", "ask", "conditions", "--share", shared, "--purpose", "COC", "--why", "More"
    )["requests"]
    until(lambda: patient.says("requests"), lambda rows: len(rows) == 2)
    patient.says("decline", second)
    assert [row["status"] for row in patient.says("requests")] == ["accepted", "declined"]
    assert {row["share"] for row in patient.says("shares")} >= {accepted["share"]}


@pytest.mark.promise("P6")
def test_who_a_record_names_comes_from_the_directory_of_another_members_node(patient: Patient) -> None:
    doctor = {"resourceType": "Practitioner", "id": f"{patient.name}-doctor", "name": [{"family": "Koval"}]}
    named = patient.condition(4) | {"recorder": {"reference": f"Practitioner/{doctor['id']}"}}
    patient.bring_all(doctor, named)
    share = patient.share()
    words = ["read", "conditions", "--share", share]
    alone = [each["resource"] for each in patient.people.at("practice", *words)["entry"]]
    assert named in alone
    more = [each["resource"] for each in patient.people.at("practice", *words, "--directory")["entry"]]
    assert more == [*alone, doctor]


@pytest.mark.promise("P3")
def test_a_new_epoch_a_dropped_record_and_what_the_practice_reads_of_it(patient: Patient) -> None:
    shared = patient.share()
    assert patient.read(shared) == ["c1", "c2", "c3"]
    assert patient.says("new-epoch", "conditions")["to_be_delegated_anew"] == []
    assert patient.own() == ["c1", "c2", "c3"]
    assert patient.read(shared) == ["c1", "c2", "c3"]
    patient.says("drop", "conditions", "0", f"Condition/{patient.name}-c1")
    assert patient.own() == ["c2", "c3"]
    assert patient.read(shared) == ["c2", "c3"]


def test_narrow_extend_and_delegate_anew_for_another_key(patient: Patient) -> None:
    shared = patient.share("--days", "9")
    [narrowed] = patient.says("narrow", shared, "--days", "3")["consents"]
    [extended] = patient.says("extend", shared, "--days", "20")["consents"]
    assert narrowed["until"] < extended["until"]
    assert patient.people.at("practice", "rotate-key") == {"member": "Elm Street Practice"}
    assert [row["status"] for row in patient.says("shares")] == ["to be delegated anew"]
    with pytest.raises(Refused, match=r"gateway\.17"):
        patient.read(shared)
    assert patient.says("redelegate")["custodians_missing"] == 0
    assert patient.read(shared) == ["c1", "c2", "c3"]


@pytest.mark.promise("P8")
@pytest.mark.promise("P9")
def test_correct_retract_erase_with_a_certificate_and_restore_from_the_phrase(
    patient: Patient, people: People, tmp_path: Path
) -> None:
    shared = patient.share()
    (tmp_path / "c1.json").write_text(json.dumps(patient.condition(1, "No fever")))
    number = people.at("hospital", "correct", str(tmp_path / "c1.json"))["segment"]
    assert number == 2
    assert until(lambda: patient.read(shared), lambda read: read == ["c1", "c2", "c3"])
    people.at("hospital", "retract", patient.name, "conditions", "1")
    acts = iter(["erase"])
    made = until(lambda: patient.says(next(acts, "certificate"), "conditions", "2"), lambda said: not said["faults"])
    shown = people.says(patient.home, "evidence", "verify", made["certificate"], wallet=patient.wallet)
    assert shown == people.at("practice", "evidence", "verify", made["certificate"])
    assert shown["unreadable"]
    assert (shown["custodians_missing"], shown["source_confirmed"]) == ([], True)
    assert {entry["kept"] for entry in shown["confirmed"]} >= {"seals", "blocks", "keys"}
    again = tmp_path / "again.wallet"
    node = people.network.nodes["payer"]
    [address] = [e.endpoints[0] for e in people.network.founding.document.members if e.member == node.keys.did]
    words = ["--phrase", " ".join(patient.joined["phrase"])]
    found = patient.says("restore", "--node", address, "--network", patient.joined["network"], *words, wallet=again)
    assert found["shares"] == 1
    assert "c3" in {row["id"].rpartition("-")[2] for row in patient.says("records", "conditions", wallet=again)}
    assert patient.says("keep", wallet=again) == {"fragments_missing": [], "index_missing": []}
    until(lambda: patient.says("revoke", shared, wallet=again), lambda said: not said["to_be_confirmed"])


@pytest.mark.promise("P8")
def test_an_erasure_while_a_custodian_is_away_says_how_its_certificate_is_completed(
    patient: Patient, people: People
) -> None:
    away = people.network.nodes["payer"]
    away.stop()
    acts = iter(["erase"])
    try:
        said = until(
            lambda: patient.says(next(acts, "certificate"), "conditions", "0"),
            lambda said: [fault["member"] for fault in said["faults"]] == [away.keys.profile.label],
        )
        assert said["unreadable"], "two of three custodians have confirmed"
        shown = people.says(patient.home, "evidence", "verify", said["certificate"], wallet=patient.wallet)
        assert shown["custodians_missing"] == [away.keys.did]
    finally:
        people.network.start(["payer"])
    program, group, *words = said["to_complete"].split()
    assert (program, group) == ("caremesh", "wallet")
    whole = until(lambda: patient.says(*words), lambda said: not said["faults"])
    assert whole["to_complete"] == ""
    assert whole["confirmations"] == said["confirmations"] + 2, "its seal, and its blocks"
    shown = people.says(patient.home, "evidence", "verify", whole["certificate"], wallet=patient.wallet)
    assert shown["custodians_missing"] == []


@pytest.mark.promise("P1")
def test_what_is_not_urgent_waits_at_the_relay_for_others_or_for_a_while(people: People, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (Patient(people, folder) for folder in folders)
    with one.opened() as first, two.opened() as second, ThreadPoolExecutor(1) as pool:
        parameters(people, first, replace(PARAMS, batch_min=2, batch_wait_s=80))
        try:
            waiting = pool.submit(first.share, "elm street", ["conditions"], days=3)
            assert not wait([waiting], 3).done, "nobody else has something to send"
            shares = [second.share("elm street", ["conditions"], days=3), waiting.result(WITHIN_S)]
            parameters(people, first, replace(PARAMS, batch_min=2, batch_wait_s=3))
            begun = time.monotonic()
            first.extend(shares[1].record.id, 9)
            assert time.monotonic() - begun >= 3, "nobody else came"
        finally:
            parameters(people, first, PARAMS)
        for person, shared in zip((second, first), shares, strict=True):
            assert [held.status for held in person.shares()[0].consents] == ["active"]
            assert shared.missing == []


def parameters(people: People, person: Person, params: Params) -> None:
    """Put in force at every node."""
    home = people.network.nodes["regulator"].keys
    raw = signed_tx(CHAIN, int(time.time()), [home.requester], SetParams(params=params))
    [done] = person.ledger.submit([raw])
    assert not done.code
    for node in people.network.nodes.values():
        until(node.desk.where, lambda where: where.height >= done.height)
