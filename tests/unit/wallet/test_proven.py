"""A wallet without a copy of the ledger believes what is proven, and names the node that lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, ErrorCode, Tampered, Unavailable
from caremesh.fhir.categories import ALL
from caremesh.ledger import forks
from caremesh.ledger.blocks import HEADER_DOMAIN, HeaderSignature, validators_hash
from caremesh.ledger.light import FORKED, Answer, LightBlock
from caremesh.ledger.proofs import Proof
from caremesh.ledger.state import Reader
from caremesh.ledger.store import NOT_KEPT
from caremesh.node.mesh import OPERATOR
from caremesh.types import Height
from caremesh.wallet import ahead
from caremesh.wallet.audit import audit
from caremesh.wallet.logs import own_logs
from caremesh.wallet.phrase import seed_of
from caremesh.wallet.proven import MAX_AGE_S, Fault, ProvenLedger, ProvenReader, is_lie
from caremesh.wallet.restore import restore
from caremesh.wallet.revoke import destroyed, revocations
from tests.support.case import Case
from tests.support.honest_node import Honest

pytestmark = [pytest.mark.slow, pytest.mark.promise("P4")]
AWAY = ErrorCode("test.01", "This node does not answer.")


class Lying(Honest):
    """A node that bends its answers."""

    def __init__(self, case: Case, bend: Callable[[list[Answer]], list[Answer]]) -> None:
        super().__init__(case, "liar")
        self._bend = bend

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        return self._bend(super().answers(keys, height))


class Heading(Honest):
    """A node that hands out another header than the newest."""

    def __init__(self, case: Case, head: Callable[[LightBlock], LightBlock]) -> None:
        super().__init__(case, "liar")
        self._head = head

    def light_block(self, height: Height | None = None) -> LightBlock:
        return self._head(super().light_block(height))


class Away(Honest):
    """A node that answers nothing."""

    def light_block(self, height: Height | None = None) -> LightBlock:
        raise Unavailable(AWAY, f"height {height}")

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        raise Unavailable(AWAY, f"{len(keys)} keys at height {height}")


class Ends(Honest):
    """A node that shows the newest header, and is there no more when it is asked what stands under it."""

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        raise Unavailable(AWAY, f"{len(keys)} keys at height {height}")


class Behind(Honest):
    """A node that has not got that far."""

    def answers(self, keys: Sequence[bytes], height: Height) -> list[Answer]:
        raise BadInput(NOT_KEPT, f"{len(keys)} keys at height {height}")


def ledger(case: Case, *nodes: Honest) -> ProvenLedger:
    return ProvenLedger(case.mesh.light_client(), lambda: nodes, case.clock)


def test_a_node_that_is_behind_is_no_fault_of_who_asks(case: Case) -> None:
    """The one that showed the header ends, and the next has not got it: ask again, a little later."""
    key = b"members/all"
    for nodes in ([Ends, Behind], [Behind, Ends], [Ends, Behind, Behind]):
        found = ledger(case, *(kind(case, f"node{number}") for number, kind in enumerate(nodes)))
        assert met(lambda: found.reader().get(key)) == AWAY.code  # noqa: B023 - used here
        assert "ledger.11" in [fault.code for fault in found.faults]
    behind = ledger(case, Behind(case, "one"), Behind(case, "two"))
    assert met(lambda: behind.reader().get(key)) == "wallet.62"


def met(work: Callable[[], object]) -> str:
    with pytest.raises(CareMeshError) as caught:
        work()
    return caught.value.code


def test_who_lies_is_told_from_who_is_away() -> None:
    lies = {"wallet.61", "blobs.01", "proof.01", "light.01", "light.02", "light.07", "light.08", "light.09"}
    others = {"client.02", "client.03", "wallet.60", "wallet.62", "light.03", "light.05", "blobs.02", "api.05"}
    assert {code for code in lies | others if is_lie(Fault("node", code))} == lies


def bent(answer: Answer, **proof: object) -> Answer:
    return replace(answer, proof=replace(answer.proof, **proof))


def wrong_value(answers: list[Answer]) -> list[Answer]:
    return [bent(answer, value=(answer.proof.value or b"") + b"\0") for answer in answers]


def omitted(answers: list[Answer]) -> list[Answer]:
    return [bent(answer, value=None) for answer in answers]


def invented(answers: list[Answer]) -> list[Answer]:
    return [bent(answer, value=b"\x01") for answer in answers]


def of_another_key(answers: list[Answer]) -> list[Answer]:
    return [replace(answers[0], key=answers[0].key + b"x"), *answers[1:]]


def of_another_height(answers: list[Answer]) -> list[Answer]:
    return [replace(answer, height=answer.height - 1) for answer in answers]


def shorter(answers: list[Answer]) -> list[Answer]:
    return answers[:-1]


def empty_proof(answers: list[Answer]) -> list[Answer]:
    return [replace(answer, proof=Proof(siblings=[])) for answer in answers]


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (wrong_value, "proof.01"),
        (omitted, "proof.01"),
        (of_another_key, "wallet.61"),
        (of_another_height, "light.08"),
        (shorter, "wallet.61"),
        (empty_proof, "proof.01"),
    ],
)
def test_an_answer_that_is_not_the_ledgers_is_caught_and_the_next_node_asked(
    case: Case, bend: Callable[[list[Answer]], list[Answer]], code: str
) -> None:
    key = streams.stream_key(case.stream)
    alone = ledger(case, Lying(case, bend)).reader()
    assert met(lambda: alone.get(key)) == code
    both = ledger(case, Lying(case, bend), Honest(case))
    assert both.reader().get(key) == case.reader.get(key) is not None
    assert both.faults == [Fault("liar", code)]


@pytest.mark.promise("P6")
def test_an_entry_of_a_list_can_be_neither_omitted_nor_invented(case: Case) -> None:
    case.share()
    count = consents.count_key(case.stream)
    assert met(lambda: consents.of_stream(ledger(case, Lying(case, omitted)).reader(), case.stream)) == "proof.01"
    missing = streams.stream_key(bytes(32))
    assert ledger(case, Honest(case)).reader().get(missing) is None
    assert met(lambda: ledger(case, Lying(case, invented)).reader().get(missing)) == "proof.01"
    assert met(lambda: ledger(case, Lying(case, wrong_value)).reader().get(count)) == "proof.01"


@pytest.mark.promise("P6")
def test_an_old_header_is_not_acted_on(case: Case) -> None:
    old = case.mesh.engine.light_block()
    case.clock.advance(MAX_AGE_S + 1)
    case.mesh.tick()
    stale = Heading(case, lambda _: old)
    assert met(ledger(case, stale).reader) == "wallet.60"
    both = ledger(case, stale, Honest(case))
    assert both.reader().height > old.signed.content().height
    assert both.faults == [Fault("liar", "wallet.60")]


@pytest.mark.promise("P6")
def test_what_was_seen_is_never_unseen(case: Case) -> None:
    before = case.mesh.engine.light_block()
    case.mesh.tick()
    heads = [case.mesh.engine.light_block(), before]
    back = ledger(case, Heading(case, lambda _: heads.pop(0)))
    assert back.reader().height == before.signed.content().height + 1
    assert met(back.reader) == "wallet.60"
    assert met(lambda: ledger(case, Honest(case)).reader(least=10**6)) == "wallet.60"


def forge(block: LightBlock, key: SigningKey, **header: object) -> LightBlock:
    """The block with another header under this key's signature."""
    data = codec.encode(replace(block.signed.content(), **header))
    signed = HeaderSignature(key=key.public, signature=key.sign(HEADER_DOMAIN + data))
    return replace(block, signed=replace(block.signed, header=data, signatures=[signed]))


@pytest.mark.promise("P6")
def test_a_header_of_nobody_is_refused(case: Case) -> None:
    stranger = SigningKey.generate()
    assert (
        met(ledger(case, Heading(case, lambda block: forge(block, stranger, app_hash=bytes(32)))).reader) == "light.01"
    )
    mine = [replace(case.mesh.engine.light_block().validators[0], key=stranger.public)]
    other = Heading(case, lambda block: replace(forge(block, stranger, app_hash=bytes(32)), validators=mine))
    assert met(ledger(case, other).reader) == "light.09"


@pytest.mark.promise("P6")
def test_a_forked_header_is_found_by_a_second_node(case: Case) -> None:
    """The validators themselves have signed two headers of one height: no single node shows that."""
    validator = case.mesh.member(OPERATOR).home.node_key
    forking = Heading(case, lambda block: forge(block, validator, app_hash=bytes(32)))
    assert ledger(case, forking).reader().height, "alone it cannot be told"
    for nodes in ((forking, Honest(case)), (Honest(case), forking)):
        both = ledger(case, *nodes)
        assert met(both.reader) == "light.07"
        assert both.faults[-1] == Fault(nodes[1].did, "light.07")
        assert both.fork is not None
        trusted = ledger(case)._light
        shown = forks.verify(both.fork, trusted, case.clock())
        assert shown.twice == [validator.public]
        assert (shown.power, shown.differs) == (shown.total, ["app_hash"])
    again = ledger(case, Honest(case))
    again.reader()
    held = ProvenLedger(again._light, lambda: [forking], case.clock)
    assert met(held.reader) == "light.07", "nor is it believed later"


@pytest.mark.promise("P6")
def test_a_fork_of_which_no_file_can_be_made_is_a_fork(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the first node gives the headers in between once and not again."""

    def gone(*_: object) -> list[LightBlock]:
        raise Tampered(FORKED, "height 1")

    monkeypatch.setattr(forks, "_again", gone)
    validator = case.mesh.member(OPERATOR).home.node_key
    forking = Heading(case, lambda block: forge(block, validator, app_hash=bytes(32)))
    both = ledger(case, Honest(case), forking)
    assert met(both.reader) == "light.07"
    assert (both.fork, both.faults) == (None, [Fault("liar", "light.07")])


@pytest.mark.promise("P4")
def test_a_node_cannot_cry_fork_with_keys_of_its_own(case: Case) -> None:
    stranger = SigningKey.generate()
    mine = [replace(case.mesh.engine.light_block().validators[0], key=stranger.public)]
    name = validators_hash(mine)
    crying = Heading(
        case,
        lambda block: replace(forge(block, stranger, validators=name, next_validators=name), validators=mine),
    )
    assert ledger(case, Honest(case), crying).reader().height


def test_a_node_that_is_away_is_left_for_the_next(case: Case) -> None:
    both = ledger(case, Away(case, "away"), Honest(case))
    assert both.reader().get(streams.stream_key(case.stream))
    assert both.faults == [Fault("away", "test.01")]
    assert met(ledger(case, Away(case, "away")).reader) == "test.01"
    assert met(ledger(case).reader) == "wallet.62"


def test_one_act_sees_one_height(case: Case) -> None:
    reader = ledger(case, Honest(case)).reader()
    assert consents.of_stream(reader, case.stream) == []
    case.share()
    assert [entry.id for entry in consents.of_stream(reader, case.stream)] == []
    assert len(consents.of_stream(ledger(case, Honest(case)).reader(), case.stream)) == 1


class Recorder:
    """A reader that remembers what was read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.keys: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        self.keys.add(key)
        return self._reader.get(key)


@pytest.fixture
def busy(case: Case) -> Case:
    """Two shares, three accesses."""
    shared = case.share(categories=("conditions", "demographics"))
    for _ in range(3):
        case.read(shared)
    case.share(categories=("laboratory",), days=9)
    return case


@pytest.mark.promise("P1")
def test_streams_are_named_together_only_to_their_source(busy: Case) -> None:
    source = busy.mesh.did("hospital")
    ids = [stream.id for entry in busy.wallet.state.relationships for stream in entry.streams]

    def together(node: Honest) -> int:
        """How many streams a request names at most."""
        return max((sum(any(each in key for key in asked) for each in ids) for asked in node.asked), default=0)

    relay, hospital = Honest(busy, "relay"), Honest(busy, source)
    ahead.streams_of(ledger(busy, relay, hospital).reader(), busy.wallet.state)
    assert (together(relay), together(hospital)) == (0, len(ids))
    relay = Honest(busy, "relay")
    ahead.streams_of(ledger(busy, relay, Away(busy, source)).reader(), busy.wallet.state)
    assert together(relay) == 1, "each in requests of its own"
    share = busy.wallet.state.shares[0]
    assert len(share.items) == 2
    relay, hospital = Honest(busy, "relay"), Honest(busy, source)
    ahead.revoking(ledger(busy, relay, hospital).reader(), busy.wallet.state, share, source)
    assert (together(relay), together(hospital)) == (0, 2)
    relay = Honest(busy, "relay")
    ahead.revoking(ledger(busy, relay, Away(busy, source)).reader(), busy.wallet.state, share, source)
    assert together(relay) == 1


def test_reading_ahead_changes_what_it_costs_and_not_what_is_read(busy: Case) -> None:
    source = busy.mesh.did("hospital")
    copy = busy.reader
    logs = own_logs(busy.wallet.state, copy, busy.mesh, busy.clock())

    def proven() -> ProvenReader:
        return ledger(busy, Honest(busy, "relay"), Honest(busy, source)).reader()

    slow, fast = proven(), proven()
    ahead.streams_of(fast, busy.wallet.state)
    assert audit(busy.wallet.state, slow, logs) == audit(busy.wallet.state, fast, logs)
    assert audit(busy.wallet.state, fast, logs) == audit(busy.wallet.state, copy, logs)
    assert slow.requests > 3 * fast.requests, f"{slow.requests} and {fast.requests}"


def test_taking_back_waits_for_two_requests_whatever_the_share_is_about(busy: Case) -> None:
    source, share = busy.mesh.did("hospital"), busy.wallet.state.shares[0]
    reader = ledger(busy, Honest(busy, "relay"), Honest(busy, source)).reader()
    ahead.revoking(reader, busy.wallet.state, share, source)
    assert reader.requests == 2
    sponsor = busy.mesh.sponsor("hospital")
    txs = revocations(busy.wallet.state, share, reader, sponsor, busy.clock())
    assert len(txs) == 2
    missing = destroyed(share, reader, busy.mesh).missing
    assert {code for _, code in missing} == {"custodian.24"}
    assert len(missing) == 6
    busy.person.revoke(share.id)
    assert destroyed(share, reader, busy.mesh) == (6, []), "by what the ledger said before"
    assert reader.requests == 2


def test_a_restore_asks_each_member_for_its_own_streams(busy: Case) -> None:
    seed, copy = seed_of(busy.phrase), busy.reader
    nodes = [Honest(busy, member.did) for member in members.members(copy)]
    reader = ledger(busy, *nodes).reader()
    ahead.restoring(reader, seed, ALL)
    found = restore(busy.mesh.chain, seed, reader, ALL)
    assert found == restore(busy.mesh.chain, seed, copy, ALL)
    recorded = Recorder(copy)
    restore(busy.mesh.chain, seed, recorded, ALL)
    assert len(recorded.keys) > 10 * reader.requests, f"{len(recorded.keys)} keys, {reader.requests} requests"
