"""A wallet over the network: no copy of the ledger, any node's address, and keys that only it has.

What it trusts is the network file (genesis document and founding validators), whose hash an invitation names. From it
come the members' addresses and node keys; what has changed since is read, proven, from the ledger. Each request is
signed by a key made for it, but those to an inbox (the channel's key) and for sponsoring (the stream's).
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from random import SystemRandom
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.placed import PlacedBlocks
from caremesh.client.blocking import Portal, RemoteCustodian
from caremesh.client.blocks import BlocksClient
from caremesh.client.custody import CustodyClient
from caremesh.client.node import Node, Patience, Target
from caremesh.client.wallet import Page, WalletClient, nobody
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Admit
from caremesh.contracts.network.queries import params
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import FOREVER_S, Answer, Crossing, LightBlock, LightClient
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing.invitation import network_digest
from caremesh.types import ConsentId, Count, Did, Digest, Height, Multikey, Seconds, StreamId
from caremesh.wallet import ahead
from caremesh.wallet.errors import NOT_THE_NETWORK, UNKNOWN_MEMBER
from caremesh.wallet.linked import Ask, LinkedBlocks
from caremesh.wallet.proven import MAX_AGE_S, NOBODY, Fault, ProvenLedger, ProvenReader

T = TypeVar("T")


class NetworkFile(Struct, frozen=True):
    """Of what ``node.founding.Founding`` writes, what a wallet needs."""

    genesis: bytes
    validators: list[Validator]


class _Founders(Struct, frozen=True):
    """Of the genesis document, what a wallet needs."""

    chain: str
    time: Seconds
    members: list[Admit]


def read_network(data: bytes, digest: Digest | None = None) -> tuple[NetworkFile, _Founders]:
    """A network file, when it has this hash. Raises Tampered wallet.63."""
    if digest is not None and network_digest(data) != digest:
        raise Tampered(NOT_THE_NETWORK)
    try:
        file = msgspec.convert(codec.decode(data), NetworkFile, builtin_types=(bytes,))
        return file, msgspec.convert(codec.decode(file.genesis), _Founders, builtin_types=(bytes,))
    except (BadInput, msgspec.ValidationError) as error:
        raise Tampered(NOT_THE_NETWORK) from error


class _Holders(NamedTuple):
    """The members that hold blocks, how many must hold each, and when (seconds UTC) that was read."""

    dids: list[Did]
    replicas: Count
    at: Seconds


class _NodeProofs:
    """See ``proven.Proofs``."""

    def __init__(self, network: Network, did: Did) -> None:
        self.did: Did = did
        self._network = network

    def light_block(self, height: Height | None = None) -> LightBlock:
        return self._network.ask(self.did, lambda client: client.light_block(height))

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        return self._network.ask(self.did, lambda client: client.proofs(keys, height))


class Network:
    """See ``ways.Ways``. Any thread may call; close it."""

    def __init__(
        self,
        network_file: bytes,
        relay: Did,
        clock: Callable[[], Seconds],
        *,
        addresses: Mapping[Did, str] | None = None,
        patience: Patience | None = None,
        crossed: Crossing | None = None,
        kept: LightBlock | None = None,
    ) -> None:
        """``relay``: the member whose node is asked first. ``addresses``: where nodes are, other than the ledger says.

        ``crossed``, ``kept``: see ``ProvenLedger``. Raises Tampered wallet.63, light.NN; WrongLedger light.06; Refused
        wallet.80.
        """
        file, founders = read_network(network_file)
        light = LightClient(founders.chain, file.validators, trusted_at=founders.time, trust_period_s=FOREVER_S)
        self.proven: Final = ProvenLedger(
            light, self._proofs, clock, crossing=self._crossing, crossed=crossed, kept=kept
        )
        self.chain: Final = founders.chain
        self.relay: Final = relay
        self.clock: Final = clock
        self._addresses: Final = dict(addresses or {})
        self._patience: Final = patience or Patience()
        self._names: Final = {admitted.member: admitted.name for admitted in founders.members}
        self._targets: Final[dict[Did, Target]] = {}
        for admitted in founders.members:
            self._know(admitted.member, admitted.keys.node, admitted.endpoints)
        self._portal: Final = Portal()
        self._nodes: Final[dict[tuple[Did, int], tuple[Target, Node]]] = {}
        self._held: _Holders | None = None
        self._lock: Final = threading.RLock()
        self.requests = 0
        """How many were made, of any kind."""

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        self._portal.close()

    @property
    def faults(self) -> Sequence[Fault]:
        """See ``Ways``."""
        return self.proven.faults

    def ask(self, member: Did, work: Callable[[WalletClient], Awaitable[T]]) -> T:
        """What a member's node answers. Raises what it names, Unavailable client.NN, Refused wallet.13."""
        node = self._node(member)
        self.requests += 1
        return self._portal.call(lambda: work(WalletClient(node)))

    def first(self, work: Callable[[WalletClient], Awaitable[T]]) -> T:
        """What the first node answers that does: the relay's, then the others'. For what may be asked twice.

        Raises what a node refuses it with; Unavailable when none answers.
        """
        met: CareMeshError = Unavailable(NOBODY)
        for did in self.sponsors():
            try:
                return self.ask(did, work)
            except Unavailable as error:
                met = error
        raise met

    def did(self, name: str) -> Did:
        """See ``Ways``: a DID, a name as the network knows it, or a part of one name only. Raises Refused wallet.13."""
        if name in self._names:
            return name
        found = [did for did, known in self._names.items() if known.casefold() == name.casefold()]
        found = found or [did for did, known in self._names.items() if name.casefold() in known.casefold()]
        if len(found) != 1:
            raise Refused(UNKNOWN_MEMBER, ", ".join(sorted(self._names.values())))
        return found[0]

    def name_of(self, did: Did) -> str:
        """See ``Ways``."""
        return self._names.get(did, did)

    def subject_ledger(self) -> WalletLedger:
        """See ``Ways``."""
        return WalletLedger(self)

    def sponsor(self, name: str = "") -> RemoteSponsor:
        """See ``Ways``."""
        return RemoteSponsor(self, self.did(name) if name else self.relay)

    def sponsors(self) -> list[Did]:
        """See ``Ways``: the relay, then the others in random order."""
        return [node.did for node in self._proofs()]

    def light_block(self) -> LightBlock:
        """See ``Ways``."""
        self.proven.reader()
        assert self.proven.block is not None  # noqa: S101 - a reader has one
        return self.proven.block

    def query(self, key: bytes, height: Height) -> Answer:
        """See ``Ways``."""
        return self.first(lambda client: client.proofs([key], height))[0]

    def send_letter(self, member: Did, sealed: bytes) -> bytes:
        """By way of the relay. See ``Ways``."""
        return self.ask(self.relay, lambda client: client.letter(member, sealed))

    def messages(self, relay: Did, channel: Signs, after: str = "") -> Page:
        """See ``Ways``."""
        return self.ask(relay, lambda client: client.messages(channel, after))

    def acknowledge(self, relay: Did, channel: Signs, ids: Sequence[str]) -> Count:
        """See ``Ways``."""
        return self.ask(relay, lambda client: client.acknowledge(channel, ids))

    def notices(self, relay: Did, channel: Signs, after: str = "") -> str:
        """Wait until something comes for a channel key after a cursor: the newer cursor."""

        async def first(client: WalletClient) -> str:
            async with aclosing(client.notices(channel, after)) as cursors:
                async for cursor in cursors:
                    return cursor
            return after

        return self.ask(relay, first)

    def deposit(self, custodian: Did, sealed: bytes) -> bytes:
        """See ``Ways``, as for all of these."""
        return self._custodian(custodian).deposit_fragment(sealed)

    def deposit_reseal(self, custodian: Did, sealed: bytes) -> bytes:
        """See ``Ways``."""
        return self._custodian(custodian).deposit_reseal(sealed)

    def own_seals(self, custodian: Did, request: bytes) -> bytes:
        """See ``Ways``."""
        return self._custodian(custodian).seals(request)

    def own_log(self, custodian: Did, request: bytes) -> bytes:
        """See ``Ways``."""
        return self._custodian(custodian).stream_log(request)

    def confirm_destroyed(self, custodian: Did, consent: ConsentId) -> bytes:
        """See ``Ways``."""
        return self._custodian(custodian).confirm_destroyed(consent)

    def confirm_erased(self, member: Did, stream: StreamId, segment: Count) -> list[bytes]:
        """See ``Ways``."""
        return self._custodian(member).confirm_erased(stream, segment)

    def put_index(self, member: Did, data: bytes) -> None:
        """See ``Ways``."""
        self.ask(member, lambda client: client.put_index(data))

    def get_index(self, member: Did, locator: Multikey) -> bytes | None:
        """See ``Ways``."""
        return self.ask(member, lambda client: client.get_index(locator))

    def blocks_of(self, stream: StreamId, source: Did, key: Signs, cids: Sequence[CID]) -> PlacedBlocks:
        """See ``Ways``: by links (ADR 0086) of the members that hold the stream (ADR 0085)."""
        known = self._holders()
        ways = {did: LinkedBlocks(self._blocks(did), stream, key, cids) for did in known.dids}
        return PlacedBlocks(stream, source, ways, lambda: known.replicas, self._failed)

    def meet(self, reader: Reader) -> None:
        """Learn of the members what the ledger says of them now: addresses, node keys, newcomers."""
        ahead.members_of(reader)
        for member in members.members(reader):
            self._names[member.did] = member.name
            self._know(member.did, member.keys.node, member.endpoints)

    def _know(self, did: Did, node_key: Multikey, endpoints: Sequence[str]) -> None:
        url = self._addresses.get(did) or (endpoints[0] if endpoints else "")
        if url:
            self._targets[did] = Target(did=did, node_key=node_key, url=url)

    def _node(self, did: Did, tries: int = 0) -> Node:
        """``tries``: how often to try, where that is not as for everything else."""
        if did not in self._targets and did != self.relay:
            self.meet(self.proven.reader())
        with self._lock:
            target = self._targets.get(did)
            if target is None:
                raise Refused(UNKNOWN_MEMBER, did)
            known = self._nodes.get((did, tries))
            if known is None or known[0] != target:
                patience = replace(self._patience, tries=tries or self._patience.tries)
                made = self._portal.node(lambda: Node(target, nobody, clock=self.clock, patience=patience))
                known = self._nodes[did, tries] = target, made
            return known[1]

    def _holders(self) -> _Holders:
        """Who holds blocks, as the ledger said no longer ago than an act may rely on it."""
        now = self.clock()
        if self._held is None or now - self._held.at > MAX_AGE_S:
            reader = self.proven.reader()
            self.meet(reader)
            active = [each.did for each in members.members(reader) if each.status == "active"]
            self._held = _Holders([did for did in active if did in self._targets], params(reader).replicas, now)
        return self._held

    def _blocks(self, did: Did) -> Ask:
        def ask(work: Callable[[BlocksClient], Awaitable[T]]) -> T:
            client = BlocksClient(self._node(did, tries=1))  # there are others who hold the same
            self.requests += 1
            return self._portal.call(lambda: work(client))

        return ask

    def _failed(self, did: Did, error: CareMeshError) -> None:
        self.proven.faults.append(Fault(did, error.code))

    def _custodian(self, did: Did) -> RemoteCustodian:
        node = self._node(did)
        self.requests += 1
        return RemoteCustodian(self._portal, CustodyClient(node))

    def _crossing(self, did: Did) -> Crossing | None:
        return self.ask(did, lambda client: client.crossing())

    def _proofs(self) -> list[_NodeProofs]:
        """The relay's node first, the others in random order."""
        others = [did for did in self._targets if did != self.relay]
        SystemRandom().shuffle(others)
        return [_NodeProofs(self, did) for did in (self.relay, *others)]


class RemoteSponsor:
    """A member's node as sponsor. See ``ports.Sponsor``."""

    def __init__(self, network: Network, did: Did) -> None:
        self.did: Final = did
        self._network = network

    def sponsor(self, tx_bytes: bytes, key: Signs) -> bytes:
        """See ``Sponsor``."""
        return self._network.ask(self.did, lambda client: client.sponsor(tx_bytes, key))


class WalletLedger:
    """The ledger as a wallet far away sees it. See ``ports.Ledger``."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._least: Height = 0

    def reader(self) -> ProvenReader:
        """Proven; not older than what this wallet has seen its own transactions in."""
        return self._network.proven.reader(self._least)

    def submit(self, transactions: Sequence[bytes]) -> list[Committed]:
        """Each in a request of its own."""
        return self._each(transactions, lambda client, raw: client.submit(raw))

    def submit_batch(self, transactions: Sequence[bytes]) -> list[Committed]:
        """Each in a request of its own, under one key for this act: the relay's outbox counts subjects by it."""
        act = nobody()
        return self._each(transactions, lambda client, raw: client.submit_batched(raw, act))

    def _each(
        self, transactions: Sequence[bytes], work: Callable[[WalletClient, bytes], Awaitable[Committed]]
    ) -> list[Committed]:
        network = self._network
        with ThreadPoolExecutor(max(1, len(transactions))) as pool:
            done = list(pool.map(lambda raw: network.first(lambda client: work(client, raw)), transactions))
        self._least = max([self._least, *(each.height for each in done)])
        return done
