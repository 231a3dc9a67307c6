"""The ledger for a wallet that has no copy of it: asked of nodes that are believed nothing, proven key by key.

A reader stands at one height for one act. Its header is verified from the network's founding (``ledger/light.py``), is
not older than ``max_age_s``, and is what a second node has at that height, where there is one that answers: a header
that was forked needs keys of the network's validators and two nodes that agree. Every value, every absence and every
list (by its bounds and elements) is proven under it. A node that lies or is behind is left for the next one, and named.

What is asked of whom: streams are not named together to a node that does not know that they belong together. Each is
asked for in requests of its own, at any node; only the source of several streams, who was given all of them in a
sealing profile, may be asked for all of them at once (``together``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from caremesh.blobs.interface import WRONG_BLOCK
from caremesh.contracts.network.queries import params_key
from caremesh.errors import CareMeshError, ErrorCode, Refused, Tampered, Unavailable, WrongLedger
from caremesh.ledger import forks, succession
from caremesh.ledger.blocks import BlockHeader
from caremesh.ledger.light import (
    FORKED,
    NOT_SIGNED,
    OTHER_CHAIN,
    OTHER_HEIGHT,
    OTHER_SET,
    UNKNOWN_SET,
    Answer,
    Crossing,
    LightBlock,
    LightClient,
    check_answer,
)
from caremesh.ledger.proofs import BAD_PROOF
from caremesh.ledger.state import read_value
from caremesh.ledger.succession import is_of
from caremesh.types import DAY_S, Did, Height, Seconds

MAX_AGE_S: Final[Seconds] = 60
TRUST_S: Final[Seconds] = 365 * DAY_S
"""How long a header that a wallet has kept is believed without a newer one (ADR 0126)."""
MAX_KEYS: Final = 512
"""In one request."""
_AT_ONCE: Final = 8
_ELEMENTS: Final = 256
_FIRST, _COUNT = b"/first", b"/count"

STALE = ErrorCode(
    "wallet.60", "The newest block of this node is too old to act on.", "Ask another node, or wait until it follows."
)
OTHER_KEYS = ErrorCode("wallet.61", "A node answered for other keys than it was asked for.", "Ask another node.")
_LIES: Final = frozenset(
    lie.code for lie in (OTHER_KEYS, WRONG_BLOCK, BAD_PROOF, NOT_SIGNED, UNKNOWN_SET, FORKED, OTHER_HEIGHT, OTHER_SET)
)
LAPSED = ErrorCode(
    "wallet.80",
    "The newest header that this wallet has verified is older than a year: who signed it may have left since.",
    "Ask a member whether the founders still hold the keys of the network file; then `wallet trust-founders`.",
)
_NOT_THERE: Final = "ledger.11"
"""A node's word that it has not got the state of a height."""
NOBODY = ErrorCode("wallet.62", "No node answered.", "Look at the connection; give another node's address.")


class Proofs(Protocol):
    """One node, as far as it proves what it says. Both raise CareMeshError."""

    did: Did

    def light_block(self, height: Height | None = None) -> LightBlock:
        """A signed header: the newest, or of a height."""

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        """Each key with its proof, in order; at most ``MAX_KEYS``."""


class Fault(NamedTuple):
    """A node that did not answer, or lied: which, and the code of what was wrong."""

    node: Did
    code: str


def is_lie(fault: Fault) -> bool:
    """Whether the node answered something untrue, or damaged, and not only nothing."""
    return fault.code in _LIES


class ProvenLedger:
    """Makes readers. Any thread may call."""

    def __init__(
        self,
        light: LightClient,
        nodes: Callable[[], Sequence[Proofs]],
        clock: Callable[[], Seconds],
        max_age_s: Seconds = MAX_AGE_S,
        crossing: Callable[[Did], Crossing | None] = lambda _: None,
        crossed: Crossing | None = None,
        kept: LightBlock | None = None,
    ) -> None:
        """``nodes``: the first is asked first, the second is its witness. ``crossing``: what a node shows for its
        headers being of another chain (see ``LightClient.cross``); ``crossed``: what one has shown before. ``kept``:
        the newest header that was verified before: where there is one, what follows from ``light`` alone is not enough.

        Raises light.NN where these prove nothing, WrongLedger light.06; Refused wallet.80.
        """
        self.crossed: Crossing | None = crossed
        """What has led from the first chain to the one whose headers are believed now."""
        name = light.chain
        if crossed is not None:
            light.cross(crossed, crossed.block.signed.content().time)
        self._root: Final = light.copy()
        """From where forks are shown: what everybody trusts who has the network file."""
        self._trust: LightClient | None = None
        """From where they are looked for, where this wallet knows better than the founders."""
        if kept is not None:
            header = kept.signed.content()
            if not is_of(header.chain, name):
                raise WrongLedger(OTHER_CHAIN)
            if clock() - header.time > TRUST_S:
                raise Refused(LAPSED, f"height {header.height}")
            light = LightClient.from_header(header.chain, kept, header.hash(), trust_period_s=TRUST_S)
            if crossed is not None and header.chain == name:
                light.cross(crossed, crossed.block.signed.content().time)
            self._trust = light.copy()
        self._crossing: Final = crossing
        self._light: Final = light
        self._nodes: Final = nodes
        self._clock: Final = clock
        self._max_age_s: Final = max_age_s
        self._lock: Final = threading.Lock()
        self.block: LightBlock | None = kept
        """The newest header that was believed."""
        self.faults: list[Fault] = []
        self.fork: forks.Fork | None = None
        """What shows the fork that was found, where one was."""

    def reader(self, least: Height = 0) -> ProvenReader:
        """The newest state of the first node that can prove it, at ``least`` or higher.

        Raises Tampered light.07 where two nodes have two headers of one height; else what was wrong with the last
        node that was asked: Tampered, Refused light.NN, wallet.60; Unavailable wallet.62.
        """
        met: CareMeshError = Unavailable(NOBODY)
        nodes = self._nodes()
        with self._lock:
            for node in nodes:
                try:
                    header = self._header(node, least)
                except CareMeshError as error:
                    self.faults.append(Fault(node.did, error.code))
                    if error.code == FORKED.code:
                        raise
                    met = error
                    continue
                self._ask_witnesses(node, [other for other in nodes if other is not node])
                return ProvenReader(header, [node, *(other for other in nodes if other is not node)], self.faults)
        raise met

    def _header(self, node: Proofs, least: Height) -> BlockHeader:
        block, now = node.light_block(), self._clock()
        header = block.signed.content()
        if header.proves < least or header.height < self._light.height or now - header.time > self._max_age_s:
            raise Refused(STALE, f"height {header.height}")
        crossing = self._crossing(node.did) if header.chain != self._light.chain else None
        if crossing is not None:
            self._root.copy().cross(crossing, now)
            self._light.cross(crossing, now)
            self._root.cross(crossing, now)
            if self._trust is not None:
                self._trust.cross(crossing, now)
            self.crossed = crossing
        header = self._light.advance(block, node.light_block, now)
        self.block = block
        return header

    def _ask_witnesses(self, node: Proofs, others: Sequence[Proofs]) -> None:
        """Whether the next node that answers has the same header. Raises Tampered light.07."""
        assert self.block is not None  # noqa: S101 - it was believed just now
        for other in others:
            try:
                found = forks.compare(self._trust or self._root, node, self.block, [other], self._clock())
            except Tampered as error:
                self.fork = self._shown(node, self.block, other) or getattr(error, "fork", None)
                self.faults.append(Fault(other.did, error.code))
                raise
            if found.agreed:
                return

    def _shown(self, node: Proofs, block: LightBlock, other: Proofs) -> forks.Fork | None:
        """The fork for whoever trusts the founders alone; None where it does not follow from them any more."""
        try:
            forks.compare(self._root, node, block, [other], self._clock())
        except CareMeshError as error:
            return error.fork if isinstance(error, forks.Forked) else None
        return None


class ProvenReader:
    """State at one height. See ``ledger.state.Reader``. Any thread may call."""

    def __init__(self, header: BlockHeader, nodes: Sequence[Proofs], faults: list[Fault]) -> None:
        self._header: Final = header
        self._nodes: Final = nodes
        self._faults: Final = faults
        self._known: Final[dict[bytes, bytes | None]] = {}
        self.height: Final[Height] = header.proves
        self.requests = 0
        """How many were made for values so far."""

    def get(self, key: bytes) -> bytes | None:
        """The proven value, or None where its absence is proven. Raises as ``fetch``."""
        if key not in self._known:
            self.fetch(self._beside(key))
        return self._known[key]

    def knows(self, key: bytes) -> bool:
        """Whether this key was proven already."""
        return key in self._known

    def fetch(self, keys: Sequence[bytes], nodes: Sequence[Proofs] | None = None) -> None:
        """Prove these keys, in one request, of the first node that can.

        Raises what was wrong with the last node: Tampered proof.01, light.08, wallet.61; Unavailable; Refused.
        """
        wanted = [key for key in dict.fromkeys(keys) if key not in self._known]
        for start in range(0, len(wanted), MAX_KEYS):
            self._fetch(wanted[start : start + MAX_KEYS], self._nodes if nodes is None else nodes)

    def each(self, groups: Iterable[Sequence[bytes]]) -> None:
        """Prove groups of keys, a request for each group, several at a time. Raises as ``fetch``."""
        wanted = [group for group in groups if any(key not in self._known for key in group)]
        if not wanted:
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
            list(pool.map(self.fetch, wanted))

    def together(self, source: Did, groups: Iterable[Sequence[bytes]]) -> None:
        """Prove groups of keys in one request of ``source``, who knows that they belong together; where it does not
        answer, or lies, a request for each group, of the others. Raises as ``fetch``.
        """
        asked = list(groups)
        known = [node for node in self._nodes if node.did == source]
        if known:
            try:
                self.fetch([key for group in asked for key in group], known)
            except CareMeshError:
                pass  # named among the faults; the others are asked
            else:
                return
        self.each(asked)

    def _fetch(self, keys: Sequence[bytes], nodes: Sequence[Proofs]) -> None:
        met: CareMeshError = Unavailable(NOBODY)
        for node in nodes:
            try:
                self.requests += 1
                self._known.update(self._proven(node, keys))
            except CareMeshError as error:
                self._faults.append(Fault(node.did, error.code))
                if error.code != _NOT_THERE:  # it is behind, or just begins; the one that showed the header is not
                    met = error
            else:
                return
        raise met

    def _proven(self, node: Proofs, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
        answers = node.answers(keys, self.height)
        if [answer.key for answer in answers] != list(keys):
            raise Tampered(OTHER_KEYS, node.did)
        return {answer.key: check_answer(self._header, answer) for answer in answers}

    def _beside(self, key: bytes) -> list[bytes]:
        """A key, and those that are read with it: with the parameters the chain that transactions are for; both bounds
        of a list, and of one whose bounds are known the newest elements, or those that follow where it is none of them:
        who reads a list begins with the oldest.
        """
        if key == params_key():
            return [key, succession.KEY]
        if key.endswith((_FIRST, _COUNT)):
            base = key[: -len(_COUNT)]
            return [base + _FIRST, base + _COUNT]
        if key[-9:-8] != b"/":
            return [key]
        newest = elements(self, key[:-9])
        return newest if key in newest else elements(self, key[:-9], int.from_bytes(key[-8:], "big")) or [key]


def bounds(base: bytes) -> list[bytes]:
    """The keys of the bounds of a counted list, from its count's key."""
    return [base.removesuffix(_COUNT) + _FIRST, base.removesuffix(_COUNT) + _COUNT]


def elements(reader: ProvenReader, base: bytes, oldest: int | None = None) -> list[bytes]:
    """The keys of the elements of a list whose bounds are proven, the newest or from ``oldest`` on; none where they
    are not proven.
    """
    first_key, count_key = base + _FIRST, base + _COUNT
    if not (reader.knows(first_key) and reader.knows(count_key)):
        return []
    stored_first, stored_count = reader.get(first_key), reader.get(count_key)
    first = 0 if stored_first is None else read_value(stored_first, int)
    count = 0 if stored_count is None else read_value(stored_count, int)
    begin = max(first, count - _ELEMENTS) if oldest is None else oldest
    return [base + b"/" + index.to_bytes(8, "big") for index in range(begin, min(begin + _ELEMENTS, count))]
