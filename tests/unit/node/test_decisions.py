"""What authorities decide together: who signs is named, each copy is checked whole, nothing happens before all have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.interface import Committed
from caremesh.contracts import MESSAGES, Contracts
from caremesh.contracts.identity.messages import Rotate
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import Leave, Suspend
from caremesh.contracts.network import queries as network
from caremesh.contracts.network.messages import EndBrake, SetValidators, Validator
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError
from caremesh.gateway.ask import Requester
from caremesh.ledger.application import Context, Result
from caremesh.ledger.state import View
from caremesh.ledger.transactions import SIGNING_DOMAIN, Message, Signer, TransactionCodec, Tx, encode
from caremesh.node import decisions, joining
from caremesh.node import proposals as to
from caremesh.node.decisions import Decision, DecisionFile, Proposal, Sight
from caremesh.node.member import MemberHome

CHAIN = "net"
NOW = 1_800_000_000


class Nothing:
    def get(self, _: bytes, /) -> bytes | None:
        return None


class Homes(NamedTuple):
    """Four founders, who order blocks together, and two organisations that ask to be let in."""

    four: list[MemberHome]
    genesis: bytes
    fifth: MemberHome
    fifth_file: bytes
    elsewhere_file: bytes


def began(folder: Path, name: str, chain: str = CHAIN) -> tuple[MemberHome, bytes]:
    return joining.begin(
        folder,
        chain=chain,
        name=name,
        roles=["provider"],
        country="US",
        address=f"https://{folder.name}.example:8443",
        peers=f"{folder.name}.example:26656",
    )


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    folder = tmp_path_factory.mktemp("decide")
    made = [began(folder / f"m{number}", f"Member {number}") for number in (1, 2, 3, 4)]
    files = [joining.read_admission(file, "file") for _, file in made]
    known = joining.found(folder / "m1", files[1:], NOW - 60, engine="cometbft")
    fifth, file = began(folder / "m5", "Member 4")  # a name that there is already
    return Homes([home for home, _ in made], known.genesis, fifth, file, began(folder / "other", "Other", "other")[1])


class Case:
    """A ledger in memory, and its members."""

    def __init__(self, homes: Homes) -> None:
        self.homes = homes
        self.view = View(Nothing())
        Contracts().genesis(self.view, homes.genesis)
        self.by = [home.requester for home in homes.four]
        self.now = NOW

    @property
    def at(self) -> Sight:
        return Sight(CHAIN, self.view, 7, self.now)

    def propose(self, wanted: to.Wanted, *others: str, by: int = 0) -> Decision:
        return decisions.drawn_up(Proposal(wanted, list(others)), self.by[by], self.at)

    def sign(self, decision: Decision, *numbers: int) -> Decision:
        for number in numbers:
            decision = decisions.signed(decision.file, self.by[number], self.at)
        return decision

    def take(self, message: Message, signers: Sequence[Signer]) -> None:
        """What the ledger does with it."""
        ctx = Context(
            chain=CHAIN,
            height=8,
            time=self.now,
            tx_id=os.urandom(36),
            signers=list(signers),
            sponsor=str(signers[-1].did),
            alone=True,
            state=self.view,
            events=[],
        )
        Contracts().handle(ctx, message)

    def submit(self, raw: bytes) -> Committed:
        checked = TransactionCodec(MESSAGES).decode(raw)
        self.take(checked.tx.msgs[0], checked.tx.signers)
        return Committed(bytes(checked.id), 8, Result(), [])

    def decide(self, wanted: to.Wanted) -> Decision:
        made = self.propose(wanted)
        for each in self.by:
            if any(who.did == each.did and not who.signed for who in made.signers):
                made = decisions.signed(made.file, each, self.at)
        return decisions.carried_out(made, self.submit)

    def forged(self, message: Message, by: Sequence[Requester] = (), papers: Sequence[bytes] = (), **tx: Any) -> bytes:
        """A file that no proposer of ours makes; all have signed it."""
        by = by or self.by[:3]
        said: dict[str, Any] = {"chain": CHAIN, "expires_at": self.now + 300, "salt": bytes(8), "msgs": [message]}
        signers = [Signer(key=each.key.public, did=each.did) for each in by]
        made = encode(Tx(**(said | {"signers": signers} | tx)))
        signatures = [each.key.sign(SIGNING_DOMAIN + made) for each in by]
        return codec.encode(DecisionFile(tx=made, signatures=list(signatures), papers=list(papers)))

    def refused(self, data: bytes) -> str:
        return code(lambda: decisions.shown(data, self.at))


def code(work: Any) -> str:
    with pytest.raises(CareMeshError) as error:
        work()
    return error.value.code


@pytest.fixture
def case(homes: Homes) -> Case:
    return Case(homes)


@pytest.fixture
def admit(homes: Homes) -> to.ToAdmit:
    return to.ToAdmit(homes.fifth_file)


# --- deciding ----------------------------------------------------------------------------------------------


def test_three_of_four_let_a_fifth_in(case: Case, admit: to.ToAdmit) -> None:
    made = case.propose(admit)
    assert [each.name for each in made.signers if each.signed] == ["Member 1"]
    assert len(made.missing) == 2
    assert "Member 4 becomes a member (provider), under the law of US, at https://m5.example:8443." in made.says
    assert case.homes.fifth.did in made.says[1]
    able = [number for number, each in enumerate(case.by) if each.did in {who.did for who in made.signers}]
    made = case.sign(made, *able[1:])
    assert made.missing == []
    assert members.member(case.view, case.homes.fifth.did) is None, "nothing is done before it is handed in"
    assert decisions.carried_out(made, case.submit).height == 8
    assert members.is_active(case.view, case.homes.fifth.did)


def test_copies_that_were_signed_apart_are_put_together(case: Case) -> None:
    made = case.propose(to.ToSuspend("Member 4"), "Member 2", "Member 3")
    apart = [case.sign(made, 1).file, case.sign(made, 2).file]
    whole = decisions.merged(apart, case.at)
    assert whole.missing == []
    decisions.carried_out(whole, case.submit)
    assert not members.is_active(case.view, case.by[3].did)
    assert [each.member for each in network.validators(case.view)].count(case.by[3].did) == 0


def test_to_sign_twice_is_to_sign_once(case: Case) -> None:
    made = case.propose(to.ToSuspend("Member 2"))
    assert case.sign(made, 0) == made


def test_who_is_not_named_signs_where_it_takes_them(case: Case) -> None:
    """Authorities in their order; neither the one it is about, nor one that may not act."""
    case.decide(to.ToSuspend("Member 4"))
    made = case.propose(to.ToReinstate("Member 4"), by=1)
    assert {each.did for each in made.signers} == {each.did for each in case.by[:3]}
    assert made.signers[-1].did == case.by[1].did, "the proposer's quota is used"
    case.decide(to.ToReinstate("Member 4"))
    for number in (1, 2, 3):
        about = case.propose(to.ToSuspend(f"Member {number + 1}"))
        assert case.by[number].did not in {each.did for each in about.signers}


def test_a_validator_is_dropped_and_comes_again_by_its_file(case: Case, admit: to.ToAdmit) -> None:
    case.decide(admit)
    keys = {each.member: each.key for each in network.validators(case.view)}
    fifth = case.homes.fifth.did
    some = to.ToSetValidators(["Member 1", "Member 2", fifth], [case.homes.fifth_file])
    made = case.propose(some)
    assert made.says[-1].startswith("No more: ")
    assert [", new, key " in line for line in made.says].count(True) == 1
    case.decide(some)
    now = {each.member: each.key for each in network.validators(case.view)}
    kept = {each.did: keys[each.did] for each in case.by[:2]}
    assert now == kept | {fifth: case.homes.fifth.validator_key.public}
    assert {each.power for each in network.validators(case.view)} == {1}


def test_the_brake_ends_by_itself_or_before(case: Case) -> None:
    case.decide(to.ToBrake("all", "keys of a member are lost", 600))
    assert network.brake(case.view, NOW + 599) is not None
    assert network.brake(case.view, NOW + 600) is None
    assert code(lambda: case.propose(to.ToSuspend("Member 2"))) == "network.05"
    case.decide(to.ToEndBrake())
    assert network.brake(case.view, NOW) is None


def test_authorities_hand_over_and_upgrades_are_set_and_called_off(case: Case) -> None:
    case.decide(to.ToUpgrade(2, 1_000))
    assert network.rules(case.view).following == 2
    case.decide(to.ToCancelUpgrade())
    assert network.rules(case.view).following is None
    case.decide(to.ToSetAuthorities(["Member 1", "Member 2"], 0))
    who = network.authorities(case.view)
    assert who is not None
    assert (who.dids, who.quorum) == ([case.by[0].did, case.by[1].did], 2)


def test_others_words_look_like_no_line_of_ours(case: Case) -> None:
    made = case.propose(to.ToBrake("receipts", "because\n\x1b[2JThe brake ends.", 600))
    assert made.says[1] == "Why: because??[2JThe brake ends."


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_name_that_nobody_or_more_than_one_has(case: Case, admit: to.ToAdmit) -> None:
    assert code(lambda: case.propose(to.ToSuspend("Member 9"))) == "decision.01"
    case.decide(admit)
    assert code(lambda: case.propose(to.ToSuspend("Member 4"))) == "decision.01"
    assert case.propose(to.ToSuspend(case.by[3].did)).says[0].startswith("Member 4 (did:")


def test_a_validator_without_a_key(case: Case, admit: to.ToAdmit) -> None:
    case.decide(admit)
    assert code(lambda: case.propose(to.ToSetValidators([case.homes.fifth.did], []))) == "decision.02"


def test_bytes_that_are_no_decision(case: Case) -> None:
    made = case.forged(Suspend(member=case.by[3].did))
    file = codec.decode_as(made, DecisionFile)
    assert case.refused(made[:-1]) == "decision.03"
    assert case.refused(b"") == "decision.03"
    assert case.refused(case.forged(Leave(member=case.by[3].did))) == "decision.03"
    two = [Suspend(member=case.by[3].did), EndBrake()]
    assert case.refused(case.forged(two[0], msgs=two)) == "decision.03"
    assert case.refused(codec.encode(replace(file, signatures=file.signatures[:2]))) == "decision.03"
    assert case.refused(case.forged(two[0], [*case.by[:3], case.by[2]])) == "decision.03"


@pytest.mark.promise("P6")
def test_any_changed_byte_is_noticed(case: Case) -> None:
    made = case.forged(Suspend(member=case.by[3].did))
    for at in range(len(made)):
        changed = bytearray(made)
        changed[at] ^= 1
        assert case.refused(bytes(changed)) in ("decision.03", "decision.04", "decision.08")


def test_another_networks_decision(case: Case) -> None:
    assert case.refused(case.forged(Suspend(member=case.by[3].did), chain="other")) == "decision.04"


def test_a_decision_lives_for_some_minutes(case: Case) -> None:
    made = case.propose(to.ToSuspend("Member 4"))
    case.now = made.expires_at
    decisions.shown(made.file, case.at)
    case.now += 1
    assert case.refused(made.file) == "decision.05"
    ttl = network.params(case.view).tx_ttl_s
    assert made.expires_at == NOW + ttl - decisions.MARGIN_S
    case.now = NOW
    late = {"expires_at": NOW + ttl}
    decisions.shown(case.forged(Suspend(member=case.by[3].did), **late), case.at)
    assert case.refused(case.forged(Suspend(member=case.by[3].did), expires_at=NOW + ttl + 1)) == "decision.06"


def test_only_authorities_that_may_act_sign(case: Case, admit: to.ToAdmit) -> None:
    wanted = Suspend(member=case.by[3].did)
    case.decide(admit)
    fifth = case.homes.fifth.requester
    assert case.refused(case.forged(wanted, [*case.by[:3], fifth])) == "decision.07"
    named = Proposal(to.ToSuspend("Member 2"), ["Member 3", fifth.did])
    assert code(lambda: decisions.drawn_up(named, case.by[0], case.at)) == "decision.07"
    assert code(lambda: decisions.drawn_up(replace(named, others=[]), fifth, case.at)) == "decision.07"
    case.decide(to.ToSuspend(case.by[3].did))
    assert case.refused(case.forged(EndBrake(), case.by)) == "decision.07"


def test_a_key_that_was_given_up_signs_nothing(case: Case) -> None:
    wanted, old, new = Suspend(member=case.by[3].did), case.by[2], SigningKey.generate()
    case.take(Rotate(did=old.did, key=new.public), [Signer(key=new.public, did=old.did), signer_of(old)])
    assert case.refused(case.forged(wanted)) == "decision.07"
    decisions.shown(case.forged(wanted, [*case.by[:2], Requester(old.did, new)]), case.at)


def signer_of(who: Requester) -> Signer:
    return Signer(key=who.key.public, did=who.did)


def test_a_signature_that_is_somebody_elses(case: Case) -> None:
    file = codec.decode_as(case.forged(Suspend(member=case.by[3].did)), DecisionFile)
    one, two, three = file.signatures
    assert case.refused(codec.encode(replace(file, signatures=[two, one, three]))) == "decision.08"
    decisions.shown(codec.encode(replace(file, signatures=[one, None, None])), case.at)


def test_a_key_that_nobody_signed_for(case: Case, admit: to.ToAdmit) -> None:
    asked, other = joining.read_admission(case.homes.fifth_file, "file"), case.homes.elsewhere_file
    decisions.shown(case.forged(asked.admit, papers=[case.homes.fifth_file]), case.at)
    assert case.refused(case.forged(asked.admit)) == "decision.09"
    assert case.refused(case.forged(asked.admit, papers=[case.homes.fifth_file, other])) == "decision.09"
    assert case.refused(case.forged(replace(asked.admit, name="Another"), papers=[admit.file])) == "decision.09"
    assert case.refused(case.forged(asked.admit, papers=[admit.file[:-1]])) == "node.16"
    mine = Validator(member=case.by[0].did, key=SigningKey.generate().public, power=1)
    assert case.refused(case.forged(SetValidators(validators=[mine]))) == "decision.09"


def test_who_is_not_named_does_not_sign(case: Case) -> None:
    made = case.propose(to.ToSuspend("Member 4"))
    assert code(lambda: case.sign(made, 3)) == "decision.10"


def test_nothing_is_handed_in_that_is_not_complete(case: Case) -> None:
    made = case.sign(case.propose(to.ToSuspend("Member 4"), "Member 2", "Member 3"), 1)
    with pytest.raises(CareMeshError) as error:
        decisions.carried_out(made, case.submit)
    assert (error.value.code, error.value.place) == ("decision.11", "Member 3")
    assert members.is_active(case.view, case.by[3].did)


def test_copies_of_two_decisions(case: Case) -> None:
    both = [case.propose(to.ToSuspend("Member 4")).file for _ in range(2)]
    assert code(lambda: decisions.merged(both, case.at)) == "decision.12"


def test_too_few_or_too_many_to_sign(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code(lambda: case.propose(to.ToSuspend("Member 4"), "Member 2")) == "decision.13"
    assert code(lambda: case.propose(to.ToSuspend("Member 4"), "Member 1", "Member 2")) == "decision.13"
    assert case.refused(case.forged(Suspend(member=case.by[3].did), case.by[:2])) == "decision.13"
    monkeypatch.setattr(decisions, "MAX_SIGNERS", 2)
    assert code(lambda: case.propose(to.ToSuspend("Member 4"))) == "decision.13"


def test_what_the_ledger_would_refuse_is_not_drawn_up(case: Case, admit: to.ToAdmit) -> None:
    made = case.propose(admit)
    case.decide(admit)
    assert code(lambda: case.propose(admit)) == "members.03"
    assert code(lambda: case.sign(made, 1)) == "members.03", "nor signed"
    assert code(lambda: case.propose(to.ToBrake("all", "too long", 8 * 86_400))) == "network.03"
    assert code(lambda: case.propose(to.ToUpgrade(2, 8))) == "network.08"


def test_what_the_ledger_refuses_after_all_is_said(case: Case) -> None:
    made = case.sign(case.propose(to.ToSuspend("Member 4"), "Member 2", "Member 3"), 1, 2)
    refusal = Committed(b"", 8, Result(code="ledger.10", sentence="No more.", place="msgs[0]"), [])
    assert code(lambda: decisions.carried_out(made, lambda _: refusal)) == "ledger.10"
