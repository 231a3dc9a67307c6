"""Write vectors/comet/crossing.json: from one chain of a ledger to the next, and what a light client makes of it.

    python -m tools.crossing_vectors [FILE]

A ledger under all contracts is converted, and each crossing is that one with something changed. A new run makes
another ledger. ``FILE`` is ``vectors/comet/crossing.json`` unless given.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from caremesh import codec
from caremesh.errors import CareMeshError
from caremesh.ledger.blocks import Validator, validators_hash
from caremesh.ledger.light import FOREVER_S, Crossing, LightBlock, LightClient
from caremesh.ledger.succession import KEY, following
from tests.support.comet_engine import now
from tests.support.comet_network import engine_key
from tests.support.converting import SIGNERS, Converting, comet_block, resigned
from tests.support.world import CHAIN

ROOT: Final = Path(__file__).parent.parent
FILE: Final = ROOT / "vectors" / "comet" / "crossing.json"


def crossing_in(given: dict[str, Any]) -> Crossing:
    """A crossing as the file has it."""
    return codec.decode_as(bytes.fromhex(given["crossing"]), Crossing)


def founders(content: dict[str, Any]) -> LightClient:
    """Who trusts the key of the first chain."""
    keys = [Validator(bytes.fromhex(key), 1) for key in content["keys"]]
    return LightClient(content["name"], keys, trusted_at=content["trusted_at"], trust_period_s=FOREVER_S)


def verdict(client: LightClient, given: dict[str, Any], at: int) -> str:
    """The code of what a client says of a crossing, or of a header; empty when it believes it."""
    try:
        if "crossing" in given:
            client.cross(crossing_in(given), at)
        else:
            client.check(codec.decode_as(bytes.fromhex(given["block"]), LightBlock), at)
    except CareMeshError as error:
        return error.code
    return ""


def content() -> dict[str, Any]:
    """A ledger converted, and what is made of that."""
    with tempfile.TemporaryDirectory() as folder:
        case = Converting(Path(folder))
        try:
            case.engine.make_block()
            case.engine.make_block()
            absent = Crossing(case.engine.light_block(2), case.engine.query(KEY), list(SIGNERS))
            good, at = case.convert(), now()
            return _content(case, good, absent, at)
        finally:
            case.engine.close()


def _content(case: Converting, good: Crossing, absent: Crossing, at: int) -> dict[str, Any]:
    header, stranger = good.block.signed.own(), [Validator(engine_key("9").public, 10)]
    forged = replace(good.answer.proof, value=codec.encode({"chain": "other.1", "height": header.height}))
    crossings = {
        "true": good,
        "proven absent": absent,
        "of another key": replace(good, answer=case.engine.query(b"network/params/")),
        "under an earlier header": replace(good, block=case.engine.light_block(header.height - 1)),
        "another value": replace(good, answer=replace(good.answer, proof=forged)),
        "another signer": replace(good, block=LightBlock(good.block.signed, stranger)),
        "without a validator": replace(good, validators=good.validators[1:]),
        "validators in another order": replace(good, validators=good.validators[::-1]),
        "validators of nobody": replace(good, validators=stranger),
    }
    following_chain = following(CHAIN, header.height)
    beyond = replace(header, height=header.height + 1, next_validators=validators_hash(SIGNERS))
    headers = {
        "the first of the new chain": ("new", comet_block(good, header.height + 1, following_chain)),
        "a later one of the new chain": ("new", comet_block(good, header.height + 70, following_chain)),
        "of the new chain, by too few": ("new", comet_block(good, header.height + 1, following_chain, "0", "1")),
        "by the new validators, of the old chain": ("new", comet_block(good, header.height + 1, CHAIN)),
        "the last of the old chain, after it": ("new", good.block),
        "an old one, under the old chain": ("old", case.engine.light_block(1)),
        "the last, under the old chain": ("old", good.block),
        "one beyond it, by the old key": ("old", LightBlock(resigned(beyond), list(SIGNERS))),
    }
    made: dict[str, Any] = {
        "name": CHAIN,
        "chain": following_chain,
        "last": header.height,
        "keys": [each.key.hex() for each in SIGNERS],
        "trusted_at": case.begun,
        "now": at,
        "crossings": [{"name": name, "crossing": codec.encode(each).hex()} for name, each in crossings.items()],
        "headers": [
            {"name": name, "under": under, "block": codec.encode(block).hex()}
            for name, (under, block) in headers.items()
        ],
    }
    for each in made["crossings"]:
        each["code"] = verdict(founders(made), each, at)
    for each in made["headers"]:
        each["code"] = verdict(client_of(made, each["under"]), each, at)
    return made


def client_of(content: dict[str, Any], under: str) -> LightClient:
    """``new``: one that has crossed; ``old``: one that knows where the first chain ends."""
    client = founders(content)
    if under == "old":
        return client.until(content["last"])
    client.cross(crossing_in(content["crossings"][0]), content["now"])
    return client


def main() -> None:
    """Write the file."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    path.write_text(json.dumps(content(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
