"""The recovery phrase: 24 words that are the wallet's seed, written for people.

BIP-39, English, with 256 bits: the words are the seed itself and 8 bits of its SHA-256. We use the seed (the
"entropy" of BIP-39) and not its PBKDF2 stretching: there is no extra passphrase, and 256 bits need no stretching.
Errors say where a word is wrong and which words come closest; they never repeat what was typed.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

from mnemonic import Mnemonic

from caremesh.errors import BadInput
from caremesh.wallet.errors import BAD_SEED, CHECKSUM, MISSPELT, WORD_COUNT

WORDS: Final = 24
SEED_BYTES: Final = 32
MAX_SUGGESTIONS: Final = 5
_LONGEST_WORD: Final = 8
_FARTHEST: Final = 2
"""Edits between what was typed and a word that we still suggest."""


def phrase_of(seed: bytes) -> str:
    """The 24 words of a seed (32 bytes), one space between them. Raises BadInput wallet.04."""
    if len(seed) != SEED_BYTES:
        raise BadInput(BAD_SEED)
    return _english().to_mnemonic(seed)


def seed_of(phrase: str) -> bytes:
    """The seed (32 bytes) of a phrase, however it is spaced and capitalised.

    Raises BadInput wallet.01 (not 24 words), wallet.02 (misspelt: each position, counted from 1, with the closest
    words), wallet.03 (checksum).
    """
    words = unicodedata.normalize("NFKD", phrase).lower().split()
    if len(words) != WORDS:
        raise BadInput(WORD_COUNT, f"{len(words)} given")
    known = set(_english().wordlist)
    wrong = [f"word {position}{_hint(word)}" for position, word in enumerate(words, 1) if word not in known]
    if wrong:
        raise BadInput(MISSPELT, "; ".join(wrong))
    try:
        return bytes(_english().to_entropy(words))
    except ValueError as error:
        raise BadInput(CHECKSUM) from error


def suggestions(word: str) -> list[str]:
    """The words of the list that come closest to a misspelt one, best first; at most five, perhaps none."""
    typed = word[: _LONGEST_WORD + _FARTHEST + 1]  # anything longer is far from every word
    ranked = sorted((_distance(typed, known), -_shared(typed, known), known) for known in _english().wordlist)
    return [known for distance, _, known in ranked[:MAX_SUGGESTIONS] if distance <= _FARTHEST]


def _hint(word: str) -> str:
    close = suggestions(word)
    return f": did you mean {', '.join(close)}?" if close else ""


def _distance(typed: str, word: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours that lead from one to the other (Damerau 1964)."""
    before: list[int] = []
    above: list[int] = []
    row = list(range(len(word) + 1))
    for i, letter in enumerate(typed, 1):
        before, above, row = above, row, [i]
        for j, other in enumerate(word, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == word[j - 2] and typed[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _shared(typed: str, word: str) -> int:
    """Letters that both begin with: people misspell ends more than beginnings."""
    return next((i for i, (a, b) in enumerate(zip(typed, word, strict=False)) if a != b), min(len(typed), len(word)))


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")
