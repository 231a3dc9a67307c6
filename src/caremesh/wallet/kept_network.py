"""Beside a wallet's file: which network it is of, and where its relay is. Nothing in it is secret but that this is so.

It is named as the wallet with ``.network`` after it. Without it, network file and address come from an invitation, or
from any node's address and the network's hash: ``caremesh wallet restore --node … --network …``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from caremesh import codec
from caremesh.blobs.durable import write_durably
from caremesh.client.blocking import Portal
from caremesh.client.wallet import fetch_network_file
from caremesh.crypto.hashes import sha256
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.forks import SUFFIX, Fork
from caremesh.ledger.light import Crossing, LightBlock
from caremesh.sealing.invitation import network_digest
from caremesh.types import Did, Digest, Seconds
from caremesh.wallet.errors import NO_SUCH_NODE, NOT_THE_NETWORK
from caremesh.wallet.network import Network, read_network


class KeptNetwork(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. ``addresses``: where nodes are, other than the ledger says."""

    kind: Literal["caremesh/network"] = "caremesh/network"
    file: bytes
    relay: Did
    addresses: dict[Did, str] = {}
    crossing: Crossing | UnsetType = UNSET
    """What leads to the network's second chain, from when this wallet has seen it: nobody has to be asked again."""
    newest: LightBlock | UnsetType = UNSET
    """The newest header that this wallet has verified: what comes has to follow from it, and not from founders alone,
    whose keys may have been given up since (ADR 0126)."""

    def open(self, clock: Callable[[], Seconds]) -> Network:
        """The ways to it. Raises Tampered wallet.63, light.NN of what is kept and proves nothing; Refused wallet.80."""
        crossed = None if self.crossing is UNSET else self.crossing
        newest = None if self.newest is UNSET else self.newest
        return Network(self.file, self.relay, clock, addresses=self.addresses, crossed=crossed, kept=newest)

    def learned(self, ways: Network) -> KeptNetwork:
        """The same, with what was learned on the ways to it and is to be kept."""
        proven = ways.proven
        crossing = self.crossing if proven.crossed is None else proven.crossed
        return replace(self, crossing=crossing, newest=self.newest if proven.block is None else proven.block)

    def begun_anew(self) -> KeptNetwork:
        """The same, which trusts the founders again, and nothing that came after them."""
        return replace(self, newest=UNSET)

    def has(self, digest: Digest) -> bool:
        """Whether it is the network with this hash."""
        return network_digest(self.file) == digest


def beside(wallet: Path) -> Path:
    """Where a wallet's is kept."""
    return wallet.with_name(wallet.name + ".network")


def keep(wallet: Path, kept: KeptNetwork) -> None:
    """Raises StorageFailed."""
    write_durably(beside(wallet), codec.encode(kept), mode=0o600)


def keep_fork(wallet: Path, fork: Fork) -> Path:
    """What shows a fork, in a file beside the wallet, named by its height and hash. Raises StorageFailed."""
    content = codec.encode(fork)
    height = fork.one[-1].signed.content().height
    path = wallet.with_name(f"fork-{height}-{sha256(content).hex()[:16]}{SUFFIX}")
    write_durably(path, content, mode=0o600)
    return path


def load(wallet: Path) -> KeptNetwork | None:
    """What is kept beside a wallet, None when there is nothing. Raises Tampered wallet.63 with the file's name."""
    try:
        return codec.decode_as(beside(wallet).read_bytes(), KeptNetwork)
    except FileNotFoundError:
        return None
    except (OSError, BadInput, msgspec.MsgspecError) as error:
        raise Tampered(NOT_THE_NETWORK, beside(wallet).name) from error


def fetch(url: str, digest: Digest, relay: Did | None = None) -> KeptNetwork:
    """The network of a node: whoever answers there, the file must have this hash. ``relay``: whose node it is; without
    it, the member that has this address in the network file.

    Raises Tampered wallet.63; Refused wallet.66; Unavailable client.02.
    """
    with Portal() as portal:
        data = portal.call(lambda: fetch_network_file(url))
    _, founders = read_network(data, digest)
    known = {admitted.member: admitted.endpoints for admitted in founders.members}
    mine = [did for did, endpoints in known.items() if (did == relay if relay else url in endpoints)]
    if len(mine) != 1:
        raise Refused(NO_SUCH_NODE, url)
    addresses = {} if url in known[mine[0]] else {mine[0]: url}
    return KeptNetwork(file=data, relay=mine[0], addresses=addresses)
