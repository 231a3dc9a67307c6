"""A practitioner's click at the desk of a node: all that a patient shares, and nothing that is refused."""

from contextlib import closing
from pathlib import Path

import pytest

from caremesh.errors import Refused
from caremesh.node.desk import Desk
from caremesh.node.doors import RUN, SOCKET
from caremesh.wallet import state as states
from tests.support.case import BASIS, Case
from tests.support.desks import desk_of

pytestmark = pytest.mark.slow


@pytest.mark.promise("P2")
def test_a_visit_at_the_desk_opens_what_is_shared_and_nothing_else(case: Case, tmp_path: Path) -> None:
    case.add(1, 2)
    shared = case.share(categories=("conditions", "demographics"))
    key = states.keys_of(case.wallet.state, case.did("practice")).channel().signing.public
    with (
        desk_of(case.mesh, "practice", tmp_path / "d", "https://practice.example") as home,
        closing(Desk(home / RUN / SOCKET)) as desk,
    ):
        visited = desk.visit(key, "TREAT", BASIS)
        assert sorted(visited.records) == ["conditions", "demographics"]
        assert [record.resource_type for record in visited.records["conditions"]] == ["Condition", "Condition"]
        assert all(b'"resourceType"' in record.data for record in visited.records["conditions"])
        assert visited.ended == []
        with pytest.raises(Refused, match=r"gateway\.01"):
            desk.visit(key, "HRESCH", BASIS)
        case.person.revoke(shared.record.id)
        with pytest.raises(Refused, match=r"gateway\.01"):
            desk.visit(key, "TREAT", BASIS)
