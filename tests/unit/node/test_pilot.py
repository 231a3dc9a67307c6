"""A whole network on one machine, by one command; and what a home tells of its network while nothing runs."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from caremesh.cli.main import app
from caremesh.consensus.cometbft.engine import CometBft
from caremesh.errors import Refused, Unavailable
from caremesh.node import founding, joining, ordering, pilot
from caremesh.node.logs import begin
from caremesh.node.network_status import look
from caremesh.node.relay import Copy
from caremesh.settings import Settings, load

NOW = 1_800_000_000


def opened(home: Path, settings: Settings) -> Copy:
    """The copy that the node of a home would have, of a network that has just been founded."""
    known = founding.load(home)
    assert known is not None
    with ExitStack() as opened:
        return ordering.open_copy(known, joining.load_home(home), settings, lambda: NOW, begin("t", "error"), opened)


def test_every_member_is_a_validator_with_ports_of_its_own(tmp_path: Path) -> None:
    homes = pilot.make(tmp_path / "pilot", "pilot", 5, 20_000, NOW)
    known = [founding.load(home) for home in homes]
    assert len({joining.fingerprint(each) for each in known if each is not None}) == 1
    assert known[0] is not None
    assert (len(known[0].validators), len(known[0].peers), known[0].engine) == (5, 5, "cometbft")
    ports = [port for said in map(load, homes) for port in (said.listen_port, said.admin_port, said.peers_port)]
    assert ports == list(range(20_000, 20_015))
    assert sum("custodian" in each.roles for each in known[0].document.members) == 4
    with pytest.raises(Refused) as error:
        pilot.make(tmp_path / "pilot", "pilot", 4, 20_000, NOW)
    assert error.value.code == "node.15"


def test_status_before_the_first_start_names_what_is_missing(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["network", "init", str(tmp_path / "p"), "--members", "2", "--json"])
    assert ran.exit_code == 0, ran.output
    homes = [Path(each) for each in json.loads(ran.output)["homes"]]
    assert [home.name for home in homes] == ["member-1", "member-2"]
    with pytest.raises(Refused) as error:
        look(tmp_path)
    assert error.value.code == "node.13"


def test_without_the_program_a_node_says_so(tmp_path: Path) -> None:
    [home] = pilot.make(tmp_path / "p", "pilot", 1, 20_000, NOW)
    known = founding.load(home)
    assert known is not None
    settings = load(home, {"cometbft_program": str(tmp_path / "nothing")})
    with pytest.raises(Unavailable) as error:
        opened(home, settings)
    assert error.value.code == "node.31"
    assert not (home / "cometbft").exists()


def test_status_of_a_home_that_does_not_run(tmp_path: Path) -> None:
    homes = pilot.make(tmp_path / "p", "pilot", 3, 20_000, NOW)
    known = founding.load(homes[1])
    assert known is not None
    settings = load(homes[1], {"cometbft_program": "/bin/true"})
    copy = opened(homes[1], settings)
    assert isinstance(copy, CometBft)
    copy.close()
    found = look(homes[1])
    assert (found.chain, found.engine, found.height, found.rules) == ("pilot", "cometbft", 0, 1)
    assert [each.name for each in found.members if each.here] == ["Member 2"]
    assert sorted(each.name for each in found.members) == ["Member 1", "Member 2", "Member 3"]
    assert {(each.power, each.signed, each.connected) for each in found.members} == {(1, None, None)}
    config = (homes[1] / "cometbft" / "config" / "config.toml").read_text("utf-8")
    mine = joining.load_home(homes[1]).did
    assert {each.address in config: each.member != mine for each in known.peers} == {True: True, False: False}
