"""What happens to blocks, for metrics, logs and whoever else wants to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from caremesh.codec import CID
from caremesh.types import Did

Kind: TypeAlias = Literal["damaged", "missing", "repaired", "not-repaired"]


class Noticed(Struct, frozen=True):
    """Something about one block at one holder. A metric counts kinds; CIDs belong into the log only."""

    kind: Kind
    cid: CID
    holder: Did


Notice: TypeAlias = Callable[[Noticed], None]


def silently(noticed: Noticed) -> None:
    """Nobody wants to know."""
