"""Nodes of one network, each a real CometBFT under all contracts, on this machine; the founders are those of ``World``.

``World`` makes the messages here; its own state is not used.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from caremesh import codec
from caremesh.consensus.cometbft.config import MAX_WAITING, Addresses, Pace
from caremesh.consensus.cometbft.engine import CometBft, Local
from caremesh.consensus.interface import Committed
from caremesh.contracts import Contracts
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import Validator
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.application import Event
from caremesh.ledger.blocks import Validator as Power
from caremesh.ledger.blocks import in_comets_order
from caremesh.ledger.comet import address_of
from caremesh.ledger.light import LightBlock, LightClient
from caremesh.ledger.transactions import Message, Tx, encode, sign
from caremesh.types import Did, Height, Seconds
from tests.support.comet_engine import PATIENT_S, now, short_folder
from tests.support.world import CHAIN, Actor, World
from tools.cometbft import cometbft

PACE: Final = Pace(commit_s=0.1, idle_s=0.5)
POLL_S: Final = 0.1


def engine_key(name: str) -> SigningKey:
    """With which a validator votes."""
    return SigningKey.from_seed(f"votes {name}".encode().ljust(32, b"."))


def validator(actor: Actor, name: str, power: int = 10) -> Validator:
    """A member's validator, whose key has a name."""
    return Validator(member=str(actor.did), key=engine_key(name).public, power=power)


def in_order(*validators: Validator) -> list[Validator]:
    """As the contract wants them."""
    return sorted(validators, key=lambda each: each.key)


def addresses_of(number: int, ports: Sequence[int]) -> Addresses:
    """Where a node listens for the others, and where they do; all on one host."""
    others = [
        f"{address_of(node_key(other).public).hex()}@127.0.0.1:{port}"
        for other, port in enumerate(ports)
        if other != number
    ]
    return Addresses(f"127.0.0.1:{ports[number]}", tuple(others), one_host=True)


class Network:
    """Nodes by number; each begins with a key of its number, and is a validator where the genesis says so."""

    def __init__(
        self,
        folder: Path,
        count: int,
        first: Sequence[Validator],
        program: Callable[[int], Path] = lambda _: cometbft(),
        *,
        waiting: int = MAX_WAITING,
        pace: Pace = PACE,
        **params: Any,
    ) -> None:
        """``first``: the validators of the genesis. ``program``: each node's CometBFT. ``waiting``, ``pace``: see
        ``Local``. ``params``: other parts of the genesis, such as ``params``.
        """
        self._program: Final = program
        self._waiting: Final = waiting
        self._pace: Final = pace
        self.world: Final = World()
        self.begun: Final[Seconds] = now()
        self.genesis: Final = codec.encode(self.world.genesis(time=self.begun, validators=in_order(*first), **params))
        self.first: Final = sorted((Power(each.key, each.power) for each in first), key=in_comets_order)
        self.folders: Final = [folder / str(number) for number in range(count)]
        self._ports: Final = free_ports(count)
        self.engines: Final[list[CometBft]] = []
        for number in range(count):
            self.engines.append(self._made(number, str(number)))

    def start(self) -> None:
        """Let them all begin, and wait for the first block everywhere."""
        for engine in self.engines:
            engine.start()
        for engine in self.engines:
            engine.wait(1, PATIENT_S)

    def close(self) -> None:
        """End them all."""
        for engine in self.engines:
            engine.close(0)

    def again(self, number: int, name: str) -> None:
        """End a node and start it with the key of this name."""
        self.engines[number].close(0)
        self.engines[number] = self._made(number, name)
        self.engines[number].start()

    def send(self, message: Message, *signers: Actor, by: int = 0, lives_s: int = 300) -> Committed:
        """Submit to a node; what became of it."""
        return self.engines[by].submit_soon(signed(message, *signers, lives_s=lives_s)).result(PATIENT_S)

    def must(self, message: Message, *signers: Actor, by: int = 0) -> Height:
        """Submit what must take effect; the height of its block."""
        done = self.send(message, *signers, by=by)
        assert done.code == "", (done.code, done.result.sentence)
        return done.height

    def everywhere(self, height: Height) -> None:
        """Wait until every node has executed this block."""
        for engine in self.engines:
            engine.wait(height, PATIENT_S)

    def validators(self, number: int = 0) -> list[Validator]:
        """Those whom the contract names at a node."""
        return queries.validators(self.engines[number].reader())

    def block(self, height: Height, number: int = 0) -> LightBlock:
        """CometBFT's header of a height with its validators, once it is there."""
        self.engines[number].wait(height, PATIENT_S)
        return self.engines[number].light_block(height)

    def signers(self, height: Height) -> set[bytes]:
        """Who is to order the block of this height, says CometBFT; whose signatures it has are among them."""
        block = self.block(height)
        keys = {each.key for each in block.validators}
        assert {each.key for each in block.signed.signatures} <= keys
        return keys

    def until_signed(self, key: SigningKey, after: Height) -> Height:
        """Wait for a header, after this one, that a key has signed: whose votes count stands in the block after it."""
        height, until = after, time.monotonic() + PATIENT_S
        while time.monotonic() < until:
            height += 1
            self.engines[0].wait(height + 1, PATIENT_S)
            if any(each.key == key.public for each in self.block(height).signed.signatures):
                return height
        raise AssertionError("it has signed nothing")

    def heard(self, kind: str, number: int = 0) -> Event:
        """The first event of this type at a node, once it is there."""
        until = time.monotonic() + PATIENT_S
        while time.monotonic() < until:
            found = [event for _, event in self.engines[number].subscribe() if event.type == kind]
            if found:
                return found[0]
            time.sleep(POLL_S)
        raise AssertionError(f"no {kind}")

    def follow(self, height: Height) -> list[LightBlock]:
        """Believe the header of a height, from the genesis on; by way of which headers."""
        client = LightClient(CHAIN, self.first, trusted_at=self.begun)
        steps: list[LightBlock] = []
        client.advance(self.block(height), self.block, now(), steps)
        return steps

    def same_everywhere(self, height: Height) -> None:
        """Every node has the same block at a height, and so the same state."""
        self.everywhere(height)
        assert len({codec.encode(engine.block(height)) for engine in self.engines}) == 1

    def _made(self, number: int, name: str) -> CometBft:
        addresses = addresses_of(number, self._ports)
        return CometBft(
            self.folders[number],
            Contracts(),
            Local(
                self._program(number), engine_key(name), node_key(number), addresses, self._pace, waiting=self._waiting
            ),
            chain=CHAIN,
            genesis=self.genesis,
            genesis_time=self.begun,
            validators=self.first,
            clock=now,
            monotonic=time.monotonic,
        )


@contextlib.contextmanager
def network(
    count: int,
    founders: Callable[[World], Sequence[Validator]],
    before: Callable[[Network], object] = lambda _: None,
    **params: Any,
) -> Iterator[Network]:
    """A network that runs; gone in the end, whatever happens. ``before``: what is done before it starts."""
    with short_folder() as folder:
        made = Network(folder, count, founders(World()), **params)
        try:
            before(made)
            made.start()
            yield made
        finally:
            made.close()


def signed(message: Message, *signers: Actor, lives_s: int = 300, chain: str = CHAIN) -> bytes:
    """A transaction of these, who sign now; the last of them sponsors it."""
    tx = Tx(
        chain=chain,
        expires_at=now() + lives_s,
        salt=os.urandom(8),
        signers=[actor.signer for actor in signers],
        msgs=[message],
    )
    return sign(encode(tx), [actor.key for actor in signers])


def in_the_name_of(name: str, did: Did | None) -> Actor:
    """The engine key of this name, as one that signs for a member."""
    actor = Actor(name)
    actor.key, actor.did = engine_key(name), did
    actor.signer = type(actor.signer)(key=actor.key.public, did=did)
    return actor


def node_key(number: int) -> SigningKey:
    """By which a CometBFT is known to others."""
    return SigningKey.from_seed(f"peer {number}".encode().ljust(32, b"."))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below those that the system gives away."""
    found: list[int] = []
    candidate = 22_000 + os.getpid() % 1_000 * 8
    while len(found) < count:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", candidate)):
            found.append(candidate)
        candidate += 1
    return found
