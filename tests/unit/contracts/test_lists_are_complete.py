"""The contracts' own queries, run over proofs alone: a light client sees whole lists, or learns that it does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caremesh.contracts import Contracts
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import BreakGlass
from caremesh.contracts.access.state import OF_STREAM
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Revoke
from caremesh.errors import CareMeshError, Tampered
from caremesh.ledger.machine import Machine
from caremesh.ledger.state import Reader, View
from caremesh.ledger.store import Store
from tests.support.world import BASIS, CHAIN, NOW, World

pytestmark = [pytest.mark.promise("P4")]


class Copy(Contracts):
    """The contracts, whose genesis is the state that a world has come to."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def genesis(self, state: View, document: bytes) -> None:  # noqa: ARG002 - the application's interface
        for key, _, value in self._world.view.changes():
            if value is not None:
                state.put(key, value)


class Proven:
    """State out of proofs under one app hash: what a light client reads. ``withheld``: keys a node lies about."""

    def __init__(self, machine: Machine, withheld: bytes = b"") -> None:
        self._machine, self._withheld = machine, withheld

    def get(self, key: bytes) -> bytes | None:
        _, proof, _ = self._machine.prove(key)
        if key == self._withheld:
            proof = self._machine.prove(key + b"?")[1]
        return proof.verify(self._machine.head.app_hash, key)


@pytest.fixture
def told(world: World, tmp_path: Path) -> Iterator[tuple[World, Machine]]:
    """A world in which a stream was asked for in every way, and a ledger that holds its state."""
    consent = world.granted()
    nurse = world.appointed("nurse", "nurse")
    world.asked(consent)
    world.asked(consent, purpose="HPAYMT")
    world.asked(world.granted(purposes=["COC"]), [nurse, world.practice], requester=str(nurse.did), purpose="COC")
    glass = BreakGlass(
        stream=world.stream, purpose="ETREAT", legal_basis=BASIS, reason=bytes(32), requester=str(world.doctor.did)
    )
    world.must(glass, world.doctor, world.practice)
    world.must(Revoke(consent=consent), world.stream_key, world.practice)
    store = Store(str(tmp_path), CHAIN)
    machine = Machine(store, Copy(world))
    machine.start(NOW, b"")
    yield world, machine
    store.close()


def lists(world: World) -> dict[str, Callable[[Reader], list[Any]]]:
    consent = consents.of_stream(world.view, world.stream)[0].id
    return {
        "by stream": lambda reader: access.of_stream(reader, world.stream),
        "by consent": lambda reader: access.of_consent(reader, consent),
        "by requester": lambda reader: access.of_requester(reader, str(world.doctor.did)),
        "consents": lambda reader: consents.of_stream(reader, world.stream),
        "of nobody": lambda reader: access.of_stream(reader, bytes(32)),
    }


def test_the_lists_of_a_light_client_are_those_of_the_ledger(told: tuple[World, Machine]) -> None:
    world, machine = told
    lengths = {"by stream": 4, "by consent": 2, "by requester": 3, "consents": 2, "of nobody": 0}
    for name, read in lists(world).items():
        assert read(Proven(machine)) == read(world.view)
        assert len(read(world.view)) == lengths[name]


def test_nothing_can_be_left_out(told: tuple[World, Machine]) -> None:
    world, machine = told
    record = access.of_stream(world.view, world.stream)[0]
    hidden = [OF_STREAM.count_key(world.stream), OF_STREAM.key(1, world.stream), access.receipt_key(record.id)]
    for key in hidden:
        with pytest.raises(Tampered, match=r"proof\.01"):
            access.of_stream(Proven(machine, withheld=key), world.stream)
    with pytest.raises(CareMeshError):
        consents.of_stream(Proven(machine, withheld=consents.count_key(world.stream)), world.stream)
