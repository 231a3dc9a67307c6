"""A synthetic patient, and the hospitals and practitioners that the records name."""

from __future__ import annotations

import gzip
from importlib.resources import files


def patient() -> bytes:
    """The bundle of the sample patient, as JSON bytes."""
    return _read("patient")


def hospitals() -> bytes:
    """The bundle of hospitals and their locations, as JSON bytes."""
    return _read("hospitals")


def practitioners() -> bytes:
    """The bundle of practitioners and their roles, as JSON bytes."""
    return _read("practitioners")


def directory() -> list[bytes]:
    """Both, in the order in which they are to be imported, which is before the patient."""
    return [hospitals(), practitioners()]


def _read(name: str) -> bytes:
    return gzip.decompress(files(__package__).joinpath(f"{name}.json.gz").read_bytes())
