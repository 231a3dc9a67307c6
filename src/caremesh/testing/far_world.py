"""The main job's world over a network: five nodes on loopback, each of several processes, and nothing shared.

The patient reaches them over TLS like any wallet (``wallet/network.py``); the members' own people are at
their nodes' desks.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from caremesh import codec
from caremesh.client.blocking import RemoteCustodian
from caremesh.client.custody import CustodyClient
from caremesh.client.node import Node as Way
from caremesh.client.node import Target
from caremesh.client.signing import Identity
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.members.messages import Admit
from caremesh.crypto.pins import Leaf, make_leaf
from caremesh.errors import Unavailable
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.gateway.opening import Opened
from caremesh.ledger.light import LightClient
from caremesh.ledger.state import Reader
from caremesh.node import doors, founding
from caremesh.node.errors import UNKNOWN_MEMBER
from caremesh.node.lagging import Lagging
from caremesh.node.member import MemberHome
from caremesh.sealing.channel import SharedStream
from caremesh.sealing.invitation import Invitation
from caremesh.source.importer import ImportReport
from caremesh.testing.bent import CLOCK, LATE, LIE, MODULE, FileClock
from caremesh.testing.nodes import CHAIN, FLAGS, Network
from caremesh.testing.world import ORDERED, Seen
from caremesh.types import DAY_S, Code, Count, Did, Digest, Height, Seconds
from caremesh.wallet.network import Network as WalletNetwork

RELAY: Final = "hospital"
WITHIN_S: Final = 30.0
_YEAR_S: Final = 365 * DAY_S
T = TypeVar("T")


@contextmanager
def far(folder: Path, cometbft: Path | None = None, later: Path | None = None) -> Iterator[FarWorld]:
    """Fresh nodes in a folder; they are ended, and waited for, whatever happens.

    ``cometbft``: see ``Network``; the one whose clock is that of the story (``tools/cometbft.py``: bent).
    ``later``: the same, for a network that is founded without it and goes over.
    """
    folder.mkdir(parents=True)
    clock = FileClock(folder / "clock")
    os.environ[CLOCK] = str(folder / "clock")
    command = (sys.executable, "-m", MODULE, "node")
    flags = FLAGS if later is None else {**FLAGS, "cometbft_program": str(later)}
    with Network(folder, command=command, now=clock, cometbft=cometbft, flags=flags) as network:
        network.start()
        world = FarWorld(network, clock)
        try:
            practice, doctor = network.nodes["practice"], world.home("practice").practitioner(CHAIN)
            practice.desk.appoint(doctor.did, ["physician"], clock() + 2 * _YEAR_S)
            yield world
        finally:
            world.close()


class FarWorld(WalletNetwork):
    """See ``World``. What a wallet reaches, it reaches by the network, as any wallet does."""

    def __init__(self, network: Network, clock: FileClock, relay: str = RELAY) -> None:
        """``relay``: the member whose node the patient's wallet asks first."""
        super().__init__(codec.encode(network.founding), network.nodes[relay].keys.did, clock)
        self.network = network
        self._advance = clock.advance
        self._admitted = {each.member: each for each in network.founding.document.members}
        self._ways: dict[tuple[Did, str], Way] = {}

    @property
    def custodians(self) -> Mapping[Did, Admit]:
        """See ``World``."""
        return {did: each for did, each in self._admitted.items() if "custodian" in each.roles}

    def did(self, name: str) -> Did:
        """See ``World``."""
        return name if name in self._admitted else self.network.nodes[name].keys.did

    def invite(self, member: str, patient: str, *, again: bool = False) -> Invitation:
        """See ``World``."""
        return self.network.nodes[member].desk.invite(patient, again=again)

    def ordered(self) -> str:
        """See ``World``."""
        if self.network.founding.engine == "cometbft":
            return "All five order transactions together, by CometBFT; each executes every block itself."
        return ORDERED

    # --- what the job asks of it besides --------------------------------------------------------------

    def seen(self) -> list[Seen]:
        """See ``World``."""
        return [Seen(each.name, each.roles) for each in self._admitted.values()]

    def name_of(self, did: Did) -> str:
        """See ``World``."""
        for node in self.network.nodes.values():
            if node.keys.did == did:
                return node.keys.profile.label
            if node.keys.practitioner(CHAIN).did == did:
                return f"practitioner of {node.keys.profile.label}"
        return did

    def states(self) -> list[tuple[Height, Digest]]:
        """Waits until they are at one height: blocks come all the time."""

        def together() -> list[tuple[Height, Digest]]:
            order = sorted(self.network.nodes, key=lambda name: name != "regulator")
            found = [self.network.nodes[name].desk.where() for name in order]
            return [(each.height, each.app_hash) for each in found] if len({each.height for each in found}) == 1 else []

        return _until(together)

    def home(self, name: str) -> MemberHome:
        """See ``World``."""
        return self.network.nodes[name].keys

    def reader(self) -> Reader:
        """See ``World``: proven, value by value."""
        return self.subject_ledger().reader()

    def light_client(self) -> LightClient:
        """See ``World``."""
        known = founding.load(self.network.nodes[RELAY].home)
        return (known or self.network.founding).light_client()

    def import_file(self, member: str, data: bytes) -> ImportReport:
        """See ``World``."""
        return self.network.nodes[member].desk.import_file(data)

    def shared(self, member: str, category: Code) -> SharedStream:
        """See ``World``."""
        return self.network.nodes[member].desk.shared(category)

    def ask_for(self, member: str, category: Code, purpose: Code, legal_basis: Sequence[Code]) -> Receipt:
        """See ``World``."""
        return self.network.nodes[member].desk.ask(category, purpose, legal_basis)

    def open(self, member: str, receipt: Receipt) -> Opened:
        """See ``World``."""
        return self.network.nodes[member].desk.open(receipt)

    def custodians_of(self, member: str) -> Mapping[Did, ReleaseCustodian]:
        """See ``World``."""
        way = {did: self._way(did, member) for did in self.custodians}
        return {did: Lagging(RemoteCustodian(self._portal, CustodyClient(each))) for did, each in way.items()}

    @contextmanager
    def lying(self, custodian: Did) -> Iterator[None]:
        """See ``World``."""
        with self._marked(custodian, LIE, ""):
            yield

    @contextmanager
    def late(self, custodian: Did, seconds: float) -> Iterator[None]:
        """A custodian that answers so late; what it has not answered in the end, it answers then."""
        with self._marked(custodian, LATE, str(seconds)):
            yield

    @contextmanager
    def _marked(self, custodian: Did, what: str, says: str) -> Iterator[None]:
        mark = self.network.nodes[self._name(custodian)].home / doors.RUN / what
        beside = mark.with_name(f"{what}.new")
        beside.write_text(says, "utf-8")
        beside.replace(mark)
        try:
            yield
        finally:
            mark.unlink()

    def block_folders(self, asker: str) -> list[Path]:
        """See ``World``: its own first. What nodes are mending just now, they finish before."""
        _until(lambda: not any(node.desk.where().checking for node in self.network.nodes.values()))
        names = sorted(map(self._name, self._admitted), key=lambda name: name != asker)
        return [self.network.nodes[name].home / "blocks" for name in names]

    def damaged(self) -> list[str]:
        """See ``World``."""
        return sorted({name for node in self.network.nodes.values() for name in node.desk.where().damaged})

    def confirmed(self, beyond: Count = 0) -> Count:
        """See ``World``."""

        def count() -> Count:
            return sum(node.desk.where().confirmations for node in self.network.nodes.values())

        end = time.monotonic() + WITHIN_S
        while beyond and count() <= beyond and time.monotonic() < end:
            time.sleep(0.02)
        return count()

    def let_pass(self, seconds: Seconds) -> None:
        """See ``World``."""
        self._advance(seconds)
        _until(lambda: all(node.ready() for node in self.network.nodes.values()))

    # --- ways -----------------------------------------------------------------------------------------

    def _name(self, did: Did) -> str:
        for name, node in self.network.nodes.items():
            if node.keys.did == did:
                return name
        raise Unavailable(UNKNOWN_MEMBER, did)

    def _way(self, to: Did, member: str) -> Way:
        """The way to a member's node for another member's software."""
        if (to, member) not in self._ways:
            said = self._admitted[to]
            target = Target(did=to, node_key=said.keys.node, url=said.endpoints[0])
            identity, leaf = self._identity(member)
            self._ways[to, member] = self._portal.node(lambda: Way(target, identity, leaf=leaf, clock=self.clock))
        return self._ways[to, member]

    def _identity(self, member: str) -> tuple[Identity, Leaf]:
        keys = self.home(member)
        return Identity.of_did(keys.did, keys.node_key), make_leaf(keys.did, keys.node_key, int(time.time()))


def _until(found: Callable[[], T]) -> T:
    end = time.monotonic() + WITHIN_S
    while not (value := found()):
        if time.monotonic() > end:
            raise Unavailable(UNKNOWN_MEMBER)
        time.sleep(0.05)
    return value
