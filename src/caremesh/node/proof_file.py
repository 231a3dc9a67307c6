"""A file that proves one thing about the ledger to whoever trusts its validators."""

from __future__ import annotations

from msgspec import Struct

from caremesh.ledger.light import Answer, LightBlock


class ProofFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DAG-CBOR of this is what ``caremesh ledger prove`` writes. ``kind``: what the key names, for people."""

    chain: str
    kind: str
    block: LightBlock
    answer: Answer
