"""Who acts in a test of a contract, under whose name, and what followers are told of it."""

from __future__ import annotations

from typing import Any

from caremesh.ledger.transactions import Message, Signer
from tests.support.world import Actor, World


def acting_for(name: str, did: str | None) -> Actor:
    """The actor of this name, whose key signs in the name of another DID (None: in its own, as a stream's does)."""
    actor = Actor(name)
    actor.did = did
    actor.signer = Signer(key=actor.key.public, did=did)
    return actor


def effect(world: World, message: Message, *signers: Actor, **named: Any) -> list[tuple[str, dict[str, Any]]]:
    """Carry out a message that must take effect: the type and attributes of every event of it."""
    before = len(world.events)
    assert world.do(message, *signers, **named) == ""
    return [(event.type, event.attributes) for event in world.events[before:]]


def without_effect(world: World, message: Message, *signers: Actor, **named: Any) -> str:
    """The code of a refusal, after which the state is what it was before."""
    before = world.view.changes()
    code = world.do(message, *signers, **named)
    assert code
    assert world.view.changes() == before
    return code
