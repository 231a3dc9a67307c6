"""The state of a world under a header that a validator has signed, with proofs of all of it."""

from __future__ import annotations

from pathlib import Path

from caremesh import codec
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import (
    HEADER_DOMAIN,
    Header,
    HeaderSignature,
    SignedHeader,
    Validator,
    validators_hash,
)
from caremesh.ledger.light import Answer, LightBlock, LightClient
from caremesh.types import Seconds
from tests.support.states import machine_at, with_history
from tests.support.world import CHAIN, World

KEY = SigningKey.from_seed(b"validator".ljust(32, b"."))
VALIDATORS = [Validator(KEY.public, 1)]


class Witnessed:
    """What a light client sees of a world as it is now."""

    def __init__(self, folder: Path, world: World, time: Seconds | None = None) -> None:
        self.time = world.now if time is None else time
        state = {key: value for key, _, value in world.view.changes() if value is not None}
        self.machine = machine_at(folder, CHAIN, with_history(state), world.height, self.time)
        header = codec.encode(
            Header(
                chain=CHAIN,
                height=world.height,
                time=self.time,
                previous=bytes(32),
                txs=bytes(32),
                app_hash=self.machine.head.app_hash,
                validators=validators_hash(VALIDATORS),
                next_validators=validators_hash(VALIDATORS),
            )
        )
        signature = HeaderSignature(KEY.public, KEY.sign(HEADER_DOMAIN + header))
        self.block = LightBlock(SignedHeader(header, [signature]), VALIDATORS)

    def query(self, key: bytes) -> Answer:
        """A key's value, or that it has none, with its proof."""
        _, proof, height = self.machine.prove(key)
        return Answer(key, height, proof)

    def client(self) -> LightClient:
        """Someone who trusts the validator."""
        return LightClient(CHAIN, VALIDATORS, trusted_at=self.time)
