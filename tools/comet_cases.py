"""Cases of vectors/comet: a recorded block that is trusted, another that is shown, how it was bent, what comes of it.

A case: ``trusted`` and ``target`` are heights; ``edits`` are [path, value] each, applied in order to
``{signed_header, validators}`` of the target; ``now`` in seconds; ``expect`` is the code of the refusal, empty where
the header is to be believed.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from caremesh.consensus.comet_rpc import SignedByMany, header_of, light_block
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.comet import Instant, set_hash
from caremesh.ledger.light import LightBlock

PERIOD_S: Final = 14 * 86_400
HEADER, COMMIT = ("signed_header", "header"), ("signed_header", "commit")
VOTES: Final = (*COMMIT, "signatures")
ABSENT: Final = {"block_id_flag": 1, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": None}

Edit = tuple[list[Any], Any]


def block(chain: dict[str, Any], height: int) -> dict[str, Any]:
    """``{signed_header, validators}`` of a recorded height."""
    signed = chain["blocks"][str(height)]["signed_header"]
    return {"signed_header": signed, "validators": chain["validators"][signed["header"]["validators_hash"]]}


def edited(given: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """With the value at each path replaced."""
    found = copy.deepcopy(given)
    for path, value in edits:
        place: Any = found
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = copy.deepcopy(value)
    return found


def built(chain: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """A case as CometBFT's light client is asked."""
    return {
        "chain": case.get("chain", chain["chain"]),
        "trusted": block(chain, case["trusted"]),
        "target": edited(block(chain, case["target"]), case["edits"]),
        "now": case["now"],
        "period_s": PERIOD_S,
    }


def answers(given: dict[str, Any], height: int) -> tuple[bytes, bytes]:
    """What a node answers at /commit and /validators for ``{signed_header, validators}``."""
    commit = {"jsonrpc": "2.0", "id": -1, "result": {"signed_header": given["signed_header"], "canonical": True}}
    validators = given["validators"]
    page = {"block_height": str(height), "validators": validators, "total": str(len(validators))}
    return json.dumps(commit).encode(), json.dumps({"jsonrpc": "2.0", "id": -1, "result": page}).encode()


def as_light_block(given: dict[str, Any], height: int) -> LightBlock:
    """Raises what ``comet_rpc.light_block`` raises."""
    commit, page = answers(given, height)
    return light_block(commit, [page])


class Forger:
    """Signs again what it has changed, with the validators' own keys."""

    def __init__(self, chain: dict[str, Any], keys: Mapping[str, bytes]) -> None:
        """``keys``: address → seed."""
        self._chain = chain
        self._keys = {address: SigningKey.from_seed(seed) for address, seed in keys.items()}

    def name(self, given: dict[str, Any]) -> str:
        """The hash of a header, in the spelling of JSON."""
        return header_of(_said(given)).hash().hex().upper()

    def renamed(self, height: int, changes: dict[str, Any]) -> list[Edit]:
        """Another header, and its hash in the votes, without anybody's new signature."""
        edits: list[Edit] = [([*HEADER, field], value) for field, value in changes.items()]
        name = self.name(edited(block(self._chain, height), edits))
        return [*edits, ([*COMMIT, "block_id", "hash"], name)]

    def signed(self, height: int, changes: dict[str, Any], more: list[Edit] | None = None) -> list[Edit]:
        """Another header that every validator of the set shown has signed."""
        edits = [*(more or []), *self.renamed(height, changes)]
        bent = edited(block(self._chain, height), edits)
        header, votes = header_of(_said(bent)), []
        for validator in bent["validators"]:
            at = Instant(header.time + 1, 5)
            signature = self._keys[validator["address"]].sign(header.signing_input(at, header.hash()))
            votes.append(
                {
                    "block_id_flag": 2,
                    "validator_address": validator["address"],
                    "timestamp": _text(at),
                    "signature": base64.b64encode(signature).decode(),
                }
            )
        return [*edits, ([*VOTES], votes)]

    def signed_set(self, height: int, validators: list[dict[str, Any]]) -> list[Edit]:
        """The header of a height that names other validators, which they have signed."""
        return self.signed(height, {"validators_hash": _set_hash(validators)}, [(["validators"], validators)])

    def by_set(self, height: int, other: int) -> list[Edit]:
        """A header of one height as the set of another would have made and signed it."""
        return self.signed_set(height, block(self._chain, other)["validators"])


def _said(given: dict[str, Any]) -> SignedByMany:
    return msgspec.convert(given["signed_header"], SignedByMany)


def _set_hash(validators: list[dict[str, Any]]) -> str:
    pairs = [(base64.b64decode(each["pub_key"]["value"]), int(each["voting_power"])) for each in validators]
    return set_hash(pairs).hex().upper()


def _text(at: Instant) -> str:
    """RFC 3339, as JSON of CometBFT has it."""
    return f"{datetime.fromtimestamp(at.seconds, UTC):%Y-%m-%dT%H:%M:%S}.{at.nanos:09d}Z"


def flipped(text: str, at: int = 9) -> str:
    """Base64 of the same bytes but one bit."""
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


def seconds(chain: dict[str, Any], height: int) -> int:
    """When a recorded block was made."""
    return header_of(_said(block(chain, height))).time


def find(chain: dict[str, Any], wanted: Any) -> int:
    """The first height whose commit is as wanted."""
    for height, each in chain["blocks"].items():
        if wanted(each["signed_header"]["commit"]):
            return int(height)
    raise LookupError("no such block was recorded; run again")


def votes_of(chain: dict[str, Any], height: int) -> list[dict[str, Any]]:
    """All votes at a height, absent ones too."""
    found: list[dict[str, Any]] = json.loads(json.dumps(block(chain, height)["signed_header"]["commit"]["signatures"]))
    return found


def sets(chain: dict[str, Any]) -> list[tuple[int, list[str]]]:
    """The first height of each set, and its addresses."""
    found: list[tuple[int, list[str]]] = []
    last = ""
    for height, each in chain["blocks"].items():
        name = each["signed_header"]["header"]["validators_hash"]
        if name != last:
            found.append((int(height), [validator["address"] for validator in chain["validators"][name]]))
            last = name
    return found
