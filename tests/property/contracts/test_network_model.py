"""The network contract and the kernel's quota against a plain account of parameters, brake, validators and rules."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from caremesh.contracts import Contracts
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import (
    Brake,
    BrakeScope,
    CancelUpgrade,
    EndBrake,
    Params,
    SetParams,
    Upgrade,
)
from caremesh.contracts.streams.messages import RevokePermit
from caremesh.errors import Unavailable
from caremesh.ledger.admission import QUOTA
from caremesh.types import DAY_S
from tests.property.contracts.test_members_model import MembersRules, agreeing
from tests.property.contracts.test_validators_model import ValidatorRules
from tests.support.models.kernel import did
from tests.support.models.machine import NEWEST_RULES, broken, profile

GOOD = [
    {"quota": 3},
    {"quota": 6},
    {"quota_window_s": 60, "quota": 2},
    {"receipt_life_s": 60, "audit_years": 3},
    {"receipt_life_s": DAY_S, "recovery_wait_s": DAY_S},
    {"answer_s": DAY_S, "review_s": DAY_S},
    {"kept_heights": 1, "retain_blocks": 1, "tx_ttl_s": 60, "recovery_wait_s": 90 * DAY_S},
    {"max_tx_bytes": 16_384, "max_block_bytes": 2**24, "max_tx_messages": 64},
]
"""What may be set; the edges of ranges too."""
BAD = [
    {"tx_ttl_s": 59},
    {"tx_ttl_s": DAY_S + 1},
    {"quota": 0},
    {"quota_window_s": 0},
    {"kept_heights": 0},
    {"kept_heights": 11, "retain_blocks": 10},
    {"receipt_life_s": 59},
    {"receipt_life_s": DAY_S + 1},
    {"audit_years": 2},
    {"max_age_s": 9},
    {"max_age_s": 3_601},
    {"deposit_ttl_s": 599},
    {"replicas": 0},
    {"replicas": 101},
    {"batch_min": 0},
    {"batch_wait_s": 600},
    {"max_tx_bytes": 2**16, "max_block_bytes": 2**16 - 1},
    {"quota_window_s": DAY_S + 1},
    {"audit_years": 101},
    {"recovery_wait_s": DAY_S - 1},
    {"recovery_wait_s": 90 * DAY_S + 1},
    {"answer_s": DAY_S - 1},
    {"review_s": 92 * DAY_S + 1},
]
"""What the network does not work with."""


class NetworkRules(ValidatorRules):
    """The authorities run the network."""

    @rule(agree=agreeing, params=st.sampled_from(GOOD) | st.sampled_from(BAD))
    def sets_parameters(self, agree: list[str], params: dict[str, int]) -> None:
        signers, network = self.by_authorities(agree), self.facts.network
        changed = msgspec.structs.replace(Params(), **params)
        why = broken((self.quorum(signers), "network.01"), (params not in BAD, "network.02"))
        if self.send(SetParams(params=changed), signers, why):
            network.quota, network.window = changed.quota, changed.quota_window_s
            network.audit_years, network.receipt_life = changed.audit_years, changed.receipt_life_s
            network.recovery_wait = changed.recovery_wait_s
            network.answer, network.review = changed.answer_s, changed.review_s

    @rule(
        agree=agreeing,
        scope=st.sampled_from(["all", "receipts"]),
        for_s=st.sampled_from([60, 3_600, DAY_S, 7 * DAY_S, 7 * DAY_S + 1, 0]),
    )
    def pulls_the_brake(self, agree: list[str], scope: BrakeScope, for_s: int) -> None:
        signers, until = self.by_authorities(agree), self.facts.now + for_s
        why = broken((self.quorum(signers), "network.01"), (0 < for_s <= 7 * DAY_S, "network.03"))
        if self.send(Brake(scope=scope, reason="a drill", until=until), signers, why):
            self.facts.network.brake = (scope, until)

    @rule(agree=agreeing)
    def ends_the_brake(self, agree: list[str]) -> None:
        signers = self.by_authorities(agree)
        why = broken((self.quorum(signers), "network.01"), (self.brake_is_on(), "network.04"))
        if self.send(EndBrake(), signers, why):
            self.facts.network.brake = None

    @rule(agree=agreeing, step=st.sampled_from([1, 1, 1, 0, 2]), ahead=st.sampled_from([1, 3, 10, 0]))
    def sets_an_upgrade(self, agree: list[str], step: int, ahead: int) -> None:
        signers, (version, _) = self.by_authorities(agree), self._rules_in_the_next_block()
        if version + step > NEWEST_RULES:
            return  # the software under test ends there; see below for one that ends sooner
        height = self.facts.height + 1 + ahead
        why = broken((self.quorum(signers), "network.01"), (step == 1, "network.07"), (ahead > 0, "network.08"))
        if self.send(Upgrade(version=version + step, height=height), signers, why):
            self.facts.network.following = (version + step, height)

    @precondition(lambda self: self.facts.network.following is not None)
    @rule(agree=agreeing)
    def calls_the_upgrade_off(self, agree: list[str]) -> None:
        signers, (_, following) = self.by_authorities(agree), self._rules_in_the_next_block()
        why = broken((self.quorum(signers), "network.01"), (following is not None, "network.09"))
        if self.send(CancelUpgrade(), signers, why):
            self.facts.network.following = None

    @precondition(lambda self: self.upgrades_in_the_next_block() and self.is_active("practice"))
    @rule()
    def software_without_the_rules_stops(self) -> None:
        """It commits nothing, rather than going on under rules that no longer count."""
        if not self.holds([self.mine("practice")], "practice"):
            return
        before = dict(self.state)
        tx = self.kernel.transaction(self.facts.now, [self.mine("practice")], [RevokePermit(stream=bytes(32))])
        with pytest.raises(Unavailable, match=r"network\.10"):
            self.kernel.block(self.facts.now, tx, Contracts())
        assert self.state == before
        assert self.kernel.height == self.facts.height

    @precondition(lambda self: self.kernel.last is not None)
    @rule()
    def the_last_transaction_comes_again(self) -> None:
        last = self.kernel.last
        assert last is not None
        codes = {"ledger.09"} if last.tx.expires_at >= self.facts.now else {"ledger.07", "ledger.09"}
        result, changed = self.kernel.block(self.facts.now, last)
        self.facts.height += 1
        assert result.code in codes
        assert all(name.startswith(b"ledger/") for name in changed)

    def brake_is_on(self) -> bool:
        brake = self.facts.network.brake
        return brake is not None and self.facts.now < brake[1]

    def _rules_in_the_next_block(self) -> tuple[int, tuple[int, int] | None]:
        network = self.facts.network
        if network.following is not None and self.upgrades_in_the_next_block():
            return network.following[0], None
        return network.version, network.following

    # --- invariants --------------------------------------------------------------------------------------

    @invariant()
    def the_brake_ends_by_itself(self) -> None:
        if "network" in self.stirred:
            brake = self.facts.network.brake
            found = queries.brake(self.state, self.facts.now)
            assert (found is not None) == self.brake_is_on()
            assert queries.brake(self.state, self.facts.now + 7 * DAY_S) is None
            assert found is None or brake == (found.scope, found.until)

    @invariant()
    def quota_never_exceeds_the_limit(self) -> None:
        """What is spent is counted, refused messages too; over the limit nothing gets as far as being counted."""
        for name, spent in self.facts.network.spent.items():
            quota = QUOTA.get(self.state, did(name).encode())
            assert quota is not None
            assert (quota.window, quota.used) == spent

    @invariant()
    def parameters_are_those_that_a_quorum_set_within_their_ranges(self) -> None:
        if "network" in self.stirred:
            found, network = queries.params(self.state), self.facts.network
            assert (found.quota, found.quota_window_s) == (network.quota, network.window)
            assert (found.recovery_wait_s, found.receipt_life_s) == (network.recovery_wait, network.receipt_life)
            assert (found.answer_s, found.review_s, found.audit_years) == (
                network.answer, network.review, network.audit_years,
            )  # fmt: skip

    @invariant()
    def rules_go_up_one_version_at_a_time(self) -> None:
        """Each migration ran once."""
        if "network" in self.stirred:
            found, network = queries.rules(self.state), self.facts.network
            assert found.version == network.version
            assert (None if found.following is None else (found.following, found.height)) == network.following
            assert len(self.state.get(b"model/upgrades", b"")) == network.version - 1


class Network(NetworkRules, MembersRules):
    """Members come, stop and leave meanwhile."""


TestNetwork = Network.TestCase
TestNetwork.settings = profile(120, 50)
