"""Evidence files: claims turned into what anybody can check who trusts the founding validators."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.crypto.hashes import sha256
from caremesh.errors import StorageFailed
from caremesh.node.erasures import Proves
from caremesh.sealing import evidence
from caremesh.sealing.evidence import Claim


def write(ledger: Proves, claims: Iterable[Claim], folder: Path) -> list[Path]:
    """One file for each claim, named by its hash. Raises Tampered evidence.01 for what shows nothing; StorageFailed."""
    block = ledger.light_block()
    height = block.signed.content().height
    written = []
    for claim in claims:
        made = codec.encode(evidence.make(claim, block, lambda key: ledger.query(key, height)))
        path = folder / f"{claim.kind}-{sha256(codec.encode(claim)).hex()[:16]}.evidence"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        write_durably(path, made)
        written.append(path)
    return written
