"""``/healthz`` (this process answers), ``/readyz`` (the node does its work) and ``/openapi.json``: for anyone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from caremesh.api.openapi import document
from caremesh.api.routes import ANYONE, Answer, Call, Route, json_answer
from caremesh.api.threads import Run, in_threads
from caremesh.client import wire
from caremesh.client.wire import Health

Check = Callable[[], bool]
"""Whether something that readiness needs is well. May block; raising counts as not well."""


def routes(checks: Mapping[str, Check], others: Sequence[Route], version: str, run: Run | None = None) -> list[Route]:
    """``checks``: name → what readiness asks. ``others``: the routes that the document describes besides these."""
    in_thread = run or in_threads(4)

    async def healthz(_: Call) -> Answer:
        return json_answer(Health(ready=True, checks={}))

    async def readyz(_: Call) -> Answer:
        found = {name: await in_thread(partial(holds, check)) for name, check in checks.items()}
        ready = all(found.values())
        return json_answer(Health(ready=ready, checks=found), 200 if ready else 503)

    async def openapi(_: Call) -> Answer:
        return Answer(described, wire.JSON)

    mine = [
        Route(
            name="health.alive",
            method="GET",
            path="/healthz",
            summary="Whether this process answers",
            handler=healthz,
            callers=ANYONE,
            answer_media=wire.JSON,
            answer=Health,
        ),
        Route(
            name="health.ready",
            method="GET",
            path="/readyz",
            summary="Whether the node does its work: 503 when one of the checks fails",
            handler=readyz,
            callers=ANYONE,
            answer_media=wire.JSON,
            answer=Health,
        ),
        Route(
            name="health.openapi",
            method="GET",
            path="/openapi.json",
            summary="This document",
            handler=openapi,
            callers=ANYONE,
            answer_media=wire.JSON,
            answer="OpenAPI 3.1",
        ),
    ]
    described = document([*others, *mine], version)
    return mine


def holds(check: Check) -> bool:
    """What a check says; False when it raises."""
    try:
        return check()
    except Exception:  # noqa: BLE001 - whatever it is, it is not well
        return False
