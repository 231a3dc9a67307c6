"""How deep a policy may nest: the parser below recurses, and a text could overflow its stack and end the process.

The check reads the text once, left to right, without recursion, before the parser sees it. Strings and comments are
skipped by Cedar's own lexical rules; what is left over when they do not close is for the parser to refuse.
"""

from __future__ import annotations

import re
from typing import Final

from caremesh.contracts.policy.errors import TOO_DEEP
from caremesh.errors import Refused

__all__ = ["MAX_NESTING", "MAX_OPERATORS", "check_shape"]

MAX_NESTING: Final = 8
"""Open brackets of any kind."""
MAX_OPERATORS: Final = 32
"""Operators in one policy: a chain of them nests as deep as it is long."""

_LEXEME: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"'  # a string
    r"|//[^\n\r]*"  # a comment
    r"|[(\[{]|[)\]}]|;"
    r"|&&|\|\||[.+\-*/%!<>=]|\b(?:if|else|has|like|in|is)\b",
    re.DOTALL,
)


def check_shape(text: str) -> None:
    """Refuse a text that nests or chains too deep. Raises Refused policy.18."""
    depth = operators = 0
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        if lexeme in "([{":
            depth += 1
        elif lexeme in ")]}":
            depth = max(0, depth - 1)
        elif lexeme == ";":
            operators = operators if depth else 0
        elif not lexeme.startswith(('"', "//")):
            operators += 1
        if depth > MAX_NESTING or operators > MAX_OPERATORS:
            raise Refused(TOO_DEEP)
