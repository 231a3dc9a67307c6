"""CometBFT's files: what the ledger's rules ask of them, and nothing else that differs from its own defaults.

``home/config`` holds ``config.toml``, ``genesis.json`` (the same at all members) and two keys, readable by their owner
only; ``home/data`` is CometBFT's own.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from caremesh.blobs.durable import write_durably
from caremesh.consensus.cometbft.application import app_state
from caremesh.consensus.cometbft.beginning import Beginning
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.ledger.comet import address_of

MAX_BLOCK_BYTES: Final = 2 * 2**20
"""Blocks of many megabytes lock CometBFT's mempool; the ledger's own limit is lower."""
MAX_WAITING: Final = 60_000
MAX_BATCH: Final = 500
_MAX_INBOUND: Final = 40
"""CometBFT's own default."""
_MAX_BODY_BYTES: Final = 8 * 2**20
_EVIDENCE_HEIGHTS: Final = 100_000
_EVIDENCE_NS: Final = 14 * 86_400 * 10**9


class Addresses(Struct, frozen=True):
    """Where CometBFT listens. ``peers``: host and port for other members' nodes; ``known``: nodes to connect to, each
    ``id@host:port``; ``rpc``: a port on loopback, None for a unix socket that nobody else on the machine can open."""

    peers: str
    known: tuple[str, ...] = ()
    rpc: int | None = None
    one_host: bool = False
    """Whether several members' nodes may come from one address, as on a machine that runs them all."""
    only: bool = False
    """Whether to connect to ``known`` alone, and to let nobody else in: for a validator behind sentries."""
    behind: tuple[str, ...] = ()
    """Ids of nodes that are always let in and never told to others: those behind this one."""


class Pace(Struct, frozen=True):
    """How fast blocks come. ``commit_s``: the pause after a block, in which stragglers vote; ``idle_s``: between blocks
    when nothing happens."""

    commit_s: float = 0.2
    idle_s: float = 8.0


def write(
    home: Path,
    *,
    genesis_json: bytes,
    application: Path,
    rpc: Path | int,
    addresses: Addresses,
    validator: SigningKey,
    node: SigningKey,
    pace: Pace | None = None,
    joining: str = "",
    waiting: int = MAX_WAITING,
) -> None:
    """Write config, genesis and keys. What CometBFT has signed so far is left as it is.

    ``joining``: see ``joining.section``; ``waiting``: see ``config_toml``. Raises StorageFailed.
    """
    config, data = home / "config", home / "data"
    for folder in (config, data):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = config_toml(application, rpc, addresses, pace or Pace(), waiting) + joining
    write_durably(config / "config.toml", [text.encode()])
    write_durably(config / "genesis.json", [genesis_json])
    write_validator(home, validator)
    write_durably(config / "node_key.json", [_json({"priv_key": _private(node)})])
    signed = data / "priv_validator_state.json"
    if not signed.exists():
        write_durably(signed, [_json({"height": "0", "round": 0, "step": 0})])


def write_validator(home: Path, key: SigningKey) -> None:
    """Write what CometBFT signs with from its next start on. Raises StorageFailed."""
    write_durably(home / "config" / "priv_validator_key.json", [_json(_key_file(key))])


def genesis_json(begins: Beginning) -> bytes:
    """CometBFT's genesis, equal byte for byte at all members."""
    return _json(
        {
            "genesis_time": datetime.fromtimestamp(begins.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "chain_id": begins.chain,
            "initial_height": str(begins.height + 1),
            "consensus_params": {
                "block": {"max_bytes": str(MAX_BLOCK_BYTES), "max_gas": "-1"},
                "evidence": {
                    "max_age_num_blocks": str(_EVIDENCE_HEIGHTS),
                    "max_age_duration": str(_EVIDENCE_NS),
                    "max_bytes": str(2**18),
                },
                "validator": {"pub_key_types": ["ed25519"]},
                "version": {"app": "1"},
                "abci": {"vote_extensions_enable_height": "0"},
            },
            "validators": [
                {
                    "address": address_of(validator.key).hex().upper(),
                    "pub_key": _public(validator.key),
                    "power": str(validator.power),
                    "name": "",
                }
                for validator in sorted(begins.validators, key=lambda validator: validator.key)
            ],
            "app_hash": begins.app_hash.hex().upper(),
            "app_state": json.loads(app_state(begins.document)),
        }
    )


def config_toml(
    application: Path, rpc: Path | int, addresses: Addresses, pace: Pace, waiting: int = MAX_WAITING
) -> str:
    """The config file; what is not in it is CometBFT's default. ``waiting``: transactions that the mempool takes."""
    always = [*(each.partition("@")[0] for each in addresses.known if addresses.only), *addresses.behind]
    listen = f"tcp://127.0.0.1:{rpc}" if isinstance(rpc, int) else f"unix://{rpc}"
    return f"""\
proxy_app = "unix://{application}"
abci = "socket"
moniker = "caremesh"
db_backend = "goleveldb"
log_level = "error"

[rpc]
laddr = "{listen}"
unsafe = false
max_request_batch_size = {MAX_BATCH}
max_body_bytes = {_MAX_BODY_BYTES}

[p2p]
laddr = "tcp://{addresses.peers}"
persistent_peers = "{",".join(addresses.known)}"
pex = false
addr_book_strict = false
allow_duplicate_ip = {"true" if addresses.one_host else "false"}
max_num_inbound_peers = {0 if addresses.only else _MAX_INBOUND}
unconditional_peer_ids = "{",".join(always)}"
private_peer_ids = "{",".join(addresses.behind)}"

[mempool]
type = "flood"
recheck = false
size = {waiting}
cache_size = {2 * waiting}
max_tx_bytes = {2**20}

[consensus]
timeout_commit = "{round(pace.commit_s * 1000)}ms"
create_empty_blocks = false
create_empty_blocks_interval = "{round(pace.idle_s * 1000)}ms"

[storage]
discard_abci_responses = true

[tx_index]
indexer = "null"
"""


def _key_file(key: SigningKey) -> dict[str, Any]:
    return {"address": address_of(key.public).hex().upper(), "pub_key": _public(key.public), "priv_key": _private(key)}


def _public(key: bytes) -> dict[str, str]:
    return {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(key.removeprefix(ED25519_PREFIX)).decode()}


def _private(key: SigningKey) -> dict[str, str]:
    both = key.seed + key.public.removeprefix(ED25519_PREFIX)
    return {"type": "tendermint/PrivKeyEd25519", "value": base64.b64encode(both).decode()}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
