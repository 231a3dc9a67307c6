"""HL7 FHIR R4 as data: types, JSON Schema, terminology, search parameters. ``provenance.json`` says from where.

``python -m tools.fhir_definitions`` writes the files. Each is parsed once, on first use.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import zstandard


@cache
def structure() -> dict[str, Any]:
    """``types`` by name with their elements in order, ``constraints`` by number, ``extensions`` by url."""
    return _read("structure")


@cache
def schema() -> dict[str, Any]:
    """JSON Schema of every type under ``definitions``; a resource inside another is any object there."""
    return _read("schema")


@cache
def terminology() -> dict[str, Any]:
    """``systems``: codes of complete code systems by url; ``sets``: ``{system: codes}`` by name, None if unknown."""
    return _read("terminology")


@cache
def search_parameters() -> list[dict[str, Any]]:
    """Every search parameter of R4 with its FHIRPath expression."""
    found: list[dict[str, Any]] = msgspec.json.decode(_bytes("search"))
    return found


@cache
def profiles() -> dict[str, Any]:
    """HL7's own profiles of R4 by url, with their snapshots."""
    return _read("profiles")


def provenance() -> dict[str, Any]:
    """Package, version, licence and hashes of what the other files were made from."""
    found: dict[str, Any] = msgspec.json.decode(files(__package__).joinpath("provenance.json").read_bytes())
    return found


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(_bytes(name))
    return found


def _bytes(name: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress(files(__package__).joinpath(f"{name}.json.zst").read_bytes())
