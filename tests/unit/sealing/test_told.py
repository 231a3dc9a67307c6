"""What persons and members tell each other: only the one it is for reads it, and it is what it says it is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.streams.messages import PERMIT_DOMAIN, Permit
from caremesh.crypto import envelope
from caremesh.crypto.envelope import hpke_from_seed
from caremesh.crypto.hashes import tagged_hash
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import ReadingKey
from caremesh.crypto.signatures import stream_of
from caremesh.sealing import channel, custody, inquiry, statement
from caremesh.sealing.channel import ProfileEntry, SealingProfile, Share, SharedStream
from caremesh.sealing.inquiry import AskedOf, Inquiry
from caremesh.sealing.statement import Statement
from caremesh.types import SignedPermit
from tests.support.keepers import refusal

pytestmark = pytest.mark.promise("P2")
CHAIN = "told"
MEMBER = "did:caremesh:told:" + "a" * 32
OTHER = "did:caremesh:told:" + "b" * 32
PRIVATE, PUBLIC = hpke_from_seed(bytes([1]) * 32)
OTHERS_PRIVATE, _ = hpke_from_seed(bytes([2]) * 32)
CHANNEL, STRANGER = SigningKey.from_seed(bytes([3]) * 32), SigningKey.from_seed(bytes([4]) * 32)
STREAM_KEYS = [SigningKey.from_seed(bytes([number]) * 32) for number in (5, 6)]
READING, OTHERS_READING = (ReadingKey.from_secret(bytes([number]) * 32).public for number in (7, 8))
D32, D16 = bytes(range(32)), bytes(range(16))


def permit(number: int = 0, signed_by: SigningKey | None = None, **changes: Any) -> SignedPermit:
    key = STREAM_KEYS[number]
    given: dict[str, Any] = {
        "chain": CHAIN,
        "stream": stream_of(key.public),
        "key": key.public,
        "rotation": 0,
        "source": MEMBER,
        "epoch": 0,
        "reading_key": READING,
        "custodians": [],
        "threshold": 1,
        "serial": 1,
        "until": 86_400,
        "max_segments": 4,
    }
    data = codec.encode(Permit(**given | changes))
    return SignedPermit(permit=data, signature=(signed_by or key).sign(PERMIT_DOMAIN + data))


def entry(number: int = 0, /, **changes: Any) -> ProfileEntry:
    given: dict[str, Any] = {
        "category": "conditions",
        "stream": stream_of(STREAM_KEYS[number].public),
        "reading_key": READING,
        "permit": permit(number),
    }
    return ProfileEntry(**given | changes)


PROFILE = SealingProfile(
    chain=CHAIN, member=MEMBER, channel_key=CHANNEL.public, channel_hpke=PUBLIC, entries=[entry(0), entry(1)]
)
SHARE = Share(
    chain=CHAIN,
    id=D16,
    grantee=MEMBER,
    channel_key=CHANNEL.public,
    channel_hpke=PUBLIC,
    subject="",
    streams=[SharedStream(category="conditions", stream=D32, consent=bytes([number]) * 32) for number in range(2)],
)


def profile_heard(profile: SealingProfile, key: SigningKey = CHANNEL, to: str = MEMBER, **heard: Any) -> SealingProfile:
    sealed = channel.tell(channel.SEALING_PROFILE, to, PUBLIC, profile, key)
    given = {"chain": CHAIN, "member": MEMBER, "hpke_private": PRIVATE} | heard
    return channel.hear_profile(sealed=sealed, **given)


def share_heard(share: Share, key: SigningKey = CHANNEL, to: str = MEMBER, **heard: Any) -> Share:
    sealed = channel.tell(channel.SHARE, to, PUBLIC, share, key)
    given = {"chain": CHAIN, "grantee": MEMBER, "hpke_private": PRIVATE} | heard
    return channel.hear_share(sealed=sealed, **given)


def test_a_profile_and_a_share_are_heard_as_they_were_told() -> None:
    assert profile_heard(PROFILE) == PROFILE
    assert share_heard(SHARE) == SHARE


def test_only_the_member_it_is_for_reads_a_message() -> None:
    for name, hear, told in (("SealingProfile", profile_heard, PROFILE), ("Share", share_heard, SHARE)):
        there: Any = hear
        assert refusal(lambda h=there, t=told: h(t, hpke_private=OTHERS_PRIVATE)) == ("custody.05", name)  # type: ignore[misc]
        assert refusal(lambda h=there, t=told: h(t, to=OTHER)) == ("custody.05", name)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("domain", "hear", "told", "name"),
    [
        (channel.SEALING_PROFILE, channel.hear_profile, PROFILE, "SealingProfile"),
        (channel.SHARE, channel.hear_share, SHARE, "Share"),
    ],
)
def test_a_message_is_signed_by_the_channel_key_that_it_names(domain: str, hear: Any, told: Any, name: str) -> None:
    def heard(content: bytes, info: str = domain) -> tuple[str, str]:
        sealed = envelope.hpke_seal(PUBLIC, content, info.encode(), MEMBER.encode())
        return refusal(lambda: hear(CHAIN, MEMBER, PRIVATE, sealed))

    signed = custody.sign_payload(domain, told, CHANNEL)
    assert heard(codec.encode(signed), info="caremesh/other/v1") == ("custody.05", name)
    assert heard(b"\xa0") == ("custody.01", name)
    assert heard(codec.encode(replace(signed, payload=b"\xa0"))) == ("custody.01", name)
    assert heard(codec.encode(custody.sign_payload("caremesh/other/v1", told, CHANNEL))) == ("custody.01", name)
    assert heard(codec.encode(custody.sign_payload(domain, told, STRANGER))) == ("custody.06", name)


def test_a_message_for_another_ledger_or_member_or_that_names_one_twice() -> None:
    first = SHARE.streams[0]
    for wrong in (replace(SHARE, chain="x"), replace(SHARE, grantee=OTHER), replace(SHARE, streams=[first, first])):
        assert refusal(lambda w=wrong: share_heard(w)) == ("custody.06", "share")  # type: ignore[misc]
    twice = replace(PROFILE, entries=[entry(0), entry(0)])
    for profile in (replace(PROFILE, chain="x"), replace(PROFILE, member=OTHER), twice):
        assert refusal(lambda w=profile: profile_heard(w)) == ("custody.06", "profile")  # type: ignore[misc]


def test_a_permit_is_for_the_entry_that_holds_it() -> None:
    elsewhere = replace(permit(1), signature=permit(0).signature)
    rotated = permit(1, STRANGER, key=STRANGER.public, rotation=1)
    wrong = [
        SignedPermit(permit=b"\xa0", signature=permit(1).signature),
        elsewhere,
        permit(1, STRANGER),
        permit(1, chain="x"),
        permit(1, source=OTHER),
        permit(1, stream=D32),
        permit(1, reading_key=OTHERS_READING),
        permit(1, STRANGER, key=STRANGER.public),
    ]
    for bad in wrong:
        profile = replace(PROFILE, entries=[entry(0), entry(1, permit=bad)])
        assert refusal(lambda p=profile: profile_heard(p)) == ("custody.06", "entry 1")  # type: ignore[misc]
    assert refusal(lambda: profile_heard(replace(PROFILE, entries=[entry(0, reading_key=OTHERS_READING)]))) == (
        "custody.06",
        "entry 0",
    )
    later = replace(PROFILE, entries=[entry(1, permit=rotated)])
    assert profile_heard(later) == later, "a key that the stream has had since; the ledger knows which"


INQUIRY = Inquiry(
    chain=CHAIN,
    member=MEMBER,
    channel_key=CHANNEL.public,
    text="May we?",
    asked=[AskedOf(offer=D32, stream=D32, salt=D16)],
)
NODE = STRANGER


def test_an_inquiry_is_for_one_person_and_by_one_member() -> None:
    sealed = inquiry.tell(INQUIRY, PUBLIC, NODE)
    signed = inquiry.unseal(PRIVATE, CHANNEL.public, sealed)
    assert inquiry.hear(CHAIN, CHANNEL.public, MEMBER, NODE.public, signed) == INQUIRY
    assert refusal(lambda: inquiry.unseal(OTHERS_PRIVATE, CHANNEL.public, sealed)) == ("custody.05", "Inquiry")
    assert refusal(lambda: inquiry.unseal(PRIVATE, NODE.public, sealed)) == ("custody.05", "Inquiry")
    other = envelope.hpke_seal(PUBLIC, codec.encode(signed), b"caremesh/other/v1", CHANNEL.public)
    assert refusal(lambda: inquiry.unseal(PRIVATE, CHANNEL.public, other)) == ("custody.05", "Inquiry")
    bare = envelope.hpke_seal(PUBLIC, b"\xa0", inquiry.INQUIRY.encode(), CHANNEL.public)
    assert refusal(lambda: inquiry.unseal(PRIVATE, CHANNEL.public, bare)) == ("custody.01", "Inquiry")

    def refused(
        chain: str = CHAIN, key: bytes = CHANNEL.public, member: str = MEMBER, node: bytes = NODE.public
    ) -> Any:
        return refusal(lambda: inquiry.hear(chain, key, member, node, signed))

    assert refused(chain="x") == refused(key=NODE.public) == refused(member=OTHER) == ("custody.06", "Inquiry")
    assert refused(node=CHANNEL.public) == ("custody.02", MEMBER)
    domain = custody.sign_payload(channel.SHARE, INQUIRY, NODE)
    assert refusal(lambda: inquiry.hear(CHAIN, CHANNEL.public, MEMBER, NODE.public, domain)) == ("custody.01", MEMBER)
    assert inquiry.text_digest(D16, "May we?") == tagged_hash("caremesh/v1/offer-text", D16, b"May we?")
    assert repr(INQUIRY) == "Inquiry(1 streams)"


def test_words_about_an_access_are_those_whose_digest_is_on_the_ledger() -> None:
    said = statement.statement(CHAIN, D32, "Why?")
    assert (said.chain, said.receipt, said.text, len(said.salt)) == (CHAIN, D32, "Why?", 16)
    assert said.salt != statement.statement(CHAIN, D32, "Why?").salt
    assert said.digest == tagged_hash("caremesh/v1/statement", said.salt, b"Why?")

    def heard(told: Statement = said, key: SigningKey = CHANNEL, **changes: Any) -> Statement:
        given: dict[str, Any] = {
            "domain": statement.QUESTION,
            "chain": CHAIN,
            "receipt": D32,
            "digest": said.digest,
            "hpke_private": PRIVATE,
            "key": CHANNEL.public,
        }
        return statement.hear(**given | changes, sealed=statement.tell(statement.QUESTION, told, PUBLIC, key))

    def refused(told: Statement = said, key: SigningKey = CHANNEL, **changes: Any) -> tuple[str, str]:
        return refusal(lambda: heard(told, key, **changes))

    assert heard() == said
    assert refused(hpke_private=OTHERS_PRIVATE) == ("custody.05", "statement")
    assert refused(domain=statement.ANSWER) == ("custody.05", "statement")
    assert refused(receipt=bytes(32)) == ("custody.05", "statement")
    assert refused(key=STRANGER) == ("custody.02", "statement")
    assert refused(chain="x") == ("custody.06", "statement")
    assert refused(digest=bytes(32)) == ("custody.06", "statement")
    assert refused(replace(said, text="What?")) == ("custody.06", "statement")
    other = codec.encode(custody.sign_payload(statement.QUESTION, replace(said, receipt=bytes(32)), CHANNEL))
    swapped = envelope.hpke_seal(PUBLIC, other, statement.QUESTION.encode(), D32)
    again = replace(said, receipt=bytes(32)).digest

    def hear(sealed: bytes) -> tuple[str, str]:
        return refusal(lambda: statement.hear(statement.QUESTION, CHAIN, D32, again, PRIVATE, CHANNEL.public, sealed))

    assert hear(swapped) == ("custody.06", "statement"), "it is about another access"
    bare = envelope.hpke_seal(PUBLIC, b"\xa0", statement.QUESTION.encode(), D32)
    assert hear(bare) == ("custody.01", "statement")
    domain = codec.encode(custody.sign_payload(statement.ANSWER, said, CHANNEL))
    assert hear(envelope.hpke_seal(PUBLIC, domain, statement.QUESTION.encode(), D32)) == ("custody.01", "statement")


def test_nothing_of_a_message_shows() -> None:
    words = statement.statement(CHAIN, D32, "canary-canary")
    assert repr(words) == f"Statement({D32.hex()})"
    assert repr(PROFILE) == "SealingProfile(2 entries)"
    assert repr(replace(SHARE, subject="canary-canary")) == "Share(2 streams)"
