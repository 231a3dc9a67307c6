"""Every vector of the ledger, replayed; every code and message has one; the tool writes them the same again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import pytest

from caremesh import codec
from caremesh.contracts import Contracts
from tests.support.states import State, outcome
from tools import error_pages

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "vectors" / "ledger"
README = (VECTORS / "README.md").read_text("utf-8")
FILES = sorted(VECTORS.glob("*.json"))
MAX_BYTES = 3_000_000
ZERO = bytes(32)


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def unhex(content: dict[str, str]) -> dict[bytes, bytes]:
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in content.items()}


@cache
def base(name: str) -> tuple[dict[bytes, bytes], str]:
    content = json.loads((VECTORS / "base" / f"{name}.json").read_text("utf-8"))
    return unhex(content["state"]), content["app_hash"]


def changed(state: State, put: dict[str, str], delete: list[str]) -> dict[bytes, bytes]:
    gone = [bytes.fromhex(key) for key in delete]
    return {key: value for key, value in {**state, **unhex(put)}.items() if key not in gone}


def before(row: dict[str, Any]) -> dict[bytes, bytes]:
    return changed(base(row["pre"]["base"])[0], row["pre"]["put"], row["pre"]["delete"])


def transaction(given: str | dict[str, Any]) -> bytes:
    return bytes.fromhex(given) if isinstance(given, str) else bytes.fromhex(given["repeat"]) * given["times"]


# --- the app hash, by the README alone -------------------------------------------------------------------


def root(state: State) -> bytes:
    leaves = sorted(
        (d := sha256(key).digest(), sha256(b"\0" + d + sha256(value).digest()).digest()) for key, value in state.items()
    )
    return upper(leaves, 0)


def upper(leaves: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
    if depth == 16:
        return trie(leaves, depth)
    if not leaves:
        return empty(depth)
    left, right = halves(leaves, depth)
    return sha256(b"\2" + upper(left, depth + 1) + upper(right, depth + 1)).digest()


@cache
def empty(depth: int) -> bytes:
    return ZERO if depth == 16 else sha256(b"\2" + 2 * empty(depth + 1)).digest()


def trie(leaves: Sequence[tuple[bytes, bytes]], depth: int) -> bytes:
    if not leaves:
        return ZERO
    if len(leaves) == 1:
        return leaves[0][1]
    left, right = halves(leaves, depth)
    return sha256(b"\1" + trie(left, depth + 1) + trie(right, depth + 1)).digest()


def halves(
    leaves: Sequence[tuple[bytes, bytes]], depth: int
) -> tuple[list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    ones = [row for row in leaves if row[0][depth // 8] >> (7 - depth % 8) & 1]
    return [row for row in leaves if row not in ones], ones


# --- the tests -------------------------------------------------------------------------------------------


@pytest.mark.promise("P7")
@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_block_leads_to_what_is_written(path: Path) -> None:
    for row in rows(path):
        state, name = before(row), row["name"]
        txs = [transaction(given) for given in row["transactions"]]
        done = outcome(row["chain"], state, row["height"], row["time"], txs)
        found = [{"id": tx_id.hex(), "code": result.code} for tx_id, result in zip(done.ids, done.results, strict=True)]
        assert (name, found) == (name, row["results"])
        told = [
            {
                "type": event.type,
                "tx": event.tx.hex(),
                "attributes": {
                    key: {"hex": value.hex()} if isinstance(value, bytes) else value
                    for key, value in event.attributes.items()
                },
            }
            for event in done.events
        ]
        assert (name, told) == (name, row["events"])
        assert (name, done.put, sorted(done.delete)) == (
            name,
            unhex(row["post"]["put"]),
            [bytes.fromhex(key) for key in row["post"]["delete"]],
        )
        assert (name, done.before.hex(), done.after.hex()) == (
            name,
            row["app_hash"]["before"],
            row["app_hash"]["after"],
        )


@pytest.mark.promise("P4", "P7")
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_app_hashes_follow_from_the_readme(path: Path) -> None:
    for row in rows(path):
        state = before(row)
        after = changed(state, row["post"]["put"], row["post"]["delete"])
        assert (row["name"], root(state).hex()) == (row["name"], row["app_hash"]["before"])
        assert (row["name"], root(after).hex()) == (row["name"], row["app_hash"]["after"])


def test_ids_follow_from_the_readme() -> None:
    unreadable = re.compile(r"codec\..*|tx\..*|signatures\.03")
    for row in (row for path in FILES for row in rows(path)):
        for given, result in zip(row["transactions"], row["results"], strict=True):
            raw = transaction(given)
            if unreadable.fullmatch(result["code"]):
                assert (row["name"], result["id"]) == (row["name"], sha256(raw).hexdigest())
            else:
                inner = codec.decode(raw)[0]
                assert (row["name"], result["id"]) == (row["name"], "01711220" + sha256(inner).hexdigest())


def test_the_base_has_its_app_hash() -> None:
    state, app_hash = base("founders")
    assert root(state).hex() == app_hash


def codes_in_vectors() -> set[str]:
    found: set[str] = set()
    for row in (row for path in FILES for row in rows(path)):
        found.update(result["code"] for result in row["results"])
        found.update(event["attributes"].get("why", "") for event in row["events"])
    return found - {""}


def codes_explained() -> set[str]:
    table = README.partition("## Codes without a vector")[2]
    return {code for line in table.splitlines() if line.startswith("| `") for code in re.findall(r"`(.+?)`", line)}


def codes_of_rules() -> set[str]:
    """Every code of the contracts, of the kernel, and of what they are made of."""
    areas = ("caremesh.contracts", "caremesh.ledger", "caremesh.codec", "caremesh.crypto.signatures")
    return {one.error.code for one in error_pages.declared() if one.module.startswith(areas)}


@pytest.mark.slow
def test_every_code_has_a_vector_or_a_reason() -> None:
    assert len(codes_of_rules()) > 150
    assert codes_of_rules() - codes_in_vectors() - codes_explained() == set()
    assert codes_explained() - codes_of_rules() == set()
    assert codes_in_vectors() & codes_explained() == set()


def test_every_message_has_a_vector_in_which_it_is_accepted() -> None:
    names = {row["name"] for path in FILES for row in rows(path)}
    tags = {kind.__struct_config__.tag for kind in get_args(Contracts.messages)}
    assert {f"{tag}: accepted" for tag in tags} - names == set()


def test_vectors_are_named_once_and_few() -> None:
    names = [row["name"] for path in FILES for row in rows(path)]
    assert len(names) == len(set(names))
    assert sum(path.stat().st_size for path in VECTORS.rglob("*")) <= MAX_BYTES


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_tool_writes_the_same_again(tmp_path: Path) -> None:
    shutil.copytree(VECTORS, tmp_path / "ledger")
    subprocess.run(
        [sys.executable, "-m", "tools.ledger_vectors", str(tmp_path / "ledger")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        timeout=900,
        check=True,
    )
    for path in sorted(VECTORS.rglob("*.json")):
        again = tmp_path / "ledger" / path.relative_to(VECTORS)
        assert again.read_bytes() == path.read_bytes(), f"{path.name}: run `python -m tools.ledger_vectors`"
    assert len(list((tmp_path / "ledger").rglob("*.json"))) == len(list(VECTORS.rglob("*.json")))
