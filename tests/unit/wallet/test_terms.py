"""Templates, periods, expiries: what goes into a transaction beside keys."""

import pytest

from caremesh.contracts.policy.vocabulary import ACTIONS, PURPOSES
from caremesh.errors import BadInput
from caremesh.types import DAY_S
from caremesh.wallet.templates import TEMPLATES, period, template
from caremesh.wallet.transact import expiry


@pytest.mark.parametrize("known", TEMPLATES, ids=lambda known: known.name)
def test_templates_speak_the_vocabulary_of_the_policies(known: object) -> None:
    found = template(known.name)  # type: ignore[attr-defined]
    assert found is known
    assert found.purposes == sorted(set(found.purposes) & set(PURPOSES))
    assert found.actions == sorted(set(found.actions) & set(ACTIONS))
    assert found.days >= 1


def test_an_unknown_template_is_refused_with_those_that_exist() -> None:
    with pytest.raises(BadInput, match=r"wallet\.15") as caught:
        template("my-neighbour")
    assert "one-visit" in caught.value.place
    assert "neighbour" not in str(caught.value)


def test_a_period_is_whole_days_from_today() -> None:
    noon = 100 * DAY_S + DAY_S // 2
    assert period(noon, 2) == (100 * DAY_S, 102 * DAY_S)
    assert period(100 * DAY_S, 1) == (100 * DAY_S, 101 * DAY_S)
    assert period(101 * DAY_S - 1, 1) == (100 * DAY_S, 101 * DAY_S)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("ttl_s", [1, 3, 60, 600, 601])
def test_expiry_is_within_the_limit_and_coarse(ttl_s: int) -> None:
    times = range(1_000_000, 1_000_000 + 2 * ttl_s)
    ahead = [expiry(now, ttl_s) - now for now in times]
    assert all(0 <= seconds <= ttl_s for seconds in ahead[1:]) or ttl_s < 4
    if ttl_s >= 60:
        assert min(ahead) >= ttl_s // 2 - 3
        assert max(ahead) <= ttl_s * 3 // 4
    assert len({expiry(now, ttl_s) for now in times}) <= 2 * ttl_s // max(1, ttl_s // 4) + 1
