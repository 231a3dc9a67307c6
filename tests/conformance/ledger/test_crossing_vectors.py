"""The crossings of vectors/comet: what is recorded is what comes of them; the browser's code runs the same file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools import crossing_vectors
from tools.crossing_vectors import client_of, founders, verdict

CONTENT: dict[str, Any] = json.loads(crossing_vectors.FILE.read_text("utf-8"))


@pytest.mark.promise("P4")
@pytest.mark.parametrize("given", CONTENT["crossings"], ids=lambda given: str(given["name"]))
def test_a_crossing_is_believed_or_refused(given: dict[str, Any]) -> None:
    client = founders(CONTENT)
    assert verdict(client, given, CONTENT["now"]) == given["code"]
    believed = not given["code"]
    assert client.chain == CONTENT["chain" if believed else "name"]
    assert client.height == (CONTENT["last"] if believed else 0)


@pytest.mark.promise("P4")
@pytest.mark.parametrize("given", CONTENT["headers"], ids=lambda given: str(given["name"]))
def test_headers_of_both_chains(given: dict[str, Any]) -> None:
    assert verdict(client_of(CONTENT, given["under"]), given, CONTENT["now"]) == given["code"]


def test_every_outcome_is_there() -> None:
    codes = {given["code"] for given in (*CONTENT["crossings"], *CONTENT["headers"])}
    assert codes == {"", "light.01", "light.06", "light.08", "light.09", "light.15", "light.18", "proof.01"}
