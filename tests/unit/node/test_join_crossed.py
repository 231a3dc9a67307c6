"""Who joins a network that went over takes what proves that from whoever shows it, and believes nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.embedded import Embedded
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import Convert, Peer, Validator
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Refused, Tampered, Unavailable
from caremesh.ledger.light import Crossing
from caremesh.node import catching_up, founding, joining
from caremesh.node.founding import Crossed, Founding
from caremesh.node.relay import signed_tx
from tests.support.comet_network import engine_key

LAST = 2
PEER = f"{'a' * 40}@127.0.0.1:26656"
AWAY = Unavailable(ErrorCode("client.02", "The node cannot be reached."))
STALE = Refused(ErrorCode("client.06", "The newest block of this node is too old."))


class Case:
    """A network of two that its founder ordered until block 2; the other's home has only its admission file."""

    def __init__(self, folder: Path) -> None:
        self.operator, self.home = folder / "one", folder / "two"
        for path, roles in ((self.operator, ["regulator"]), (self.home, ["provider"])):
            address = f"https://{path.name}.example:8443"
            joining.begin(path, chain="net", name=path.name, roles=roles, country="US", address=address)
        begun = int(time.time())
        self.known: Founding = joining.found(self.operator, [joining.load_admission(self.home)], begun)
        self.file = codec.encode(self.known)
        keys = joining.load_home(self.operator)
        engine = Embedded(
            self.operator / "ledger",
            Contracts(),
            chain="net",
            genesis=self.known.genesis,
            genesis_time=begun,
            key=keys.node_key,
            clock=lambda: begun,
        )
        try:
            [mine] = [each.member for each in self.known.document.members if each.member == keys.did]
            decision = Convert(
                height=LAST,
                validators=[Validator(member=mine, key=engine_key("0").public, power=1)],
                peers=[Peer(member=mine, address=PEER)],
            )
            done = engine.submit(signed_tx("net", begun, [keys.requester], decision))
            assert done.code == "", done
            while engine.machine.head.height < LAST:
                engine.make_block()
            self.crossing: Crossing = kept.crossing_of(engine.machine, self.known.validators)
            decided = engine.reader().get(queries.conversion_key())
        finally:
            engine.close()
        assert decided is not None
        self.decided: bytes = decided

    def shown(self) -> Crossed:
        return Crossed(self.crossing, [founding.Peer(self.known.document.authorities.dids[0], PEER)])


class Other:
    """A founder's node, as it answers here; asked by whoever joins."""

    def __init__(self, crossing: Crossing | CareMeshError | None, value: bytes | CareMeshError | None = None) -> None:
        self._crossing, self._value = crossing, value
        self.asked: list[bytes] = []

    def crossing(self) -> Crossing | None:
        if isinstance(self._crossing, CareMeshError):
            raise self._crossing
        return self._crossing

    def query(self, key: bytes) -> bytes | None:
        self.asked.append(key)
        if isinstance(self._value, CareMeshError):
            raise self._value
        return self._value


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def bent(crossing: Crossing) -> list[Crossing]:
    """Crossings that prove nothing."""
    strange = [replace(each, key=engine_key("stranger").public) for each in crossing.validators]
    signed = crossing.block.signed
    [vote] = signed.signatures
    unsigned = replace(signed, signatures=[replace(vote, signature=bytes(64))])
    return [
        replace(crossing, validators=strange),
        replace(crossing, block=replace(crossing.block, signed=unsigned)),
        replace(crossing, answer=replace(crossing.answer, key=queries.params_key())),
    ]


def asked(case: Case, monkeypatch: pytest.MonkeyPatch, *others: Other) -> Crossed | None:
    monkeypatch.setattr(catching_up, "ways", lambda *_, **__: list(others))
    return catching_up.crossed(case.known, joining.load_home(case.home))


@pytest.mark.promise("P4")
def test_the_first_that_proves_it_is_believed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Other(case.crossing, case.decided)
    later = Other(case.crossing, case.decided)
    before = [Other(None), Other(AWAY), *(Other(each, case.decided) for each in bent(case.crossing))]
    assert asked(case, monkeypatch, *before, Other(case.crossing, STALE), good, later) == case.shown()
    assert good.asked == [queries.conversion_key()]
    assert later.asked == []
    assert not any(each.asked for each in before), "who proves nothing is asked for nothing else"
    assert asked(case, monkeypatch, Other(case.crossing)) == Crossed(case.crossing, [])


@pytest.mark.promise("P4")
@pytest.mark.parametrize("number", range(3))
def test_what_proves_nothing_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    wrong = bent(case.crossing)[number]
    with pytest.raises(Unavailable, match=r"node\.34"):
        asked(case, monkeypatch, Other(None), Other(wrong, case.decided), Other(AWAY))
    with pytest.raises(Tampered, match=r"light\.|proof\."):
        joining.join(case.home, case.file, crossed=lambda *_: Crossed(wrong, []))
    assert not (case.home / founding.FILE).exists()
    assert not (case.home / founding.CROSSING).exists()


def test_where_nobody_knows_of_it_or_answers_one_joins_the_first_chain(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(case, monkeypatch) is None
    assert asked(case, monkeypatch, Other(None), Other(AWAY)) is None
    for shown in (Other(BadInput(ErrorCode("codec.01", "No."))), Other(case.crossing, AWAY)):
        with pytest.raises(Unavailable, match=r"node\.34"):
            asked(case, monkeypatch, Other(None), shown)
    case.known = replace(case.known, engine="cometbft")
    assert asked(case, monkeypatch, Other(case.crossing, case.decided)) is None, "it was founded so"


@pytest.mark.promise("P4")
def test_it_is_kept_in_the_home_and_not_asked_for_again(case: Case) -> None:
    first = joining.join(case.home, case.file)
    assert (first.crossed, founding.load(case.home)) == (None, case.known)
    made = joining.join(case.home, case.file, crossed=lambda *_: case.shown())
    assert made == founding.load(case.home) == replace(case.known, crossed=case.shown())
    assert (made.orders, made.light_client().chain) == ("cometbft", f"net.{LAST}")
    assert joining.join(case.home, case.file, crossed=_not_asked) == made
    assert (case.home / founding.FILE).read_bytes() == case.file, "the network is known by what it was"


def _not_asked(*_: object) -> Crossed | None:
    raise AssertionError("it is known")
