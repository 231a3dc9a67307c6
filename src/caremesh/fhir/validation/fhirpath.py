"""fhirpathpy, for the constraints of profiles: true, false, or unevaluated; never passed because nobody could ask."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from antlr4 import CommonTokenStream, InputStream
from fhirpathpy import compile as compile_path
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser

Compiled = Callable[..., list[Any]]


class Unevaluated(Exception):
    """The expression could not be parsed or evaluated: nobody knows whether the constraint holds."""


@lru_cache(maxsize=2048)
def _compiled(expression: str) -> Compiled:
    if not _is_whole(expression):
        raise ValueError("not FHIRPath")
    found: Compiled = compile_path(expression, models["r4"])
    return found


def _is_whole(expression: str) -> bool:
    """True when all of the text is FHIRPath: fhirpathpy itself is content with a beginning that is."""
    lexer = FHIRPathLexer(InputStream(expression))
    parser = FHIRPathParser(CommonTokenStream(lexer))
    for each in (lexer, parser):
        each.removeErrorListeners()
    parser.entireExpression()  # type: ignore[no-untyped-call]
    return bool(parser.getNumberOfSyntaxErrors() == 0)


def holds(expression: str, node: Any, path: str, resource: dict[str, Any]) -> bool:
    """True when the constraint holds for an element.

    ``node``: the element; ``path``: where its type is described (``Observation.component``, ``Quantity``). A result
    that is empty fails, as in HAPI. Raises Unevaluated.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its trace() prints
            found = _compiled(expression)(
                ResourceNode.create_node(node, path),  # type: ignore[no-untyped-call]
                {"resource": resource, "rootResource": resource, "context": node},
            )
    except Exception as error:
        raise Unevaluated(type(error).__name__) from error
    return len(found) > 0 and all(one is True or not isinstance(one, bool) for one in found)
