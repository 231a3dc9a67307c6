"""Random values of any type that our formats use, found by looking at the type: often known ones, often extremes."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import inspect

from caremesh.codec import CID

TEXTS = -1
WORDS = (
    "", "a", "A", "zz", "US", "DE", "FR", "test", "other-chain", "read", "copy", "compute", "decide", "TREAT", "HRESCH",
    "DUO:0000042", "provider", "custodian", "physician", "privacy-officer", "GDPR:6.1.e", "HIPAA:164.506.c.1",
    "https://a.example", "mesh://a", "did:caremesh:test:" + "a" * 32, "did:caremesh:other:" + "7" * 32, "house", "law",
    "x" * 64, "x" * 200, "é ☂ \U0001f600", "\0", "permit (principal, action, resource);",
)  # fmt: skip


class AnyValue:
    """Draws values. ``known`` gives what the ledger knows, by kind: bytes by their length, texts under ``TEXTS``."""

    def __init__(self, rng: random.Random, known: Callable[[int], Sequence[Any]], now: Callable[[], int]) -> None:
        self.rng = rng
        self._known = known
        self._now = now

    def of(self, kind: Any) -> Any:
        """A value of a type."""
        return self._draw(type_of(kind))

    def struct(self, kind: type[Any]) -> Any:
        """A structure with every field drawn."""
        return self._draw(type_of(kind))

    def change(self, value: Any) -> Any:
        """The same structure with one field, of it or of one within it, drawn anew."""
        fields = inspected(type(value)).fields
        if not fields:
            return value
        field = self.rng.choice(fields)
        old = getattr(value, field.name)
        inner = isinstance(old, msgspec.Struct) and self.rng.random() < 0.6
        return msgspec.structs.replace(value, **{field.name: self.change(old) if inner else self._draw(field.type)})

    def _draw(self, node: inspect.Type) -> Any:  # noqa: PLR0911 - one return per kind of type
        rng = self.rng
        match node:
            case inspect.Metadata():
                return self._draw(node.type)
            case inspect.UnionType():
                return self._draw(rng.choice(node.types))
            case inspect.NoneType():
                return None
            case inspect.BoolType():
                return rng.random() < 0.5
            case inspect.LiteralType():
                return rng.choice(node.values)
            case inspect.IntType():
                return self._int(node)
            case inspect.StrType():
                return self._text(node)
            case inspect.BytesType():
                return self._bytes(node.min_length or 0, node.max_length)
            case inspect.ListType():
                low, high = node.min_length or 0, min(node.max_length or 6, 6)
                return [self._draw(node.item_type) for _ in range(rng.randint(low, max(low, high)))]
            case inspect.DictType():
                return {str(self._draw(node.key_type)): self._draw(node.value_type) for _ in range(rng.randrange(3))}
            case inspect.StructType():
                return node.cls(**{field.name: self._draw(field.type) for field in node.fields})
            case inspect.CustomType():
                make = rng.choice([CID.cidv1_dag_cbor_sha256_32_from, CID.cidv1_raw_sha256_32_from])
                return make(rng.randbytes(3))
        raise TypeError(f"no values of {node}")

    def _int(self, node: inspect.IntType) -> int:
        rng, now = self.rng, self._now()
        low = node.ge if node.ge is not None else -(2**63)
        high = node.lt - 1 if node.lt is not None else node.le if node.le is not None else 2**63 - 1
        day = now - now % 86_400
        drawn = rng.choice(
            [
                *(low, high, high - 1, 0, 1, 2, 3, rng.randrange(100), rng.randint(int(low), int(high))),
                *(now, now + 1, now - 1, day, day + 86_400 * 30),
            ]
        )
        return int(min(max(drawn, low), high))

    def _text(self, node: inspect.StrType) -> str:
        shortest, longest = node.min_length or 0, node.max_length or 300
        fits = [
            word
            for word in (*WORDS, *self._sample(TEXTS))
            if shortest <= len(word) <= longest and (node.pattern is None or re.search(node.pattern, word))
        ]
        return str(self.rng.choice(fits)) if fits else "a" * shortest

    def _bytes(self, shortest: int, longest: int | None) -> bytes:
        rng = self.rng
        length = shortest if longest in (None, shortest) else rng.choice([shortest, longest, rng.randrange(60)])
        length = min(max(length, shortest), longest if longest is not None else shortest + 40)
        known = self._sample(length)
        if known and rng.random() < 0.6:
            return bytes(rng.choice(known))
        return rng.choice([bytes(length), b"\xff" * length, rng.randbytes(length), (b"\xed\x01" * length)[:length]])

    def _sample(self, kind: int) -> list[Any]:
        known = self._known(kind)
        return list(known) if len(known) <= 20 else self.rng.sample(list(known), 20)


@cache
def type_of(kind: Any) -> inspect.Type:
    """What msgspec knows of a type."""
    return inspect.type_info(kind)


@cache
def inspected(kind: type[Any]) -> inspect.StructType:
    """What msgspec knows of a structure."""
    found = type_of(kind)
    if not isinstance(found, inspect.StructType):
        raise TypeError(f"{kind} is no structure")
    return found
