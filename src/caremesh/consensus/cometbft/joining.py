"""Joining a chain that runs already, by a snapshot instead of all its blocks; and again, when what was kept is damaged.

Whoever joins trusts one header that its own light client has verified (``trust``). All else is proven from there:
CometBFT's light client follows the headers around the snapshot, and so does ours (``Headers``), since a snapshot says a
few things about its block that no app hash covers. Where headers come from is not trusted: ``Fetch``.

A join that has begun is marked in CometBFT's folder until the first block after the snapshot is durable. Started again
before that, it begins anew: two databases, of which one might know of the snapshot and the other not, are then never
met. What a validator has signed stays in every case.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct

from caremesh.blobs.durable import STORAGE_FAILED, sync_folder, write_durably
from caremesh.consensus.comet_rpc import Number, ValidatorsAnswer, light_block, read_answer
from caremesh.errors import CareMeshError, ErrorCode, StorageFailed, Tampered, Unavailable
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import OTHER_HEIGHT, LightBlock, LightClient
from caremesh.types import Count, Digest, Height, Seconds

T = TypeVar("T")
Fetch: TypeAlias = Callable[[str, Mapping[str, str]], bytes]
"""Asks a member's CometBFT: (path, parameters) → what it answers, a JSON-RPC document, even when that is a refusal.

Raises Unavailable when there is no answer."""

TRUST_PERIOD_S: Final[Seconds] = 7 * 86_400
"""Half of the time for which CometBFT takes evidence against who signed something else."""
_PAGE: Final = 100
_MAX_PAGES: Final = 100
_MARK: Final = "joining"
_SIGNED: Final = "priv_validator_state.json"
STATE: Final = "ledger"
HOME: Final = "cometbft"
"""Folders in that of an engine."""
_DAMAGED: Final = "ledger.damaged"

NO_HEADER = ErrorCode(
    "consensus.40", "Nobody who was asked gives the header of this height.", "Ask again, or ask other members."
)
HALF_JOINED = ErrorCode(
    "consensus.41", "This node began to join by a snapshot and has not finished.", "Start it as one that joins."
)
NOT_JOINED = ErrorCode("consensus.42", "This node is still joining the ledger.", "Wait until it has caught up.")


class Joining(Struct, frozen=True):
    """What it takes to join: a header that is trusted, by height and hash, and members to ask, one at least."""

    height: Height
    hash: Digest
    sources: Sequence[Fetch]


class _SyncInfo(Struct, frozen=True):
    latest_block_height: Number
    earliest_block_height: Number


class _Synced(Struct, frozen=True):
    sync_info: _SyncInfo


class _Status(Struct, frozen=True):
    result: _Synced


def trust(client: LightClient, sources: Sequence[Fetch], now: Seconds, span: Count) -> Joining:
    """Joining by a header that ``client`` has verified: one below the snapshots of the last ``span`` heights.

    Members must still have it when CometBFT asks, so one well above their oldest. Raises Unavailable consensus.40.
    """

    def ask(fetch: Fetch) -> Joining:
        info = read_answer(fetch("/status", {}), _Status).result.sync_info
        newest, oldest = int(info.latest_block_height), int(info.earliest_block_height)
        height = max(oldest + (newest - oldest) // 4, newest - span, client.height + 1, 1)
        header = client.advance(signed_at(fetch, height), partial(signed_at, fetch), now)
        return Joining(header.height, header.hash(), sources)

    return _first(sources, ask, "trusted")


class Headers:
    """Verified headers of a chain that one joins."""

    def __init__(self, chain: str, joining: Joining, now: Callable[[], Seconds]) -> None:
        self._chain: Final = chain
        self._joining: Final = joining
        self._now: Final = now

    def around(self, height: Height) -> tuple[CometHeader, CometHeader]:
        """The headers of a height and of the next, which holds the app hash of this one.

        Raises Unavailable consensus.40 when no member gives any that can be believed.
        """
        return _first(self._joining.sources, partial(self._around, height), f"height {height}")

    def _around(self, height: Height, fetch: Fetch) -> tuple[CometHeader, CometHeader]:
        trusted, name = signed_at(fetch, self._joining.height), self._joining.hash
        client = LightClient.from_header(self._chain, trusted, name, trust_period_s=TRUST_PERIOD_S)
        after = client.advance(signed_at(fetch, height + 1), partial(signed_at, fetch), self._now())
        this = signed_at(fetch, height).signed.content()
        if not isinstance(this, CometHeader) or not isinstance(after, CometHeader):
            raise Tampered(OTHER_HEIGHT, f"height {height}")
        if (after.height, after.previous.hash) != (height + 1, this.hash()):
            raise Tampered(OTHER_HEIGHT, f"height {height}")
        return this, after


def signed_at(fetch: Fetch, height: Height) -> LightBlock:
    """A member's light block of a height, unverified. Raises Unavailable, and what ``comet_rpc.light_block`` does."""
    commit = fetch("/commit", {"height": str(height)})
    pages: list[bytes] = []
    total = 1
    while len(pages) * _PAGE < total and len(pages) < _MAX_PAGES:
        query = {"height": str(height), "page": str(len(pages) + 1), "per_page": str(_PAGE)}
        pages.append(fetch("/validators", query))
        total = int(read_answer(pages[-1], ValidatorsAnswer).result.total)
    return light_block(commit, pages)


def prepare(home: Path) -> bool:
    """Whether a join is under way in CometBFT's home, from now on or still; it then begins with nothing.

    It is not where CometBFT has a state, and came to it otherwise. Raises StorageFailed storage.01.
    """
    data = home / "data"
    if is_under_way(home) or not (data / "state.db").exists():
        _begin(data)
        return True
    return False


def is_under_way(home: Path) -> bool:
    """Whether a join has begun here and not come to its end."""
    return (home / "data" / _MARK).exists()


def finish(home: Path) -> None:
    """The first block after the snapshot is durable here, and CometBFT has it. Raises StorageFailed storage.01."""
    try:
        (home / "data" / _MARK).unlink(missing_ok=True)
        sync_folder(home / "data")
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, _MARK) from error


def set_aside(folder: Path) -> Path:
    """Make an engine's folder one that joins: its state goes to ``ledger.damaged``, in place of what was there.

    Where it is now. CometBFT's blocks go, since they lead to the state that is gone; what was signed stays. To be
    called while nothing runs in the folder. Raises StorageFailed storage.01.
    """
    state, aside = folder / STATE, folder / _DAMAGED
    _begin(folder / HOME / "data")
    try:
        if state.exists():
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(state, aside)  # noqa: PTH105 - a folder over what is left of one
            sync_folder(folder)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, _DAMAGED) from error
    return aside


def section(joining: Joining, servers: Sequence[Path]) -> str:
    """The part of CometBFT's config about it. ``servers``: unix sockets, on which it asks."""
    twice = [*servers, *servers][: max(2, len(servers))]  # CometBFT wants a second opinion, even of the same member
    return f"""
[statesync]
enable = true
rpc_servers = "{",".join(f"unix://{server}" for server in twice)}"
trust_height = {joining.height}
trust_hash = "{joining.hash.hex().upper()}"
trust_period = "{TRUST_PERIOD_S}s"
discovery_time = "5s"
chunk_request_timeout = "10s"
chunk_fetchers = "16"
"""


def _begin(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (data / _MARK).exists():
            write_durably(data / _MARK, b"")
        for path in data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (_MARK, _SIGNED):
                path.unlink()
        sync_folder(data)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, _MARK) from error


def _first(sources: Sequence[Fetch], ask: Callable[[Fetch], T], place: str) -> T:
    """What the first member answers that answers what can be believed. Raises Unavailable consensus.40."""
    last: CareMeshError | None = None
    for fetch in sources:
        try:
            return ask(fetch)
        except CareMeshError as error:
            last = error
    raise Unavailable(NO_HEADER, place) from last
