"""Joining by a snapshot: which header is trusted, what stands in a folder meanwhile, and what a damaged one becomes."""

from __future__ import annotations

import itertools
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from caremesh.consensus.cometbft import join, joining
from caremesh.consensus.cometbft.join import Join
from caremesh.consensus.cometbft.joining import Headers, Joining, trust
from caremesh.errors import Refused, StorageFailed, Unavailable
from caremesh.ledger.light import LightClient
from tests.support.comet_chain import SIGNERS, Chain
from tests.support.comet_engine import PATIENT_S, comet, now, short_folder, signed
from tests.support.comet_headers import members
from tests.support.kv import CHAIN, START_S, Put

NOW = START_S + 1_000


@pytest.fixture(scope="module")
def chain() -> Chain:
    made = Chain()
    for _ in range(40):
        made.next(bytes(32))
    return made


def client() -> LightClient:
    return LightClient(CHAIN, SIGNERS, trusted_at=START_S)


def nobody(path: str, query: Mapping[str, str]) -> bytes:
    raise Unavailable(joining.NO_HEADER, f"{path}{len(query)}")


def other_chain() -> Chain:
    made = Chain()
    for _ in range(40):
        made.next(b"x" * 32)
    return made


@pytest.mark.promise("P4")
def test_what_is_trusted_is_verified_and_lies_below_the_snapshots(chain: Chain) -> None:
    found = trust(client(), [chain.fetch], NOW, span=6)
    assert (found.height, found.hash) == (34, chain.headers[33].hash())
    assert trust(client(), [chain.fetch], NOW, span=1_000).height == 10, "well above the oldest that members have"
    with pytest.raises(Unavailable, match=r"consensus\.40"):
        trust(LightClient(CHAIN, members(1), trusted_at=START_S), [chain.fetch], NOW, span=6)
    with pytest.raises(Unavailable, match=r"consensus\.40"):
        trust(client(), [chain.fetch], START_S, span=6)


def test_the_next_member_is_asked_when_one_does_not_answer(chain: Chain) -> None:
    found = trust(client(), [nobody, chain.fetch], NOW, span=6)
    assert (found.height, list(found.sources)) == (34, [nobody, chain.fetch])
    this, after = Headers(CHAIN, found, lambda: NOW).around(36)
    assert (this, after) == (chain.headers[35], chain.headers[36])
    with pytest.raises(Unavailable, match=r"consensus\.40"):
        trust(client(), [nobody], NOW, span=6)


@pytest.mark.promise("P4")
def test_headers_follow_from_the_one_that_is_trusted(chain: Chain) -> None:
    trusted = chain.joining(10)
    headers = Headers(CHAIN, trusted, lambda: NOW)
    assert headers.around(39) == (chain.headers[38], chain.headers[39])
    assert headers.around(9) == (chain.headers[8], chain.headers[9])
    liar = other_chain()
    for wrong, height in (
        (headers, 8),
        (headers, 40),
        (Headers(CHAIN, Joining(10, bytes(32), [chain.fetch]), lambda: NOW), 20),
        (Headers("other", trusted, lambda: NOW), 20),
        (Headers(CHAIN, trusted, lambda: NOW + 8 * 86_400), 20),
        (Headers(CHAIN, Joining(10, trusted.hash, [liar.fetch]), lambda: NOW), 20),
    ):
        with pytest.raises(Unavailable, match=r"consensus\.40"):
            wrong.around(height)
    honest = Headers(CHAIN, Joining(10, trusted.hash, [liar.fetch, chain.fetch]), lambda: NOW)
    assert honest.around(20) == (chain.headers[19], chain.headers[20])


@pytest.mark.promise("P4")
def test_the_header_before_is_the_one_that_the_next_one_names(chain: Chain) -> None:
    """Nobody's signature is needed on it: so it must be the one whose hash stands in a header that is verified."""
    liar = other_chain()

    def fetch(path: str, query: Mapping[str, str]) -> bytes:
        return (liar if query.get("height") == "20" else chain).fetch(path, query)

    with pytest.raises(Unavailable, match=r"consensus\.40"):
        Headers(CHAIN, Joining(10, chain.headers[9].hash(), [fetch]), lambda: NOW).around(20)


def test_the_config_names_a_socket_for_each_member_and_two_at_least(chain: Chain) -> None:
    one, two, three = Path("/run/a.sock"), Path("/run/b.sock"), Path("/run/c.sock")
    for servers, named in (([one], [one, one]), ([one, two], [one, two]), ([one, two, three], [one, two, three])):
        told = tomllib.loads(joining.section(chain.joining(10), servers))["statesync"]
        assert told["enable"] is True
        assert told["rpc_servers"].split(",") == [f"unix://{path}" for path in named]
        assert (told["trust_height"], told["trust_hash"]) == (10, chain.headers[9].hash().hex().upper())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """CometBFT's, with a state in it, some blocks, and what a validator has signed."""
    data = tmp_path / "cometbft" / "data"
    for name in ("state.db", "blockstore.db", "cs.wal"):
        (data / name).mkdir(parents=True)
        (data / name / "000001.log").write_bytes(b"1")
    (data / "priv_validator_state.json").write_bytes(b"signed")
    return tmp_path / "cometbft"


def names(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "data").iterdir())


def test_who_has_a_state_does_not_join(home: Path) -> None:
    before = names(home)
    assert not joining.prepare(home)
    assert names(home) == before
    assert not joining.is_under_way(home)


def test_a_join_that_was_not_finished_begins_with_nothing(tmp_path: Path, home: Path) -> None:
    fresh = tmp_path / "fresh"
    assert joining.prepare(fresh)
    assert joining.is_under_way(fresh)
    (fresh / "data" / "state.db").mkdir()
    assert joining.prepare(fresh), "CometBFT may know of the snapshot, and the ledger not"
    assert names(fresh) == ["joining"]
    joining.finish(fresh)
    joining.finish(fresh)
    assert not joining.is_under_way(fresh)
    (fresh / "data" / "state.db").mkdir()
    assert not joining.prepare(fresh)
    assert not joining.is_under_way(home)


@pytest.mark.promise("P5")
def test_a_damaged_ledger_is_kept_beside_and_what_was_signed_stays(tmp_path: Path, home: Path) -> None:
    for attempt in (b"first", b"second"):
        (tmp_path / "ledger").mkdir()
        (tmp_path / "ledger" / "data.mdb").write_bytes(attempt)
        aside = joining.set_aside(tmp_path)
        assert not (tmp_path / "ledger").exists()
        assert (aside / "data.mdb").read_bytes() == attempt
        assert names(home) == ["joining", "priv_validator_state.json"]
        assert (home / "data" / "priv_validator_state.json").read_bytes() == b"signed"
    assert joining.set_aside(tmp_path) == aside, "and a folder from which it was taken already can begin again"
    assert joining.prepare(home)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cometbft").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        joining.prepare(tmp_path / "cometbft")
    with pytest.raises(StorageFailed, match=r"storage\.01"):
        joining.set_aside(tmp_path)


def test_a_join_that_has_begun_goes_on_as_one(tmp_path: Path, chain: Chain) -> None:
    def made(told: Joining | None) -> Join:
        return Join(tmp_path / "home", tmp_path, told, chain=CHAIN, clock=lambda: NOW, monotonic=lambda: 0.0)

    assert not made(None).under_way
    assert made(None).section() == ""
    first = made(chain.joining(10))
    assert first.under_way
    assert "trust_height = 10" in first.section()
    with pytest.raises(Refused, match=r"consensus\.41"):
        made(None)
    again = made(chain.joining(10))
    again.done()
    assert not again.under_way
    assert not made(None).under_way


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Watched:
    """A join under way, of whose time and progress the test decides."""

    def __init__(self, folder: Path, chain: Chain) -> None:
        self.looks = itertools.count()
        self.seen = self.moved = self.restarts = 0
        self.now = 0.0
        self.made = Join(folder / "home", folder, chain.joining(), chain=CHAIN, clock=lambda: NOW, monotonic=self.time)
        self.made.start(self.again, self.progress)

    def time(self) -> float:
        return self.now

    def progress(self) -> int:
        self.seen = next(self.looks)
        return self.moved

    def again(self) -> None:
        self.restarts += 1

    def looked(self) -> None:
        """Wait until the watch has looked twice more: once at least after all that the test did before."""
        before = self.seen
        until(lambda: self.seen >= before + 2)


@pytest.fixture
def watched(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(join, "_LOOK_S", 0.01)
    with short_folder() as folder:
        made = Watched(folder, chain)
        yield made
        made.made.close()


def test_cometbft_is_started_again_when_nothing_moves(watched: Watched) -> None:
    watched.looked()
    watched.now = join.PATIENCE_S - 1
    watched.looked()
    assert watched.restarts == 0
    watched.moved += 1
    watched.looked()
    watched.now = 2 * join.PATIENCE_S - 2
    watched.looked()
    assert watched.restarts == 0, "something has moved since"
    watched.now += 2
    until(lambda: watched.restarts == 1)
    watched.looked()
    assert watched.restarts == 1, "and it gets as much time again"
    watched.made.done()
    watched.now *= 10
    assert watched.restarts == 1


def test_members_are_asked_over_sockets_while_the_engine_runs(watched: Watched) -> None:
    assert [path.is_socket() for path in watched.made._sockets()] == [True]


def test_an_engine_that_joins_takes_nothing_before_it_has(chain: Chain) -> None:
    begun = now()
    with short_folder() as folder:
        made = comet(folder, begun=begun, joining=chain.joining())
        with pytest.raises(Unavailable, match=r"consensus\.42"):
            made.submit_soon(signed(Put(key=b"a", value=b"1")))
        assert "trust_height = 1" in (folder / "cometbft" / "config" / "config.toml").read_text()
        made.close(0)
        with pytest.raises(Refused, match=r"consensus\.41"):
            comet(folder, begun=begun)
        again = comet(folder, begun=begun, joining=chain.joining())
        again._join.done()
        assert not again.submit_soon(signed(Put(key=b"a", value=b"1"))).done()
        again.close(0)
