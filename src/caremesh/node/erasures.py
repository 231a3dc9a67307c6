"""Certificates of erasure, made from confirmations and the ledger's proofs, for whoever trusts the founders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.errors import StorageFailed
from caremesh.ledger.light import Answer, LightBlock
from caremesh.sealing import certificate
from caremesh.sealing.certificate import Certificate
from caremesh.sealing.custody import Signed
from caremesh.types import Count, Height, StreamId


class Proves(Protocol):
    """Who gives signed headers, and proofs under them."""

    def light_block(self) -> LightBlock:
        """The newest signed header."""
        ...

    def query(self, key: bytes, height: Height) -> Answer:
        """A key's value with its proof."""
        ...


def make(ledger: Proves, stream: StreamId, segment: Count, confirmations: Sequence[Signed]) -> Certificate:
    """A certificate on the newest header. Raises Tampered certificate.02, certificate.03."""
    block = ledger.light_block()
    height = block.signed.content().proves
    return certificate.make(stream, segment, confirmations, block, lambda key: ledger.query(key, height))


def write(made: Certificate, folder: Path) -> Path:
    """The certificate's file; it names the stream by its first letters. Raises StorageFailed."""
    path = folder / f"erasure-{made.stream.hex()[:12]}-{made.segment}.certificate"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageFailed(STORAGE_FAILED, folder.name) from error
    write_durably(path, codec.encode(made))
    return path
