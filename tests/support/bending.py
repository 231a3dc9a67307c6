"""Every field of an encoded object, bent in every way: another type, length or bit, gone, doubled, or one too many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from caremesh import codec
from caremesh.codec import CID

Path = tuple[Any, ...]
GONE = object()


def bent(value: Any) -> Iterator[tuple[Path, str, Any]]:
    """(where, how, the whole value with that place bent) of a plain value: dicts, lists, bytes, texts, numbers."""
    for path, found in sites(value):
        for how, other in ways(found):
            yield path, how, put(value, path, other)
        if path and isinstance(path[-1], str):
            yield path, "gone", put(value, path, GONE)


def sites(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every place in a plain value, the whole first. Of a long list the first two and the last."""
    yield path, value
    if isinstance(value, dict):
        for key in value:
            yield from sites(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from sites(value[index], (*path, index))


def ways(value: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in the place of a value."""
    yield "null", None
    if isinstance(value, bytes):
        yield "as text", "x" * len(value)
        yield "empty", b""
        yield "longer", value + b"\0"
        yield "zeros", bytes(len(value))
        if value:
            yield "shorter", value[:-1]
            yield "first bit", bytes([value[0] ^ 1]) + value[1:]
            yield "last bit", value[:-1] + bytes([value[-1] ^ 1])
    elif isinstance(value, str):
        yield "as bytes", value.encode()
        yield "empty", ""
        yield "very long", "x" * 100_000
        yield "control characters", value + "\0\x1b[2J"
    elif isinstance(value, bool):
        yield "as a number", int(value)
        yield "other", not value
    elif isinstance(value, int):
        yield "as text", str(value)
        yield "negative", -1
        yield "next", value + 1
        yield "very large", 2**64 - 1
    elif isinstance(value, CID):
        yield "as bytes", bytes(value)
        yield "another", codec.cid_of_cbor(b"another")
        yield "of raw bytes", codec.cid_of_raw(b"another")
    elif isinstance(value, list):
        yield "as a map", {str(index): item for index, item in enumerate(value)}
        yield "empty", []
        yield "with null", [*value, None]
        yield "doubled", value * 2
        yield "very many", value[:1] * 20_000
        yield "reversed", value[::-1]
    elif isinstance(value, dict):
        yield "as a list", list(value.values())
        yield "empty", {}
        yield "one too many", value | {"zz": 0}


def put(value: Any, path: Path, new: Any) -> Any:
    """The plain value with another at this place; ``GONE`` takes a field out."""
    if not path:
        return new
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key != path[0]}
        if len(path) == 1 and new is GONE:
            return kept
        return kept | {path[0]: put(value[path[0]], path[1:], new)}
    return [put(item, path[1:], new) if index == path[0] else item for index, item in enumerate(value)]
