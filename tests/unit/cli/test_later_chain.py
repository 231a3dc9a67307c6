"""Files that are checked without asking anybody, when their headers are of the chain that a network went over to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from caremesh import codec
from caremesh.cli.main import app
from caremesh.cli.trusting import founders
from caremesh.cli.wallet import opened_ways
from caremesh.contracts.network.queries import params_key
from caremesh.errors import CareMeshError, Tampered, WrongLedger
from caremesh.ledger.light import Answer, Crossing, LightBlock
from caremesh.ledger.succession import following
from caremesh.node import founding
from caremesh.node.founding import Crossed, Founding
from caremesh.node.proof_file import ProofFile
from caremesh.wallet import audit_proof, kept_network
from caremesh.wallet.kept_network import KeptNetwork
from caremesh.wallet.network import Network
from caremesh.wallet.wallet import Wallet
from tests.support.converting import SIGNERS, Converting, comet_block, resigned
from tests.support.world import CHAIN

LAST = 2
NEXT = following(CHAIN, LAST)
PASSPHRASE = "correct horse battery staple"


class Home:
    """A folder with a wallet that has joined a network; the network has gone over since."""

    def __init__(self, folder: Path, case: Converting) -> None:
        self.folder, self.case, self.wallet = folder, case, folder / "patient.wallet"
        self.crossing: Crossing = case.convert()
        self.known = Founding(case.genesis, list(SIGNERS))
        self.kept = KeptNetwork(file=codec.encode(self.known), relay=str(case.world.hospital.did))
        self.block: LightBlock = comet_block(self.crossing, LAST + 1, NEXT)
        self.made, _ = Wallet.create(self.wallet, PASSPHRASE, CHAIN, lambda: case.begun)

    def keep(self, **changes: Any) -> None:
        kept_network.keep(self.wallet, replace(self.kept, **changes))

    def answer(self, key: bytes) -> Answer:
        return self.case.engine.query(key, LAST)

    def files(self) -> dict[str, list[str]]:
        """A proof of the network's parameters, and an audit of nothing, with headers of the second chain: commands."""
        proof = ProofFile(chain=NEXT, kind="parameters", block=self.block, answer=self.answer(params_key()))
        saved = audit_proof.prove(self.made.state, self.block, self.answer, [])
        commands = {}
        for name, made, command in (
            ("proof", proof, ["ledger", "verify"]),
            ("audit", saved, ["wallet", "audit", "--verify"]),
        ):
            path = self.folder / f"some.{name}"
            path.write_bytes(codec.encode(made))
            commands[name] = [*command, str(path), "--home", str(self.folder), "--json"]
        return commands


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("CAREMESH_PASSPHRASE", PASSPHRASE)
    case = Converting(tmp_path / "operator")
    (tmp_path / "home").mkdir()
    yield Home(tmp_path / "home", case)
    case.engine.close()


def ran(words: list[str]) -> Any:
    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.promise("P4")
def test_a_wallet_that_has_seen_the_going_over_checks_them(home: Home) -> None:
    home.keep(crossing=home.crossing)
    commands = home.files()
    said = ran(commands["proof"])
    assert (said["verified"], said["present"]) == (True, True)
    assert said["height"] == LAST + 1
    assert ran(commands["audit"])["verified"] == {"height": LAST + 1}


@pytest.mark.promise("P4")
def test_what_a_wallet_sees_of_it_on_its_way_is_kept(home: Home) -> None:
    home.keep()
    for shown in (None, home.crossing):
        with opened_ways(home.folder, None, quiet=True) as ways:
            assert isinstance(ways, Network)
            ways.proven.crossed = shown
    with opened_ways(home.folder, None, quiet=True) as ways:
        assert isinstance(ways, Network)
        assert ways.proven.crossed == home.crossing
    assert kept_network.load(home.wallet) == replace(home.kept, crossing=home.crossing)


@pytest.mark.slow
@pytest.mark.promise("P4")
@pytest.mark.parametrize("which", ["proof", "audit"])
def test_one_that_has_not_says_what_to_do(home: Home, which: str) -> None:
    home.keep()
    with pytest.raises(WrongLedger, match=rf"node\.35.*{NEXT}"):
        ran(home.files()[which])


@pytest.mark.promise("P4")
def test_headers_of_before_and_of_others_are_told_apart(home: Home) -> None:
    last = home.crossing.block
    for changes in ({}, {"crossing": home.crossing}):
        home.keep(**changes)
        trusted = founders(home.folder)
        assert trusted.light_client(CHAIN).verify(last, home.case.begun).height == LAST
        with pytest.raises(CareMeshError, match=r"light\.06"):
            trusted.light_client("other.2").verify(comet_block(home.crossing, 3, "other.2"), home.case.begun)
    with pytest.raises(CareMeshError, match=r"light\.18"):
        trusted.light_client(CHAIN).verify(replace(last, signed=_later(home)), home.case.begun)


def _later(home: Home) -> Any:
    """A header of the first chain after its last, by who ordered it."""
    return resigned(replace(home.crossing.block.signed.own(), height=LAST + 1))


@pytest.mark.promise("P4")
def test_what_is_kept_is_believed_only_where_it_proves_itself(home: Home) -> None:
    wrong = replace(home.crossing, answer=home.answer(params_key()))
    home.keep(crossing=wrong)
    with pytest.raises(Tampered, match=r"light\.15"):
        founders(home.folder).light_client(NEXT)
    with pytest.raises(Tampered, match=r"light\.15"):
        replace(home.kept, crossing=wrong).open(lambda: home.case.begun)


def test_a_nodes_home_says_the_same(home: Home) -> None:
    path = home.folder / founding.FILE
    path.write_bytes(codec.encode(home.known))
    with pytest.raises(WrongLedger, match=r"node\.35"):
        founders(home.folder).light_client(NEXT)
    (home.folder / founding.CROSSING).write_bytes(codec.encode(Crossed(home.crossing, [])))
    assert founders(home.folder).light_client(NEXT).verify(home.block, home.case.begun).height == LAST + 1
