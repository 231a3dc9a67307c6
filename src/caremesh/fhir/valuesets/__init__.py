"""The value sets beside this file, read once: codes, beginnings of codes, and words that tell a sensitive category."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

import ahocorasick_rs
import msgspec
from msgspec import Struct

from caremesh.fhir.categories import SENSITIVE

CATEGORIES: Final = tuple(name for name in SENSITIVE if name != "unclassified")
_TELLING_CODE_LETTERS: Final = 7
"""A code of so many letters is looked for in running text too; a shorter one could be any number."""


class ValueSets(Struct, frozen=True):
    """``codes``: (system, code) → categories; ``icd10``, ``atc``: (beginning, category); ``labels``: by code."""

    codes: dict[tuple[str, str], frozenset[str]]
    icd10: list[tuple[str, str]]
    atc: list[tuple[str, str]]
    words: list[tuple[str, str]]
    labels: dict[str, str]
    normal: frozenset[str]


@cache
def value_sets() -> ValueSets:
    """All value sets."""
    codes: dict[tuple[str, str], set[str]] = {}
    icd10, atc, words = [], [], []
    sources = [_read(category) for category in CATEGORIES]
    by_category = [(source["category"], source["codes"]) for source in sources]
    for category, systems in (*by_category, *_read("synthea")["categories"].items()):
        for system, members in systems.items():
            for code in members:
                codes.setdefault((system, code), set()).add(category)
    for source in sources:
        icd10 += [(start, source["category"]) for start in source["icd10"]]
        atc += [(start, source["category"]) for start in source["atc"]]
        words += [(word, source["category"]) for word in source["words"]]
    labels = _read("labels")
    return ValueSets(
        codes={key: frozenset(found) for key, found in codes.items()},
        icd10=icd10,
        atc=atc,
        words=words,
        labels=labels["sensitive"],
        normal=frozenset(labels["normal"]),
    )


class Marks(Struct, frozen=True):
    """What a look over a text found: categories that it tells, and things that need a closer look."""

    categories: set[str]
    closer: set[str]


SHORT_CODE: Final = "a code that is only one together with its system"
GROUPED_CODE: Final = "a system whose codes are known by how they begin"
_CLOSER: Final = {
    '"security"': "labels",
    '"securitylabel"': "labels",
    '"confidentiality"': "labels",
    '"contained"': "resources",
    '"resource"': "resources",
    '"data"': "attachments",
    '"div"': "narrative",
    "icd": GROUPED_CODE,
    "/atc": GROUPED_CODE,
    "2.16.840.1.113883.6.": GROUPED_CODE,
}
"""Text → what it may point to. All JSON names in lower case, as the text that is looked at."""


def telling_words(text: str) -> set[str]:
    """The categories whose words stand in a text."""
    return _find(_words(), text.lower()).categories


def look(text: str) -> Marks:
    """The categories of words, and of codes long enough to be recognised in running text; linear in its length."""
    return _find(_everything(), text.lower())


class _Pattern(Struct, frozen=True, gc=False):
    text: str
    goes_on: bool
    categories: frozenset[str]
    closer: str = ""


class _Search(Struct, frozen=True):
    automaton: Any
    patterns: list[_Pattern]


@cache
def _words() -> _Search:
    return _search(_word_patterns())


@cache
def _everything() -> _Search:
    patterns = _word_patterns()
    for (_, code), categories in sorted(value_sets().codes.items()):
        if len(code) >= _TELLING_CODE_LETTERS:
            patterns.append(_Pattern(code.lower(), goes_on=False, categories=categories))
        else:
            patterns.append(_Pattern(f'"{code.lower()}"', goes_on=True, categories=frozenset(), closer=SHORT_CODE))
    patterns += [
        _Pattern(text, goes_on=True, categories=frozenset(), closer=closer) for text, closer in _CLOSER.items()
    ]
    return _search(patterns)


def _word_patterns() -> list[_Pattern]:
    by_word: dict[str, set[str]] = {}
    for word, category in value_sets().words:
        by_word.setdefault(word, set()).add(category)
    return [
        _Pattern(word.rstrip("*"), goes_on=word.endswith("*"), categories=frozenset(found))
        for word, found in sorted(by_word.items())
    ]


def _search(patterns: list[_Pattern]) -> _Search:
    texts = [pattern.text for pattern in patterns]
    return _Search(
        ahocorasick_rs.AhoCorasick(texts, implementation=ahocorasick_rs.Implementation.DFA, store_patterns=False),
        patterns,
    )


def _find(search: _Search, text: str) -> Marks:
    found: set[str] = set()
    closer: set[str] = set()
    for index, start, end in search.automaton.find_matches_as_indexes(text, overlapping=True):
        pattern = search.patterns[index]
        if pattern.closer:
            closer.add(pattern.closer)
        elif not pattern.categories <= found:
            before, after = text[start - 1 : start], text[end : end + 1]
            if not before.isalnum() and (pattern.goes_on or not after.isalnum()):
                found |= pattern.categories
    return Marks(found, closer)


def _read(name: str) -> dict[str, Any]:
    data = files("caremesh.fhir").joinpath(f"valuesets/{name}.json").read_bytes()
    return msgspec.json.decode(data, type=dict[str, Any])
