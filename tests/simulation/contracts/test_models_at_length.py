"""The stateful models of the contracts, with other examples for every seed and longer runs.

``make sim`` tries many; ``pytest 'path::test[machine-seed=7]' --seeds 8`` replays one.
"""

from __future__ import annotations

import pytest
from hypothesis import seed as seeded
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.contracts.test_access_model import Access
from tests.property.contracts.test_all_contracts_model import AllContracts
from tests.property.contracts.test_consent_model import ConsentMachine
from tests.property.contracts.test_identity_model import IdentityRules
from tests.property.contracts.test_members_model import Members
from tests.property.contracts.test_network_model import Network
from tests.property.contracts.test_policy_model import PolicyRules
from tests.property.contracts.test_records_model import Records
from tests.property.contracts.test_streams_model import Streams
from tests.property.contracts.test_validators_model import Validators
from tests.support.models.machine import Ground, profile

MACHINES = [
    AllContracts,
    Access,
    ConsentMachine,
    IdentityRules,
    Members,
    Network,
    PolicyRules,
    Records,
    Streams,
    Validators,
]


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_other_examples_for_every_seed(machine: type[Ground], seed: int) -> None:
    steps = settings(profile(300, 100), derandomize=False)
    run_state_machine_as_test(seeded(seed)(type(machine.__name__, (machine,), {})), settings=steps)
