"""The same for who does not wait in an event loop: gateways, sources, wallets and custodians call these.

One event loop in a thread of its own (``Portal``) holds all connections of a process. Any thread may call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from caremesh.client.custody import CustodyClient
from caremesh.client.ledger import LedgerClient
from caremesh.client.node import Node
from caremesh.client.wire import LogRoot, NodeStatus
from caremesh.codec import CID
from caremesh.consensus.interface import Committed
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import Block
from caremesh.ledger.light import Crossing
from caremesh.types import ConsentId, Count, Height, StreamId

T = TypeVar("T")


class Portal:
    """An event loop for callers that block. Close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._context: Final = start_blocking_portal(name="client")
        self._portal: Final[BlockingPortal] = self._context.__enter__()
        self._nodes: Final[list[Node]] = []

    def __enter__(self) -> Portal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all nodes that were made here, and end the thread."""
        for node in self._nodes:
            self._portal.call(node.close)
        self._nodes.clear()
        self._context.__exit__(None, None, None)

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns or raises."""
        return self._portal.call(work)

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """What ``work`` will return or raise."""
        return self._portal.start_task_soon(work)

    def node(self, make: Callable[[], Node]) -> Node:
        """A node whose connections live here."""

        async def made() -> Node:
            return make()

        node = self._portal.call(made)
        self._nodes.append(node)
        return node

    def drop(self, node: Node) -> None:
        """Close a node that is not used any more: its member has another key or address now."""
        self._nodes.remove(node)
        self._portal.call(node.close)


class RemoteLedger:
    """The ledger at another node: ``submit`` and ``submit_many`` of an engine, and its blocks."""

    def __init__(self, portal: Portal, client: LedgerClient, name: str = "") -> None:
        """``name``: of the node, for logs."""
        self._portal = portal
        self._client = client
        self.name = name

    def submit(self, raw: bytes) -> Committed:
        """See ``Engine.submit``."""
        return self._portal.call(lambda: self._client.submit(raw))

    def submit_many(self, raws: Sequence[bytes]) -> list[Future[Committed]]:
        """See ``Embedded.submit_many``: all on their way when it returns."""
        return [self._portal.start(partial(self._client.submit, raw)) for raw in raws]

    def outcome(self, tx: CID, *, verify: bool = True) -> Committed | None:
        """See ``LedgerClient.outcome``."""
        return self._portal.call(lambda: self._client.outcome(tx, verify=verify))

    def blocks(self, start: Height, wait_s: float) -> list[Block]:
        """See ``LedgerClient.blocks``: unverified, for who executes them."""
        return self._portal.call(lambda: self._client.blocks(start, int(wait_s), verify=False))

    def cometbft(self, call: str, query: Mapping[str, str]) -> bytes:
        """See ``LedgerClient.cometbft``."""
        return self._portal.call(lambda: self._client.cometbft(call, query))

    def crossing(self) -> Crossing | None:
        """See ``LedgerClient.crossing``."""
        return self._portal.call(self._client.crossing)

    def query(self, key: bytes) -> bytes | None:
        """See ``LedgerClient.query``: the newest, verified."""
        return self._portal.call(lambda: self._client.query(key))

    @property
    def told(self) -> Height:
        """See ``LedgerClient.told``."""
        return self._client.told

    def status(self, *, verify: bool = True) -> NodeStatus:
        """See ``LedgerClient.status``."""
        return self._portal.call(lambda: self._client.status(verify=verify))


class RemoteCustodian:
    """One custodian, over the network: what gateways, sources, wallets and fellow custodians need of it."""

    def __init__(self, portal: Portal, client: CustodyClient) -> None:
        self._portal = portal
        self._client = client

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """See ``Custodian``, as for all of these; they raise what ``Node.call`` raises besides."""
        return self._portal.call(lambda: self._client.deposit_fragment(sealed))

    def deposit_seal(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self.deposit_seals([data])[0]

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.deposit_seals(data))

    def deposit_reseal(self, sealed: bytes) -> bytes:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.deposit_reseal(sealed))

    def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.release(data))

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.release_each(data))

    def seals(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.seals(data))

    def stream_log(self, data: bytes) -> bytes:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.stream_log(data))

    def confirm_erased(self, stream: StreamId, segment: Count) -> list[bytes]:
        """See ``CustodyClient``."""
        return self._portal.call(lambda: self._client.confirm_erased(stream, segment))

    def confirm_destroyed(self, consent: ConsentId) -> bytes:
        """See ``Custodian``."""
        return self._portal.call(lambda: self._client.confirm_destroyed(consent))

    def log_root(self) -> LogRoot:
        """See ``CustodyClient``."""
        return self._portal.call(self._client.log_root)
