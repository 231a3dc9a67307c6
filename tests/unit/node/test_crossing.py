"""A home goes over from one who orders to several: what its files say then, and which copy it opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from caremesh import codec
from caremesh.errors import Tampered, WrongLedger
from caremesh.node import crossing, founding, joining
from caremesh.node.founding import Crossed, Founding
from tests.support.comet_engine import now
from tests.support.converting import SIGNERS, Converting
from tests.support.world import CHAIN


class Home:
    """A follower's: the founding, and a copy with some of the blocks."""

    def __init__(self, case: Converting, folder: Path) -> None:
        self.case, self.folder, self.state = case, folder, folder / "ledger"
        self.known = Founding(case.genesis, list(SIGNERS))

    def follow(self, until: int) -> None:
        copy = self.case.replica(self.state)
        for height in range(copy.height() + 1, until + 1):
            copy.apply(self.case.engine.block(height))
        copy.close()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    case = Converting(tmp_path / "operator")
    case.engine.make_block()
    case.convert()
    (tmp_path / "home").mkdir()
    yield Home(case, tmp_path / "home")
    case.engine.close()


@pytest.mark.promise("P4")
def test_a_copy_that_has_the_last_block_goes_over(home: Home) -> None:
    assert crossing.taken(home.folder, home.state, home.known) is home.known, "nothing is there"
    home.follow(2)
    assert crossing.taken(home.folder, home.state, home.known) is home.known
    assert not (home.folder / founding.CROSSING).exists()
    home.follow(3)
    made = crossing.taken(home.folder, home.state, home.known)
    assert (home.known.orders, made.orders) == ("embedded", "cometbft")
    assert made.crossed is not None
    assert codec.decode_as((home.folder / founding.CROSSING).read_bytes(), Crossed) == made.crossed
    assert [each.address for each in made.reached] == [made.reached[0].address] * 4
    assert made.founded == home.known
    assert joining.fingerprint(made) == joining.fingerprint(home.known)
    (home.folder / founding.FILE).write_bytes(codec.encode(home.known))
    assert founding.load(home.folder) == made
    assert crossing.taken(home.folder, home.state, made) is made


@pytest.mark.promise("P4")
def test_headers_of_either_chain_verify_under_their_own(home: Home) -> None:
    home.follow(3)
    made = crossing.taken(home.folder, home.state, home.known)
    newest = home.case.engine.light_block(3)
    assert (made.light_client().chain, made.light_client().height) == (f"{CHAIN}.3", 3)
    assert made.light_client(CHAIN).verify(newest, now()).height == 3
    assert made.light_client(CHAIN).ends == 3
    assert home.known.light_client(CHAIN).ends is None
    with pytest.raises(WrongLedger, match=r"light\.06"):
        made.light_client().verify(newest, now())


def test_a_copy_that_is_behind_follows_first(home: Home) -> None:
    home.follow(3)
    made = crossing.taken(home.folder, home.state, home.known)
    assert not crossing.is_behind(home.state, made)
    assert not crossing.is_behind(home.state, home.known)
    other = Home(home.case, home.folder.parent / "other")
    assert crossing.is_behind(other.state, made)
    other.follow(2)
    assert crossing.is_behind(other.state, made)
    other.follow(3)
    assert not crossing.is_behind(other.state, made)


def test_a_network_file_brings_no_crossing(home: Home) -> None:
    home.follow(3)
    made = crossing.taken(home.folder, home.state, home.known)
    with pytest.raises(Tampered, match=r"node\.17"):
        joining.check(made)
    joining.check(home.known)


def test_a_damaged_crossing_is_named(home: Home) -> None:
    (home.folder / founding.FILE).write_bytes(codec.encode(home.known))
    (home.folder / founding.CROSSING).write_bytes(b"\xa0")
    with pytest.raises(Tampered, match=r"node\.05.*crossing\.cbor"):
        founding.load(home.folder)
