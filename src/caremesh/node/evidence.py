"""Evidence files: claims turned into what anybody can check who trusts the founding validators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from caremesh import codec
from caremesh.blobs.durable import STORAGE_FAILED, write_durably
from caremesh.crypto.hashes import sha256
from caremesh.errors import StorageFailed
from caremesh.node.erasures import Proves
from caremesh.sealing import evidence
from caremesh.sealing.evidence import Claim


def made(ledger: Proves, claims: Iterable[Claim]) -> list[bytes]:
    """The content of one file for each claim. Raises Tampered evidence.01 for what shows nothing."""
    block = ledger.light_block()
    height = block.signed.content().proves
    return [codec.encode(evidence.make(claim, block, lambda key: ledger.query(key, height))) for claim in claims]


def write(ledger: Proves, claims: Sequence[Claim], folder: Path) -> list[Path]:
    """One file for each claim. Raises Tampered evidence.01 for what shows nothing; StorageFailed."""
    return keep(claims, made(ledger, claims), folder)


def keep(claims: Sequence[Claim], files: Sequence[bytes], folder: Path) -> list[Path]:
    """The file of each claim, named by the claim's hash. Raises StorageFailed."""
    written = []
    for claim, content in zip(claims, files, strict=True):
        path = folder / f"{claim.kind}-{sha256(codec.encode(claim)).hex()[:16]}.evidence"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(STORAGE_FAILED, folder.name) from error
        write_durably(path, content)
        written.append(path)
    return written
