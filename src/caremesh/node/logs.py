"""A process's log: one JSON object a line on standard error, each field of a known name, nothing personal.

Fields are names from ``FIELDS``; anything else is left out, and its name told, so that no value slips in by a new name.
What an exception says goes in only when it is one of ours: those hold codes and places, never values. Of others, the
class and where it was raised.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

from caremesh.errors import CareMeshError

FIELDS: Final = frozenset(
    {
        "event", "level", "timestamp", "part", "pid", "exc_info", "code", "place", "sentence", "cure", "exit_code",
        "signal", "wait_s", "ran_s", "took_s", "height", "behind_s", "member", "peer", "address", "path", "starts",
        "count", "route", "method", "status", "seconds", "chain", "version", "parts", "trace", "fault", "process",
    }
)  # fmt: skip
_FRAMES: Final = 6
Log = FilteringBoundLogger


def begin(part: str, level: str, to: TextIO | None = None) -> Log:
    """The log of a process. ``part``: what it is called; ``level``: what is logged at least."""
    logging.basicConfig(level=logging.ERROR, handlers=[_Quiet()], force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _known,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(to or _standard_error()),
        cache_logger_on_first_use=False,
    )
    log: Log = structlog.get_logger().bind(part=part)
    return log


def about(error: BaseException) -> dict[str, Any]:
    """What a log may say of an error."""
    if isinstance(error, CareMeshError):
        return {"code": error.code, "place": error.place, "sentence": error.error.sentence}
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "fault": type(error).__name__,
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _known(_: Any, __: str, said: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = said.pop("exc_info", None)
    known = {name: value for name, value in said.items() if name in FIELDS}
    if isinstance(error, BaseException):
        known |= about(error)
    unknown = sorted(set(said) - set(known))
    return known | ({"left_out": unknown} if unknown else {})


class _Careful:
    """A line in one write, as processes share a log; what the disk does not take is lost, and holds up nobody."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._descriptor, line.encode())

    def flush(self) -> None:
        """Nothing is kept back."""


def _standard_error() -> TextIO:
    try:
        return cast("TextIO", _Careful(sys.stderr.fileno()))
    except OSError:  # whoever runs this has put something else there
        return sys.stderr


class _Quiet(logging.Handler):
    """What libraries log: that they did, and where; not their words, which may hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        structlog.get_logger().warning("library", place=f"{record.name}:{record.lineno}", code=record.levelname)
