"""Forks and proofs for vectors/comet: files that show a fork, answers under headers, and bent ones.

    python -m tools.comet_shown [FOLDER]

Forks are made from the recorded chain and its cases; answers are those of a small ledger made anew, so a new run writes
other bytes of ``proofs.json``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from caremesh import codec
from caremesh.ledger.forks import Fork
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.proofs import Proof
from tests.support.blocks import block, crowding_keys, machine
from tests.support.kv import VALUES, Delete, Put, transaction
from tools import comet_cases, comet_own
from tools.comet_vectors import FOLDER, write

FORKED: Final = "a fork at a later height, signed by all"
BLOCKS: Final = 4


def forks(chain: dict[str, Any], cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Of ``forks.json``. ``shown``: what a client that trusts the founders comes to; else ``expect``, a code."""
    [case] = [case for case in cases if case["name"] == FORKED]
    height, now = case["target"], case["now"]
    one = comet_cases.as_light_block(comet_cases.block(chain, height), height)
    other = comet_cases.as_light_block(comet_cases.built(chain, case)["target"], height)
    early = comet_cases.as_light_block(comet_cases.block(chain, 2), 2)
    recorded = Fork(v=1, kind="fork", chain=chain["chain"], one=[early, one], other=[other])
    few = LightBlock(replace(other.signed, signatures=other.signed.signatures[:2]), other.validators)
    four = comet_own.members(0, 1, 2, 3)
    own = Fork(
        v=1,
        kind="fork",
        chain=comet_own.CHAIN,
        one=[comet_own.signed(5, four, (0, 1, 2), four)],
        other=[comet_own.signed(5, four, (1, 2, 3), comet_own.members(0, 1))],
    )
    shown = {
        ("by all four validators of a recorded block", "", now): recorded,
        ("the same header twice", "light.13", now): replace(recorded, other=[one]),
        ("headers of two heights", "light.13", now): replace(recorded, other=[early]),
        ("another chain's name", "light.13", now): replace(recorded, chain="other"),
        ("too few signatures", "light.01", now): replace(recorded, other=[few]),
        ("steps that go back", "light.05", now): replace(recorded, one=[one, early]),
        ("by the embedded engine", "", comet_own.START_S + 60): own,
    }
    return {
        "forks": [
            {"name": name, "expect": expect, "now": at, "fork": codec.encode(fork).hex()}
            for (name, expect, at), fork in shown.items()
        ]
    }


def proofs(folder: Path) -> dict[str, Any]:
    """Of ``proofs.json``: answers of a ledger whose keys crowd two buckets, and bent ones."""
    ledger = machine(folder)
    keys = [key for group in crowding_keys()[:2] for key in group]
    for number in range(BLOCKS):
        changes = [Put(key=key, value=b"%d" % number) for key in keys[number::2]]
        block(ledger, *(transaction(change) for change in changes), transaction(Delete(key=keys[number])))
    rows: list[dict[str, Any]] = []
    for key in (*keys, b"nobody"):
        value, proof, height = ledger.prove(VALUES.key(key))
        rows.append(_row("", ledger.head.app_hash, Answer(VALUES.key(key), height, proof), value))
    ledger.store.close()
    bent = [each for row in rows for each in _bent(row)]
    return {"height": BLOCKS, "proofs": [*rows, *bent]}


def _row(expect: str, app_hash: bytes, answer: Answer, value: bytes | None) -> dict[str, Any]:
    found = None if value is None else value.hex()
    return {"expect": expect, "app_hash": app_hash.hex(), "answer": codec.encode(answer).hex(), "value": found}


def _bent(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The same answer, untrue in one place or another."""
    answer = codec.decode_as(bytes.fromhex(row["answer"]), Answer)
    proof = answer.proof
    lone = [bytes(32), bytes(32)]
    other: list[Proof] = [
        replace(proof, siblings=[*proof.siblings[:-1], bytes(31) + b"\1"]),
        replace(proof, siblings=proof.siblings[1:]),
        replace(proof, siblings=[*proof.siblings, bytes(32)]),
        replace(proof, value=b"more" if proof.value is None else None, other=None),
        replace(proof, other=lone if proof.other is None else None),
    ]
    root = bytes.fromhex(row["app_hash"])
    rows = [_row("proof.01", root, replace(answer, proof=each), None) for each in other]
    if proof.value is not None:  # where nothing is, other keys may be absent by the same proof
        rows.append(_row("proof.01", root, replace(answer, key=answer.key + b"x"), None))
    rows.append(_row("light.08", root, replace(answer, height=answer.height + 1), None))
    return rows


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    chain = json.loads((FOLDER / "chain.json").read_text("utf-8"))
    cases = json.loads((FOLDER / "cases.json").read_text("utf-8"))["cases"]
    write(folder / "forks.json", forks(chain, cases))
    with tempfile.TemporaryDirectory() as scratch:
        write(folder / "proofs.json", proofs(Path(scratch)))


if __name__ == "__main__":
    main()
