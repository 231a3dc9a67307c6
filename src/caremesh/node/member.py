"""One member of a mesh on this machine: its secrets, its copy of the ledger, its blocks, its roles."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.interface import BlockStore
from caremesh.contracts.members.messages import Admit, Keys
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.gateway.ask import Requester
from caremesh.node import keystore
from caremesh.types import Code, CountryCode, Did

VALIDATOR: Final = "validator"


class Profile(Struct, frozen=True):
    """Who a member is: ``name`` for commands, ``label`` for people."""

    name: str
    label: str
    roles: list[Code]
    jurisdiction: CountryCode
    holds_blocks: bool


FOUNDERS: Final = (
    Profile("hospital", "Lakeside Hospital", ["provider"], "US", holds_blocks=True),
    Profile("practice", "Elm Street Practice", ["provider"], "US", holds_blocks=False),
    Profile("laboratory", "Harbor Laboratory", ["custodian", "laboratory"], "US", holds_blocks=True),
    Profile("payer", "Commonwealth Health Plan", ["custodian", "payer"], "US", holds_blocks=True),
    Profile("regulator", "Health Data Authority", ["custodian", "regulator"], "US", holds_blocks=False),
)
"""The five members of the local mesh."""


class MemberHome:
    """A member's folder: everything secret is in its vault."""

    def __init__(self, folder: Path, chain: str, profile: Profile) -> None:
        """Open or create. Raises StorageFailed, Tampered."""
        self.folder = folder
        self.chain = chain
        self.profile = profile
        self.vault = keystore.open_vault(folder, "secrets")
        self.key: SigningKey = keystore.signing_key(self.vault, "member")
        self.node_key: SigningKey = keystore.signing_key(self.vault, "node")
        self.hpke_private, self.hpke_public = keystore.hpke_keys(self.vault)
        self.receiving = keystore.receiving_key(self.vault)
        self.did: Did = did_of(chain, self.key.public)
        self.blocks: BlockStore = FilesystemBlocks(folder / "blocks")

    @property
    def validator_key(self) -> SigningKey:
        """What its CometBFT signs blocks with, where it orders them with others; made on first use."""
        return keystore.signing_key(self.vault, VALIDATOR)

    @property
    def peer_key(self) -> SigningKey:
        """What its CometBFT is known by to those of other members; made on first use."""
        return keystore.signing_key(self.vault, "peer")

    @property
    def requester(self) -> Requester:
        """The member itself, as a signer."""
        return Requester(self.did, self.key)

    def practitioner(self, chain: str) -> Requester:
        """The practitioner who works here (one, on a local mesh), with a key of their own."""
        key = keystore.signing_key(self.vault, "practitioner")
        return Requester(did_of(chain, key.public), key)

    def admission(self) -> Admit:
        """What the genesis document says of this member."""
        return Admit(
            member=self.did,
            key=self.key.public,
            name=self.profile.label,
            roles=self.profile.roles,
            jurisdiction=self.profile.jurisdiction,
            keys=Keys(node=self.node_key.public, channel=self.hpke_public, receiving=self.receiving.public),
            endpoints=[],
        )
