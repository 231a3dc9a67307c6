"""All contracts as one machine: what one of them does to another, with every invariant of every model at once."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from caremesh.types import DAY_S
from tests.property.contracts.test_access_model import AccessRules
from tests.property.contracts.test_consent_model import ConsentRules
from tests.property.contracts.test_identity_model import IdentityRules
from tests.property.contracts.test_members_model import MembersRules
from tests.property.contracts.test_network_model import NetworkRules
from tests.property.contracts.test_policy_model import PolicyRules
from tests.property.contracts.test_records_model import RecordsRules
from tests.property.contracts.test_streams_model import StreamsRules
from tests.support.models.machine import Ground, profile
from tests.support.models.permits import CARERS


class AllContracts(
    AccessRules, ConsentRules, RecordsRules, StreamsRules, PolicyRules, NetworkRules, MembersRules, IdentityRules
):
    """Keys, members, people, streams, consents, offers and records are shared by all rules."""

    @rule(name=Ground.streams, powers=st.sampled_from([["erase"], ["dispute", "grant"], ["revoke"]]))
    def a_carer_may_act(self, name: str, powers: list[str]) -> None:
        self.adds_a_controller(name, CARERS[0], "practice", powers, 100, "")

    @rule()
    def years_pass(self) -> None:
        self.let_pass(6 * 366 * DAY_S + 40 * DAY_S)


TestAllContracts = AllContracts.TestCase
TestAllContracts.settings = profile(150, 80)
