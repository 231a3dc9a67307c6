"""The recovery phrase: it is the seed, and a slip of the pen is pointed at."""

import json
from itertools import product
from pathlib import Path

import pytest

from caremesh.errors import BadInput
from caremesh.wallet import phrase
from caremesh.wallet.phrase import phrase_of, seed_of, suggestions

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/wallet/phrase.json").read_bytes())["vectors"]
SEED = bytes(range(32))
WORDS = phrase_of(SEED).split()


@pytest.mark.promise("P9")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["seed"][:2])
def test_phrases_are_those_of_bip39(vector: dict[str, str]) -> None:
    seed = bytes.fromhex(vector["seed"])
    assert phrase_of(seed) == vector["phrase"]
    assert seed_of(vector["phrase"]) == seed


def test_spacing_and_capitals_do_not_matter() -> None:
    assert seed_of("\n  " + "  \t".join(word.upper() for word in WORDS) + "\n") == SEED


def test_compatibility_letters_are_read_as_letters() -> None:
    full_width = "".join(chr(ord(letter) + 0xFEE0) for letter in WORDS[0])
    assert seed_of(" ".join([full_width, *WORDS[1:]])) == SEED


@pytest.mark.parametrize("count", [0, 1, 12, 23, 25])
def test_another_number_of_words_is_refused(count: int) -> None:
    with pytest.raises(BadInput, match=r"wallet\.01") as caught:
        seed_of(" ".join((WORDS * 2)[:count]))
    assert caught.value.place == f"{count} given"


def test_each_misspelt_word_is_pointed_at_with_the_closest_words() -> None:
    words = list(WORDS)
    words[2], words[23] = words[2][1:], words[23][:-1] + "q"
    with pytest.raises(BadInput, match=r"wallet\.02") as caught:
        seed_of(" ".join(words))
    places = caught.value.place.split("; ")
    assert [place.split(":")[0] for place in places] == ["word 3", "word 24"]
    assert WORDS[2] in places[0]
    assert WORDS[23] in places[1]


@pytest.mark.promise("P1")
def test_what_was_typed_is_not_repeated() -> None:
    typed = ["qqqqqqqq", *WORDS[1:23], "hunter2"]
    with pytest.raises(BadInput) as caught:
        seed_of(" ".join(typed))
    assert "qqqqqqqq" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.place.startswith("word 1; word 24")
    assert not any(f" {word} " in f" {caught.value} " for word in WORDS[1:23] if word not in suggestions("hunter2"))


def test_two_words_that_changed_places_do_not_pass() -> None:
    with pytest.raises(BadInput, match=r"wallet\.03") as caught:
        seed_of(" ".join([WORDS[1], WORDS[0], *WORDS[2:]]))
    assert caught.value.place == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("abnadno", "abandon"), ("zo", "zoo"), ("xct", "act"), ("lettter", "letter"), ("yelow", "yellow")],
)
def test_suggestions_find_what_was_meant(typed: str, meant: str) -> None:
    assert meant in suggestions(typed)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("typed", ["", "qqqqqqqq", "q" * 1_000_000], ids=["nothing", "short", "long"])
def test_there_is_no_suggestion_for_what_is_no_word(typed: str) -> None:
    assert suggestions(typed) == []


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(BadInput, match=r"wallet\.04"):
        phrase_of(bytes(length))


def away(typed: str, word: str) -> int:
    """The same number by its definition: the shortest way of edits, no letter touched twice."""
    if not typed or not word:
        return len(typed) + len(word)
    ways = [
        away(typed[1:], word) + 1,
        away(typed, word[1:]) + 1,
        away(typed[1:], word[1:]) + (typed[0] != word[0]),
    ]
    if len(typed) > 1 and len(word) > 1 and typed[:2] == word[1::-1]:
        ways.append(away(typed[2:], word[2:]) + 1)
    return min(ways)


@pytest.mark.parametrize("typed", ["", "a", "ab", "ba", "aba", "abb", "cab", "bca", "abca"])
def test_how_far_words_are_from_each_other(typed: str) -> None:
    for letters in (letters for length in range(5) for letters in product("abc", repeat=length)):
        word = "".join(letters)
        assert phrase._distance(typed, word) == away(typed, word), (typed, word)


def test_those_that_begin_alike_come_first() -> None:
    assert [phrase._shared(typed, "able") for typed in ("", "x", "able", "abel", "ables", "abl")] == [0, 0, 4, 2, 4, 3]
    found = suggestions("sord")
    assert found == sorted(found, key=lambda word: (away("sord", word), -phrase._shared("sord", word), word))
    assert len({away("sord", word) for word in found}) < len(found), "some are as far"


def test_a_long_word_is_near_one_that_is_as_long() -> None:
    longest = max(phrase._english().wordlist, key=len)
    assert suggestions(longest + "x" * phrase._FARTHEST)[0] == longest
    assert suggestions(longest + "x" * (phrase._FARTHEST + 1)) == []
