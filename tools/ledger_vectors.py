"""Write vectors/ledger: blocks on states with what must come of them, for a second implementation of the ledger.

    python -m tools.ledger_vectors [FOLDER]

Nothing is made up: the unit tests of the contracts run with a recorder (`tests/support/recorder.py`), and of all
transactions they try a small selection is kept: for each message, each outcome and each check that says so, the one on
the state that differs least from the founders'. The kernel's own rules have scenarios of their own
(`tests/support/kernel_scenarios.py`). What FOLDER holds already and is still recorded is chosen again, so that a new
test does not change other vectors. ``FOLDER`` is ``vectors/ledger`` unless given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from caremesh import codec
from caremesh.contracts import Contracts
from caremesh.errors import CareMeshError
from caremesh.ledger.transactions import TransactionCodec
from tests.support.kernel_scenarios import scenarios
from tests.support.recorder import Recorded, difference, founders
from tests.support.states import Outcome, State, app_hash, outcome
from tests.support.world import CHAIN

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "vectors" / "ledger"
TESTS: Final = "tests/unit/contracts"
BASE: Final = "founders"
KERNEL: Final = "ledger"
_CODEC: Final = TransactionCodec(Contracts.messages)


Rank: TypeAlias = tuple[bool, int, str]
"""(is new, bytes, test): the least is chosen."""


class Block(NamedTuple):
    """A block on a state, before it is known what comes of it."""

    height: int
    time: int
    put: dict[bytes, bytes]
    delete: list[bytes]
    txs: list[bytes]

    def digest(self) -> str:
        """Names the block by its content."""
        return json.dumps(_question(self), sort_keys=True)


def record(hash_seed: int) -> list[Recorded]:
    """Every transaction that the tests try."""
    with tempfile.TemporaryDirectory(prefix="caremesh-vectors-") as folder:
        path = Path(folder) / "recorded.cbor"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.recorder", "-p", "no:cacheprovider", TESTS],
            cwd=ROOT,
            env={
                **os.environ,
                "CAREMESH_RECORD": str(path),
                "PYTHONHASHSEED": str(hash_seed),
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
                "PYTEST_ADDOPTS": "",
            },
            stdout=sys.stderr,
            check=True,
        )
        return codec.decode_as(path.read_bytes(), list[Recorded])


def recorded() -> list[tuple[Recorded, Block]]:
    """What two runs of the tests both tried, byte for byte."""
    again = set(map(codec.encode, record(2)))
    return [
        (row, Block(row.height, row.time, dict(row.put), row.delete, row.txs))
        for row in record(1)
        if codec.encode(row) in again
    ]


def chosen(rows: Iterable[tuple[Recorded, Block]], base: State, before: set[str]) -> Iterator[dict[str, Any]]:
    """The vectors of messages: of each message, outcome and check the smallest that the ledger confirms."""
    found: dict[str, dict[str, list[tuple[Rank, Block]]]] = {}
    for row, block in rows:
        try:
            tx = _CODEC.decode(block.txs[0]).tx
        except CareMeshError:
            continue  # no member could send this
        size = sum(map(len, [*block.put, *block.put.values(), *block.delete, *block.txs]))
        kind = f"{type(tx.msgs[0]).__struct_config__.tag}: {row.became}"
        found.setdefault(kind, {}).setdefault(row.check, []).append(
            ((block.digest() not in before, size, row.test), block)
        )
    for kind in sorted(found):
        became = kind.partition(": ")[2]
        confirmed = [best for rows in found[kind].values() if (best := _confirmed(sorted(rows), base, became))]
        for number, (_, block, done) in enumerate(sorted(confirmed, key=lambda each: each[0])):
            name = kind if became else f"{kind}accepted"
            yield vector(f"{name}, by check {number + 1}" if number else name, block, done)


def _confirmed(rows: list[tuple[Rank, Block]], base: State, became: str) -> tuple[Rank, Block, Outcome] | None:
    for rank, block in rows:
        done = outcome(CHAIN, state_under(base, block), block.height, block.time, block.txs)
        if outcome_of(done) == became:
            return rank, block, done
    return None


def outcome_of(done: Outcome) -> str:
    """What became of a block of one transaction: a code, also of what was denied and recorded, or nothing."""
    denied = [str(event.attributes["why"]) for event in done.events if event.attributes.get("why")]
    return done.results[0].code or "".join(denied[:1])


def kernel_vectors(base: State) -> list[dict[str, Any]]:
    """The vectors of the kernel's rules."""
    found = []
    for scenario in scenarios():
        put, delete = difference(base, scenario.state)
        block = Block(scenario.height, scenario.time, put, delete, scenario.txs)
        done = outcome(CHAIN, scenario.state, scenario.height, scenario.time, scenario.txs)
        found.append(vector(scenario.name, block, done))
    return found


def state_under(base: State, block: Block) -> dict[bytes, bytes]:
    """The state that a block meets."""
    return {key: value for key, value in {**base, **block.put}.items() if key not in block.delete}


def vector(name: str, block: Block, done: Outcome) -> dict[str, Any]:
    """A vector as it is written."""
    return {
        "name": name,
        **_question(block),
        "results": [
            {"id": tx_id.hex(), "code": result.code} for tx_id, result in zip(done.ids, done.results, strict=True)
        ],
        "events": [
            {"type": event.type, "tx": event.tx.hex(), "attributes": _plain(event.attributes)} for event in done.events
        ],
        "post": {"put": _hex(done.put), "delete": [key.hex() for key in done.delete]},
        "app_hash": {"before": done.before.hex(), "after": done.after.hex()},
    }


def _question(block: Block) -> dict[str, Any]:
    return {
        "chain": CHAIN,
        "height": block.height,
        "time": block.time,
        "pre": {"base": BASE, "put": _hex(block.put), "delete": [key.hex() for key in block.delete]},
        "transactions": [_tx(tx) for tx in block.txs],
    }


def _tx(signed: bytes) -> str | dict[str, Any]:
    """Hexadecimal; long runs of one byte by their length."""
    if len(signed) > 100_000 and len(set(signed)) == 1:
        return {"repeat": signed[:1].hex(), "times": len(signed)}
    return signed.hex()


def _hex(rows: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.hex(): rows[key].hex() for key in sorted(rows)}


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"hex": attributes[name].hex()} if isinstance(attributes[name], bytes) else attributes[name]
        for name in sorted(attributes)
    }


def present(folder: Path) -> set[str]:
    """The blocks of the vectors that are there."""
    keys = ("chain", "height", "time", "pre", "transactions")
    return {
        json.dumps({key: row[key] for key in keys}, sort_keys=True)
        for path in folder.glob("*.json")
        for row in json.loads(path.read_text("utf-8"))
    }


def main() -> None:
    """Write every file, and remove those of which nothing is left."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    base = founders()
    files: dict[str, list[dict[str, Any]]] = {KERNEL: kernel_vectors(base)}
    for row in chosen(recorded(), base, present(folder)):
        files.setdefault(row["name"].partition("/")[0], []).append(row)
    (folder / "base").mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.json"):
        if path.stem not in files:
            path.unlink()
    for name, content in files.items():
        _write(folder / f"{name}.json", content)
    _write(folder / "base" / f"{BASE}.json", {"app_hash": app_hash(base).hex(), "state": _hex(base)})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
