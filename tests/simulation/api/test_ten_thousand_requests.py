"""Ten thousand requests made from the OpenAPI document, at every route of it: no 5xx, each refusal a problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.any_request import any_node, from_the_document

EXAMPLES = 300
ASKED = 10_000


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_ten_thousand_requests_made_from_the_document(tmp_path: Path, evidence: Any) -> None:
    with any_node(tmp_path) as node:
        asked = from_the_document(node, EXAMPLES)
        rounds = 1
        while asked.total() < ASKED and rounds < 20:  # where few different requests can be made there are fewer
            asked += from_the_document(node, EXAMPLES)
            rounds += 1
        assert asked.total() >= ASKED
        assert set(asked) >= {route.name for route in node.routes}
    evidence.fault(f"{asked.total()} requests")
