"""txt-1 and txt-2: a narrative holds the part of XHTML that R4 allows, and not only white space.

https://hl7.org/fhir/R4/narrative.html
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Final
from xml.parsers import expat

ELEMENTS: Final = frozenset(
    [
        "p",
        "br",
        "div",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "a",
        "span",
        "b",
        "em",
        "i",
        "strong",
        "small",
        "big",
        "tt",
        "dfn",
        "q",
        "var",
        "abbr",
        "acronym",
        "cite",
        "blockquote",
        "hr",
        "address",
        "bdo",
        "kbd",
        "sub",
        "sup",
        "ul",
        "ol",
        "li",
        "dl",
        "dt",
        "dd",
        "pre",
        "table",
        "caption",
        "colgroup",
        "col",
        "thead",
        "tr",
        "tfoot",
        "tbody",
        "th",
        "td",
        "code",
        "samp",
        "img",
        "map",
        "area",
        "del",
        "ins",
        "s",
    ]
)
ATTRIBUTES: Final = frozenset(
    [
        "title",
        "style",
        "class",
        "id",
        "lang",
        "xml:lang",
        "dir",
        "accesskey",
        "tabindex",
        "xmlns",
        "span",
        "width",
        "align",
        "valign",
        "char",
        "charoff",
        "abbr",
        "axis",
        "headers",
        "scope",
        "rowspan",
        "colspan",
        "href",
        "name",
        "rel",
        "rev",
        "charset",
        "type",
        "target",
        "src",
        "height",
        "alt",
        "longdesc",
        "usemap",
        "ismap",
        "cite",
        "border",
        "cellpadding",
        "cellspacing",
        "frame",
        "rules",
        "summary",
        "shape",
        "coords",
        "nohref",
        "start",
        "value",
        "compact",
        "reversed",
        "bgcolor",
    ]
)
XHTML: Final = "http://www.w3.org/1999/xhtml"
_ENTITY: Final = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_OWN: Final = frozenset({"lt", "gt", "amp", "quot", "apos"})


class _Faulty(Exception):
    """What is wrong, and where the words need it, with what."""


class _Reader:
    """Follows the parser; knows whether something was said."""

    def __init__(self) -> None:
        self.said = False
        self.depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 0 and (name != "div" or attributes.get("xmlns", XHTML) != XHTML):
            raise _Faulty("txt-1", "the outermost element is an XHTML div")
        self.depth += 1
        if self.depth > 200:
            raise _Faulty("txt-1", "elements nest too deep")
        if name not in ELEMENTS:
            raise _Faulty("txt-1", "an element that narratives may not have")
        if name == "img":
            self.said = True
        for each in attributes:
            if each not in ATTRIBUTES and not each.startswith("xmlns:"):
                raise _Faulty("txt-1", "an attribute that narratives may not have")

    def end(self, _name: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        if not self.said and not data.isspace():
            self.said = True


@lru_cache(maxsize=512)
def faults(text: str) -> tuple[str, str] | None:
    """The rule that a narrative breaks and how, or None."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return "txt-1", "a document type"
    if "&" in text:
        text = _ENTITY.sub(_entity, text)
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text, True)  # noqa: FBT003 - expat's own signature
    except _Faulty as fault:
        return fault.args[0], fault.args[1]
    except expat.ExpatError:
        return "txt-1", "it is not well-formed XML"
    return None if reader.said else ("txt-2", "")


def _entity(match: re.Match[str]) -> str:
    """HTML's names for characters as the characters: JSON readers meet them, and nothing hides in them."""
    return match[0] if match[1] in _OWN else html.unescape(match[0])
