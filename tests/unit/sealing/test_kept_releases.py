"""A file of what custodians signed to a recipient."""

from __future__ import annotations

import pytest

from caremesh import codec
from caremesh.errors import Tampered
from caremesh.sealing import custody
from caremesh.sealing.custody import KeptReleases, Signed

SIGNED = Signed(payload=b"what it said", key=b"\xed\x01" + bytes(32), signature=bytes(64))


def test_what_is_kept_is_read_again() -> None:
    for signed in ([], [SIGNED], [SIGNED, SIGNED]):
        assert custody.kept_releases(custody.keep_releases(signed)) == signed


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        codec.encode([]),
        codec.encode({"kind": "caremesh/v1/other", "signed": []}),
        codec.encode({"kind": "caremesh/v1/releases", "signed": [{"payload": b""}]}),
        custody.keep_releases([SIGNED])[:-1],
    ],
)
def test_what_is_no_such_file_is_refused_by_its_name(data: bytes) -> None:
    with pytest.raises(Tampered, match=r"custody\.01.*\(mine\.releases\)") as caught:
        custody.kept_releases(data, "mine.releases")
    assert caught.value.place == "mine.releases"


def test_no_file_is_longer_than_anybody_needs() -> None:
    longest = KeptReleases(kind="caremesh/v1/releases", signed=[SIGNED] * (custody.MAX_KEPT_RELEASES + 1))
    with pytest.raises(Tampered, match=r"custody\.01"):
        custody.kept_releases(codec.encode(longest))
