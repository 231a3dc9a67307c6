"""Snapshots as files: ``<height>.snapshot``, and what it takes to make a ledger of one.

A file is a sequence of frames, each 4 bytes of length (big-endian) and so many bytes: the DAG-CBOR of the light block
of that height, then the manifest and the 256 chunks of ``ledger.snapshot``. Who trusts the validators needs nothing
else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.consensus.compaction import put_in_place
from caremesh.errors import BadInput, StorageFailed, Tampered
from caremesh.ledger import snapshot
from caremesh.ledger.light import LightBlock, LightClient
from caremesh.ledger.machine import Machine
from caremesh.ledger.store import Head, Store
from caremesh.node.errors import NO_BLOCKS, NOT_A_SNAPSHOT
from caremesh.types import Height, Seconds

FRAMES: Final = snapshot.CHUNKS + 2
_MAX_FRAME_BYTES: Final = 2**31
_SUFFIX: Final = ".snapshot"
Progress = Callable[[int, int], None]
"""(frames done, of how many)"""


class Copy(Protocol):
    """An engine or a replica."""

    keeps_snapshots: bool
    """Whether it takes and keeps snapshots by itself."""

    @property
    def machine(self) -> Machine:
        """Its state."""
        ...

    def light_block(self, height: Height | None = None) -> LightBlock:
        """The signed header of a height."""
        ...


def path_of(folder: Path, height: Height) -> Path:
    """Where the snapshot of a height is kept."""
    return folder / f"{height:012}{_SUFFIX}"


def heights(folder: Path) -> list[Height]:
    """The heights of the snapshots in a folder, oldest first."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def write(copy: Copy, path: Path, progress: Progress = lambda *_: None) -> Height:
    """Write the state of the head of now; blocks may be made meanwhile. Durable when this returns.

    Raises BadInput node.09 before the first block, ledger.11 when it takes longer than a height is kept; StorageFailed.
    """
    if not copy.machine.head.height:
        raise BadInput(NO_BLOCKS)
    frames = snapshot.export(copy.machine.store)
    manifest = next(frames)
    height = snapshot.read_manifest(manifest).height

    def parts() -> Iterator[bytes]:
        yield _framed(codec.encode(copy.light_block(height)))
        yield _framed(manifest)
        for number, frame in enumerate(frames, 3):
            yield _framed(frame)
            progress(number, FRAMES)

    write_durably(path, parts())
    return height


def restore(
    path: Path,
    folder: Path,
    *,
    client: LightClient,
    chain: str,
    now: Seconds,
    progress: Progress = lambda *_: None,
) -> Head:
    """Make ``folder`` a ledger with the state of a snapshot; what was in it stays until all of it has proven itself.

    Raises Tampered node.08, snapshot.NN, light.NN; WrongLedger light.06; BadInput, StorageFailed.
    """
    beside = folder / "restored"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True, mode=0o700)
        with path.open("rb") as file:
            frames = _frames(file, progress)
            block = codec.decode_as(next(frames, b""), LightBlock)
            client.verify(block, now)
            store = Store(str(beside), chain)
            try:
                head = snapshot.restore(store, frames, block.signed.header)
            finally:
                store.close()
        put_in_place(beside, folder)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, path.name) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return head


def _framed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def _frames(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    for number in range(1, FRAMES + 2):
        size = file.read(4)
        if not size:
            return
        length = int.from_bytes(size, "big")
        frame = file.read(length) if len(size) == 4 and length < _MAX_FRAME_BYTES else b""
        if not frame or len(frame) != length:
            raise Tampered(NOT_A_SNAPSHOT, f"frame {number}")
        yield frame
        progress(number, FRAMES)
