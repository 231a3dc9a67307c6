"""The limits of HTTP are those of the settings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from caremesh import settings
from caremesh.api.limits import Limits
from caremesh.node import doors

FIXED = {"drain_s", "handshake_s", "linger_s", "stream_s", "max_callers"}
"""Half of the time to stop; and what nobody has to set."""
NAMED = sorted(set(Limits.__struct_fields__) - FIXED)


def test_every_limit_that_is_not_fixed_has_a_setting_and_the_same_default(tmp_path: Path) -> None:
    found = {name for name in settings.Settings.model_fields if name.startswith(doors.HTTP)}
    assert found == {doors.HTTP + name for name in NAMED}
    given = msgspec.structs.asdict(doors.limits(settings.load(tmp_path)))
    plain = msgspec.structs.asdict(Limits())
    assert {name: given[name] for name in NAMED} == {name: plain[name] for name in NAMED}


@pytest.mark.parametrize("name", NAMED)
def test_a_setting_reaches_its_limit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = getattr(Limits(), name) + 1
    monkeypatch.setenv(f"CAREMESH_{doors.HTTP}{name}".upper(), str(other))
    assert getattr(doors.limits(settings.load(tmp_path)), name) == other
