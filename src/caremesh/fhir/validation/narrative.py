"""txt-1 and txt-2: a narrative holds the part of XHTML that R4 allows, and not only white space.

https://hl7.org/fhir/R4/narrative.html
"""

from __future__ import annotations

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
NONE: Final[frozenset[str]] = frozenset()
XHTML: Final = "http://www.w3.org/1999/xhtml"


class _Faulty(Exception):
    """What is wrong, and where the words need it, with what."""


class _Reader:
    """Follows the parser; knows whether something was said."""

    def __init__(self) -> None:
        self.said = False
        self.depth = 0
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 0 and (name != "div" or attributes.get("xmlns") != XHTML):
            raise _Faulty("txt-1", "the outermost element is an XHTML div")
        self.depth += 1
        if self.depth > 200:
            raise _Faulty("txt-1", "elements nest too deep")
        if name not in ELEMENTS:
            raise _Faulty("txt-1", "an element that narratives may not have")
        if name == "img":
            self.said = True
        for each, value in attributes.items():
            if each in {"id", "name"}:
                self.anchors.add(value)
            elif each in {"href", "src"} and value[:1] == "#":
                self.links.add(value[1:])
            elif each not in ATTRIBUTES and not each.startswith("xmlns:"):
                raise _Faulty("txt-1", "an attribute that narratives may not have")

    def end(self, _name: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        if not self.said and not data.isspace():
            self.said = True


def faults(text: str) -> tuple[str, str, frozenset[str]]:
    """The rule that a narrative breaks ("" for none) and how; and links to what it does not hold itself."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return "txt-1", "a document type", NONE
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(text, True)  # noqa: FBT003 - expat's own signature
    except _Faulty as fault:
        return fault.args[0], fault.args[1], NONE
    except expat.ExpatError:
        return "txt-1", "it is not well-formed XML", NONE
    return "" if reader.said else "txt-2", "", frozenset(reader.links - reader.anchors - {""})
