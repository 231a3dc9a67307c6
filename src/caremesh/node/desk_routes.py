"""A node's desk behind the socket in its home: what ``node/desk.py`` asks, ``node/at_desk.py`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, cast

import msgspec

from caremesh import codec
from caremesh.api.routes import ANYONE, Answer, Call, Route
from caremesh.api.threads import in_threads
from caremesh.client import wire
from caremesh.errors import CareMeshError
from caremesh.gateway.opening import Opened
from caremesh.node import desk
from caremesh.node.at_desk import MemberDesk
from caremesh.node.desk import Ask, Imported, OpenedAnswer, OpenedPart, Said, Visited, Where
from caremesh.node.node import Node
from caremesh.node.profiles import FOLDER, checking
from caremesh.sealing.segment import OpenedRecord
from caremesh.source.importer import ImportReport, NotImported
from caremesh.types import Code

A = TypeVar("A")
T = TypeVar("T")
_AT_ONCE: Final = 16


def routes(node: Node) -> list[Route]:
    """The desk of a node."""
    run, at = in_threads(_AT_ONCE), member_desk(node)

    def route(ask: Ask[A, T], work: Callable[[A], T]) -> Route:
        async def handle(call: Call) -> Answer:
            return Answer(codec.encode(await run(lambda: work(_given(ask, call.body)))))

        return Route(
            name=f"desk.{ask.name}",
            method="POST",
            path=f"{desk.PREFIX}/{ask.name}",
            summary=ask.summary,
            handler=handle,
            callers=ANYONE,
            max_bytes=ask.max_bytes,
        )

    return [
        route(desk.WHERE, lambda _: _where(node)),
        route(desk.IMPORT, lambda data: _imported(lambda: at.import_file(data))),
        route(desk.IMPORT_LINES, lambda data: _imported(lambda: at.import_file(data, lines=True))),
        route(desk.CORRECT, at.correct),
        route(desk.RETRACT, lambda asked: at.retract(asked.patient, asked.category, asked.segment, asked.duty)),
        route(desk.INVITE, lambda asked: at.invite(asked.patient, asked.life_s, again=asked.again)),
        route(desk.INVITATIONS, at.invitations),
        route(desk.END_INVITATION, at.end_invitation),
        route(desk.INQUIRE, lambda a: at.inquire(a.categories, a.purposes, a.days, a.text, a.share)),
        route(desk.SHARED, lambda asked: at.shared(asked.category, asked.share)),
        route(desk.ASK, lambda asked: at.ask(asked.category, asked.purpose, asked.legal_basis, asked.share)),
        route(desk.OPEN, lambda receipt: _spelt(at.open(receipt))),
        route(desk.VISIT, lambda asked: _visited(*at.visit(asked.patient, asked.purpose, asked.legal_basis))),
        route(desk.DIRECTORY, lambda asked: at.directory(asked.receipts, asked.references)),
        route(desk.EVIDENCE, at.evidence),
        route(desk.NAMES, lambda _: at.names()),
        route(desk.APPOINT, lambda asked: at.appoint(asked.practitioner, asked.roles, asked.licensed_until)),
        route(desk.ROTATE, lambda _: at.rotate_key()),
        route(desk.ROTATE_VALIDATOR, lambda _: at.rotate_validator_key()),
        route(desk.LEAVE, lambda _: at.leave_network()),
        route(desk.PROPOSE, at.propose),
        route(desk.DECISION, at.decision),
        route(desk.SIGN, at.sign_decision),
        route(desk.SUBMIT, at.submit_decision),
    ]


def member_desk(node: Node) -> MemberDesk:
    """What the people of a node's member do there."""
    return MemberDesk(
        node.member,
        node.ways,
        founding=node.founding,
        submit=node.submit,
        proves=node,
        leave=node.ways.leave,
        endpoint=lambda: node.endpoint,
        check=lambda: checking(node.folder / FOLDER),
        patience_s=node.settings.hedge_after_s,
        sign_with=node.sign_with if node.founding.orders == "cometbft" else None,
    )


def _given(ask: Ask[A, T], body: bytes) -> A:
    """Raises BadInput codec.NN."""
    return cast("A", body) if ask.asked is bytes else codec.decode_as(body, ask.asked)


def _imported(work: Callable[[], ImportReport]) -> Imported:
    try:
        return Imported(work(), whole=True)
    except NotImported as error:
        return Imported(error.report, whole=False)


def _where(node: Node) -> Where:
    now = node.status()
    damaged = sorted(cid.encode() for cid in node.damaged)
    return Where(now.height, now.app_hash, node.member.confirmed, damaged, node.keeper.check.is_at_work)


def _spelt(opened: Opened) -> OpenedAnswer:
    return OpenedAnswer(
        parts=[OpenedPart(part.segment, part.records) for part in opened.parts],
        released_by=opened.released_by,
        faults=[Said(_spell(fault.error), fault.custodian, fault.claim) for fault in opened.faults],
        slow=opened.slow,
        damaged=[Said(_spell(error)) for error in opened.damaged],
        signed=opened.signed,
    )


def _visited(records: dict[Code, list[OpenedRecord]], ended: list[CareMeshError]) -> Visited:
    return Visited(records, [Said(_spell(error)) for error in ended])


def _spell(error: CareMeshError) -> bytes:
    return msgspec.json.encode(wire.problem_of(error, 400))
