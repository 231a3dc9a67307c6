"""Faults that tests and the demo bring about: damaged blocks, a custodian that lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from caremesh import codec
from caremesh.custodian.custodian import Custodian
from caremesh.gateway.gather import OneByOne
from caremesh.ledger.transactions import Signs
from caremesh.sealing import custody
from caremesh.sealing.custody import Release


@contextmanager
def damaged_blocks(folders: Sequence[Path]) -> Iterator[list[str]]:
    """Flip one byte in every block file of these folders; put all back afterwards. Gives the names of the files."""
    originals = {path: path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
    originals = {path: data for path, data in originals.items() if data}
    try:
        for path, data in originals.items():
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        yield [path.name for path in originals]
    finally:
        for path, data in originals.items():
            path.write_bytes(data)


class LyingCustodian(OneByOne):
    """Answers like an honest one, but with a changed re-encryption, under its own true signature."""

    def __init__(self, honest: Custodian, key: Signs) -> None:
        self._honest = honest
        self._key = key

    def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian.release``; one byte of every re-encryption is another."""
        answers = []
        for answer in self._honest.release(data):
            release = codec.decode_as(custody.read_signed(answer).payload, Release)
            changed = release.reencryption[:-1] + bytes([release.reencryption[-1] ^ 1])
            lie = replace(release, reencryption=changed)
            answers.append(codec.encode(custody.sign_payload(custody.RELEASE, lie, self._key)))
        return answers
