"""The thirteen synthetic patients of tests/data, and the hospitals and practitioners that they name."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

ARCHIVE = Path(__file__).parent.parent / "data/synthea.tar.xz"
DIRECTORY = ("hospitalInformation", "practitionerInformation")


@cache
def sizes() -> dict[str, int]:
    """The patients' files, the smallest first, with their sizes in bytes."""
    with tarfile.open(ARCHIVE) as archive:
        found = {member.name: member.size for member in archive if not member.name.startswith(DIRECTORY)}
    return dict(sorted(found.items(), key=lambda row: row[1]))


def read(*names: str) -> list[bytes]:
    """The files that begin so, in this order."""
    found: dict[str, bytes] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and member.name.startswith(names):
                found[member.name] = file.read()
    return [data for name in names for member, data in found.items() if member.startswith(name)]


def directory() -> list[bytes]:
    """The bundles that come before those of patients."""
    return read(*DIRECTORY)
