"""Every answer about consents, receipts, segments and audit is proven to whoever trusts a header; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.messages import Report
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Offer, Revoke
from caremesh.contracts.members import queries as members
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.streams import queries as streams
from caremesh.errors import Tampered
from caremesh.ledger.light import Answer, check_answer
from caremesh.ledger.state import Reader
from caremesh.sealing.evidence import Proven, Recorder
from caremesh.types import DAY_S
from tests.support.witnessed import Witnessed
from tests.support.world import NOW, World

pytestmark = pytest.mark.promise("P4")


class Story(World):
    """Three segments of which one is erased; a consent that stands and one that is revoked; receipts, and a refusal."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(3):
            self.must(self.register(number), self.hospital)
        self.stands = self.granted()
        self.over = self.granted(purposes=["HPAYMT"])
        for _ in range(2):
            assert self.asked(self.stands) == ("", "")
        assert self.asked(self.stands, purpose="HRESCH")[1]
        self.must(Revoke(consent=self.over), self.stream_key, self.practice)
        self.must(Erase(stream=self.stream, segment=1), self.stream_key, self.practice)
        offer = Offer(
            stream=self.stream,
            actions=["read"],
            purposes=["TREAT"],
            until=NOW // DAY_S * DAY_S + 30 * DAY_S,
            text=bytes(32),
            expires=NOW // DAY_S * DAY_S + 9 * DAY_S,
        )
        self.must(offer, self.practice)
        self.must(Report(root=bytes(32), count=3), self.custodians[0])


Question = Callable[[Story, Reader], Any]
QUESTIONS: dict[str, Question] = {
    "a consent": lambda story, reader: consents.consent(reader, story.stands),
    "a revoked consent": lambda story, reader: consents.consent(reader, story.over),
    "no consent": lambda _, reader: consents.consent(reader, bytes(32)),
    "all consents of a stream": lambda story, reader: consents.of_stream(reader, story.stream),
    "no consents of a stream": lambda _, reader: consents.of_stream(reader, bytes(32)),
    "the consents that stand": lambda story, reader: consents.standing(reader, story.stream, story.now),
    "the offers to a stream": lambda story, reader: consents.offers_to(reader, story.stream),
    "a segment": lambda story, reader: records.segment(reader, story.stream, 0),
    "an erased segment": lambda story, reader: records.segment(reader, story.stream, 1),
    "no segment": lambda story, reader: records.segment(reader, story.stream, 3),
    "all segments": lambda story, reader: records.segments(reader, story.stream),
    "how many segments": lambda story, reader: records.count(reader, story.stream),
    "no receipt": lambda _, reader: access.receipt(reader, bytes(32)),
    "all that was asked of a stream": lambda story, reader: access.of_stream(reader, story.stream),
    "all that was asked under a consent": lambda story, reader: access.of_consent(reader, story.stands),
    "all that someone asked": lambda story, reader: access.of_requester(reader, str(story.doctor.did)),
    "nothing that someone asked": lambda story, reader: access.of_requester(reader, str(story.hospital.did)),
    "what a custodian reported": lambda story, reader: access.anchor(reader, str(story.custodians[0].did)),
    "no report": lambda story, reader: access.anchor(reader, str(story.custodians[1].did)),
    "a stream": lambda story, reader: streams.stream(reader, story.stream),
    "a member": lambda story, reader: members.member(reader, str(story.practice.did)),
}


@pytest.fixture(scope="module")
def story() -> Story:
    return Story()


@pytest.fixture(scope="module")
def seen(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    return Witnessed(tmp_path_factory.mktemp("seen"), story)


def believed(seen: Witnessed, answers: list[Answer]) -> Proven:
    """What a light client believes of these answers, which anybody may have handed over."""
    header = seen.client().verify(seen.block, seen.time)
    return Proven({answer.key: check_answer(header, answer) for answer in answers})


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_an_answer_is_proven_whole_and_lacks_or_changes_nothing(
    story: Story, seen: Witnessed, question: Question
) -> None:
    recorder = Recorder(seen.query)
    said = question(story, recorder)
    assert said == question(story, story.view), "it is what the contract says"
    answers = list(recorder.answers.values())
    assert answers
    assert question(story, believed(seen, answers)) == said
    for at, answer in enumerate(answers):
        left = answers[:at] + answers[at + 1 :]
        with pytest.raises(Tampered, match=r"evidence\.03"):
            question(story, believed(seen, left))
        value = answer.proof.value
        lies = [b"\x01" if value is None else value[:-1] + bytes([value[-1] ^ 1]), b"" if value is None else None]
        for lie in lies:
            with pytest.raises(Tampered, match=r"proof\.01"):
                believed(seen, [*left, replace(answer, proof=replace(answer.proof, value=lie))])
        with pytest.raises(Tampered, match=r"light\.08"):
            believed(seen, [*left, replace(answer, height=answer.height - 1)])


def test_how_long_a_list_is_stands_under_one_key(story: Story, seen: Witnessed) -> None:
    """With it, whoever was handed every element knows that there is no other."""
    keys = {
        consents.count_key(story.stream): consents.of_stream(story.view, story.stream),
        access.count_key(story.stands): access.of_consent(story.view, story.stands),
        access.stream_count_key(story.stream): access.of_stream(story.view, story.stream),
        access.requester_count_key(str(story.doctor.did)): access.of_requester(story.view, str(story.doctor.did)),
        records.count_key(story.stream): records.segments(story.view, story.stream),
    }
    proven = believed(seen, [seen.query(key) for key in keys])
    lengths = [codec.decode(proven.get(key) or b"") for key in keys]
    assert lengths == [len(items) for items in keys.values()] == [2, 3, 3, 3, 3]


def test_one_value_stands_under_the_key_that_is_told(story: Story, seen: Witnessed) -> None:
    receipt = access.of_stream(story.view, story.stream)[0]
    for key, value in (
        (access.receipt_key(receipt.id), receipt),
        (consents.consent_key(story.stands), consents.consent(story.view, story.stands)),
        (records.segment_key(story.stream, 2), records.segment(story.view, story.stream, 2)),
    ):
        assert believed(seen, [seen.query(key)]).get(key) == codec.encode(value)
    for key in (access.receipt_key(bytes(32)), consents.consent_key(bytes(32)), records.segment_key(story.stream, 9)):
        assert believed(seen, [seen.query(key)]).get(key) is None
