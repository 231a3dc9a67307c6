"""Certificates of erasure, made from confirmations and the ledger's proofs, for whoever trusts the founders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.errors import StorageFailed
from caremesh.node.mesh import LocalMesh
from caremesh.sealing import certificate
from caremesh.sealing.certificate import Certificate
from caremesh.sealing.custody import Signed
from caremesh.types import Count, StreamId


def make(mesh: LocalMesh, stream: StreamId, segment: Count, confirmations: Sequence[Signed]) -> Certificate:
    """A certificate on the newest header. Raises Tampered certificate.02, certificate.03."""
    block = mesh.engine.light_block()
    height = block.signed.content().height
    return certificate.make(stream, segment, confirmations, block, lambda key: mesh.engine.query(key, height))


def write(made: Certificate, folder: Path) -> Path:
    """The certificate's file; it names the stream by its first letters. Raises StorageFailed."""
    path = folder / f"erasure-{made.stream.hex()[:12]}-{made.segment}.certificate"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, folder.name) from error
    write_durably(path, codec.encode(made))
    return path
