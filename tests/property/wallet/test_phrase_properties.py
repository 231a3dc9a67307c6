"""The phrase and the wallet's file, whatever is typed or read."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caremesh import codec
from caremesh.crypto.hashes import sha256
from caremesh.errors import CareMeshError
from caremesh.wallet.phrase import MAX_SUGGESTIONS, _english, phrase_of, seed_of, suggestions
from caremesh.wallet.store import WalletFile

WORDS = _english().wordlist
LETTERS = st.sampled_from("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.promise("P9")
@given(st.binary(min_size=32, max_size=32))
def test_every_seed_has_one_phrase(seed: bytes) -> None:
    phrase = phrase_of(seed)
    assert len(phrase.split()) == 24
    assert seed_of(phrase) == seed


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(st.text(max_size=400), st.lists(st.sampled_from([*WORDS[:40], "zzz", "é"]), max_size=30).map(" ".join))
)
def test_any_text_is_a_seed_or_a_coded_refusal(text: str) -> None:
    try:
        seed = seed_of(text)
    except CareMeshError as error:
        assert error.code in {"wallet.01", "wallet.02", "wallet.03"}  # noqa: PT017 -- either outcome is right
    else:
        assert phrase_of(seed).split() == text.lower().split()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(WORDS), st.data())
def test_one_slip_of_the_pen_is_mended_unless_five_words_are_as_close(word: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(word) - 1))
    letter = data.draw(LETTERS)
    slips = [word[:at] + word[at + 1 :], word[:at] + letter + word[at + 1 :], word[:at] + letter + word[at:]]
    slips.append(word[:at] + word[at : at + 2][::-1] + word[at + 2 :])
    found = suggestions(data.draw(st.sampled_from(slips)))
    assert word in found or len(found) == MAX_SUGGESTIONS


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.fixed_dictionaries(
            {},
            optional={
                "kind": st.one_of(st.just("caremesh/wallet"), st.text(max_size=5), st.none()),
                "v": st.one_of(st.integers(-2, 3), st.booleans(), st.text(max_size=3), st.none()),
                "locked": st.one_of(st.binary(max_size=80), st.none()),
                "salt": st.one_of(st.just(bytes(32)), st.binary(max_size=33)),
                "content": st.one_of(st.binary(max_size=80), st.none()),
                "digest": st.one_of(st.binary(max_size=40), st.just(sha256(b""))),
            },
        ).map(codec.encode),
    )
)
def test_any_file_is_refused_with_a_code(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed-wallet"
    path.write_bytes(data)
    with pytest.raises(CareMeshError) as caught:
        WalletFile.open(path, "passphrase")
    assert caught.value.code in {"wallet.05", "wallet.06"}
