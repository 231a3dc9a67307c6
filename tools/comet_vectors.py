"""Write vectors/comet: headers that real CometBFT nodes have signed, and what must come of them and of bent ones.

    python -m tools.comet_vectors BINARY [FOLDER]

``BINARY``: a ``cometbft``. Four validators and two more nodes run the builtin kvstore on loopback; one stops for a
while, validators come and go. Every block is kept. Then each case is made from them by edits, some signed again with
the validators' keys, and CometBFT's own light client (``tools/comet_oracle``, built with ``go``) says what it thinks.
A new run records another chain. ``FOLDER`` is ``vectors/comet`` unless given.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from caremesh import codec
from caremesh.crypto.hashes import sha256
from tools import comet_case_list, comet_cases, comet_own
from tools.comet_network import Node, network

ROOT: Final = Path(__file__).parent.parent
FOLDER: Final = ROOT / "vectors" / "comet"
ORACLE: Final = ROOT / "tools" / "comet_oracle"
CHAIN: Final = "caremesh-vectors-1"


def story(nodes: list[Node]) -> int:
    """What the network goes through; the height after it."""
    first, second, third, fourth, fifth, asked = nodes
    for number in range(3):
        asked.send(f"before={number}")
    fourth.stop()  # absent votes; where it would propose, a second round
    for number in range(5):
        asked.send(f"absent={number}")
    fourth.start()
    fourth.reach(asked.height())
    asked.give_power(fifth, 10)
    asked.give_power(first, 0)
    asked.send("four=1")
    asked.give_power(asked, 7)
    asked.give_power(second, 0)
    asked.send("other=1")
    asked.give_power(third, 0)
    height = asked.send("three=1")
    asked.reach(height + 1)
    height = asked.send("end=1")
    asked.reach(height + 1)
    return height + 1


def record(nodes: list[Node], until: int) -> dict[str, Any]:
    """Every block of the chain, as the nodes answer; sets once each."""
    asked, blocks, sets = nodes[-1], {}, {}
    for height in range(1, until + 1):
        commit = asked.ask("commit", height=height)["result"]
        validators = asked.ask("validators", height=height, per_page=100)["result"]["validators"]
        for validator in validators:
            del validator["proposer_priority"]  # differs from height to height and is in no hash
        name = commit["signed_header"]["header"]["validators_hash"]
        sets[name] = validators
        blocks[str(height)] = {"signed_header": commit["signed_header"]}
    genesis = json.loads((asked.home / "config" / "genesis.json").read_text())
    found = {"chain": CHAIN, "genesis_time": genesis["genesis_time"], "validators": sets, "blocks": blocks}
    return found | {"light_blocks": {str(height): digest(found, height) for height in range(1, until + 1)}}


def digest(chain: dict[str, Any], height: int) -> str:
    """SHA-256 of the light block of a height, in its canonical DAG-CBOR."""
    block = comet_cases.as_light_block(comet_cases.block(chain, height), height)
    return sha256(codec.encode(block)).hex()


def oracle(chain: dict[str, Any], cases: list[dict[str, Any]]) -> list[str]:
    """What CometBFT's light client says to each case."""
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "oracle"
        subprocess.run(["go", "build", "-o", str(binary), "."], cwd=ORACLE, check=True)
        given = [comet_cases.built(chain, case) for case in cases]
        done = subprocess.run(
            [str(binary)], input=json.dumps(given), capture_output=True, text=True, check=True, timeout=120
        )
    found: list[str] = json.loads(done.stdout)
    return found


def write(path: Path, content: dict[str, Any]) -> None:
    """One line for each entry of the second level."""
    lines = []
    for name, value in content.items():
        if isinstance(value, dict | list) and value:
            entries = (
                [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
                if isinstance(value, dict)
                else [json.dumps(entry) for entry in value]
            )
            opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
            body = opening + "\n" + ",\n".join(entries) + "\n" + closing
        else:
            body = json.dumps(value)
        lines.append(f"{json.dumps(name)}: {body}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def main() -> None:
    binary = Path(sys.argv[1]).resolve()
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER
    version = subprocess.run([str(binary), "version"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as scratch, network(binary, Path(scratch), CHAIN, 4, 2) as nodes:
        chain = {"cometbft": version} | record(nodes, story(nodes))
        keys = {node.address: node.seed for node in nodes}
    cases = comet_case_list.cases(chain, keys)
    for case, verdict in zip(cases, oracle(chain, cases), strict=True):
        case["cometbft"] = verdict
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "chain.json", chain)
    write(folder / "cases.json", {"cases": cases})
    write(folder / "own.json", comet_own.content())
    print(f"{len(chain['blocks'])} blocks, {len(cases)} cases in {folder}")


if __name__ == "__main__":
    main()
