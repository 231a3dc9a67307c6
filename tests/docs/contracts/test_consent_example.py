"""The worked example of the consent contract's README runs, and answers as the README says."""

import re
from pathlib import Path
from typing import Any

import pytest

import caremesh.contracts.consent
from caremesh.contracts.consent.queries import consent_id
from caremesh.contracts.streams.queries import stream
from caremesh.types import DAY_S
from tests.support.world import NOW, World

README = Path(caremesh.contracts.consent.__file__).with_name("README.md")
TODAY = NOW // DAY_S * DAY_S


@pytest.fixture
def given() -> tuple[World, Any, dict[str, Any]]:
    """A world with an open stream, the example's function, and what the wallet would pass to it."""
    world = World()
    world.must(world.register(), world.hospital)
    [snippet] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(snippet, str(README), "exec"), names)  # noqa: S102 - the snippet is the project's own
    made = {
        "today": TODAY,
        "receiving_key": world.receiving.public,
        "verifying_key": world.reading.public,
        "fragments": {str(actor.did): b"a fragment" for actor in world.custodians},
        "salt": bytes(16),
    }
    return world, names["grant_access"], made


def test_grant_access_lets_the_practice_read_for_thirty_days(given: tuple[World, Any, dict[str, Any]]) -> None:
    world, grant_access, made = given
    patient, provider = stream(world.view, world.stream), str(world.practice.did)
    world.must(grant_access(patient, provider, 30, **made), world.stream_key, world.practice)
    consent = consent_id(world.stream, bytes(16))
    assert world.asked(consent) == ("", "")
    again = grant_access(patient, provider, 30, **made | {"salt": b"another salt ..."})
    assert world.do(again, world.stream_key, world.practice) == "consent.02"
    assert world.refusal is not None
    assert world.refusal.place == consent.hex()
    world.now = TODAY + 30 * DAY_S
    assert world.asked(consent) == ("", "access.10")


def test_grant_access_of_an_unknown_patient(given: tuple[World, Any, dict[str, Any]]) -> None:
    world, grant_access, made = given
    patient = stream(world.view, world.stream)
    message = grant_access(patient, str(world.practice.did), 30, **made)
    fresh = World()
    assert fresh.do(message, fresh.stream_key, fresh.practice) == "consent.01"
