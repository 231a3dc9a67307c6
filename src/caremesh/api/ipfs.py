"""``/ipfs/{cid}``: raw blocks and CAR files, as any IPFS client asks for them and checks them itself.

The rules are those of the Trustless Gateway Specification (https://specs.ipfs.tech/http-gateways/trustless-gateway/)
for a gateway that has what it has and fetches nothing: raw blocks with ranges, CAR version 1 in depth-first order, no
paths below a CID, no IPNS. Without ``format`` and without a usable ``Accept`` it answers 400.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from caremesh.api import ranges
from caremesh.api.blocks import Ports, read
from caremesh.api.errors import BAD_QUERY
from caremesh.api.problems import response_of
from caremesh.api.routes import ANYONE, Answer, Call, Route
from caremesh.api.threads import Run, in_threads
from caremesh.blobs import car
from caremesh.blobs.errors import NO_FORMAT
from caremesh.blobs.links import BlockLink
from caremesh.client import wire
from caremesh.codec import CID, parse_cid
from caremesh.errors import BadInput, Unavailable

PREFIX: Final = "/ipfs"
CAR: Final = "application/vnd.ipld.car"
MAX_CAR_BLOCKS: Final = 4_096
"""A segment has 514 at most; what links back and forth ends here."""
YEAR_S: Final = 29_030_400
_EMPTY: Final = "bafkqaaa"
"""The empty block, whose name is its content: clients ask for it to see whether a gateway is one."""
_EMPTY_CID: Final = b"\x01\x55\x00\x00"
_FILENAME: Final = r"^[A-Za-z0-9._-]{1,128}$"
_BYTES: Final = re.compile(r"(-?\d{1,18}):(\*|-?\d{1,18})", re.ASCII)


class Asked(Struct, frozen=True, kw_only=True, rename="kebab"):
    """The parameters of the specification. ``format`` counts more than ``Accept``."""

    cid: Annotated[str, Meta(pattern=r"^b[a-z2-7]{7,58}$")]
    format: str = ""
    dag_scope: Literal["block", "entity", "all"] | None = None
    entity_bytes: Annotated[str, Meta(pattern=_BYTES.pattern)] | None = None
    car_version: str = ""
    car_order: Literal["dfs", "unk", ""] = ""
    car_dups: Literal["y", "n", ""] = ""
    filename: Annotated[str, Meta(pattern=_FILENAME)] | None = None


class Shape(Struct, frozen=True):
    """What is asked for, once query and headers are read. ``scope``: how much of what hangs on the root."""

    is_car: bool
    dups: bool = False
    scope: str = "all"
    entity_bytes: str = ""

    def etag(self, cid: str) -> str:
        """Strong for a block; weak for a CAR, whose bytes another gateway may order otherwise."""
        if not self.is_car:
            return f'"{cid}.raw"'
        return f'W/"{cid}.car.dfs.{"y" if self.dups else "n"}.{self.scope}.{self.entity_bytes.replace("*", "end")}"'


def routes(ports: Ports, run: Run | None = None) -> list[Route]:
    """Of a member that holds blocks."""
    made = _Gateway(ports, run or in_threads())
    get = Route(
        name="ipfs.get",
        method="GET",
        path=f"{PREFIX}/{{cid}}",
        summary="A block or a CAR file, for any IPFS client",
        handler=made.get,
        asked=Asked,
        callers=ANYONE,
        answer_media=wire.RAW,
        answer="The block, or a CAR file of it and what it links to",
    )
    return [get, replace(get, name="ipfs.head", method="HEAD", summary="The same without its body", handler=made.head)]


class _Gateway:
    def __init__(self, ports: Ports, run: Run) -> None:
        self._ports = ports
        self._run = run

    async def head(self, call: Call) -> Answer:
        """A HEAD has the headers of the GET (RFC 9110, section 9.3.2), with the length that the body would have."""
        answer = await self._answer(call)
        if answer.stream is not None:
            return Answer(media=answer.media, status=answer.status, headers=answer.headers)
        length = {} if answer.status == 304 else {"content-length": str(len(answer.body))}
        return Answer(media=answer.media, status=answer.status, headers={**answer.headers, **length})

    async def get(self, call: Call) -> Answer:
        return await self._answer(call)

    async def _answer(self, call: Call) -> Answer:
        asked = call.asked(Asked)
        shape = _shape(asked, call.headers.get("accept", ""))
        if asked.cid == _EMPTY:
            return self._whole(call, asked, shape, CID(_EMPTY_CID), b"", None)
        cid = parse_cid(asked.cid)
        link = None if call.caller.kind == "member" else self._ports.may.of(call)
        try:
            root = await self._run(lambda: self._get(call, link, cid))
        except Unavailable as error:
            if "only-if-cached" in call.headers.get("cache-control", ""):
                problem = response_of(error)
                return Answer(bytes(problem.body), wire.PROBLEM, 412)
            raise
        return self._whole(call, asked, shape, cid, root, link)

    def _get(self, call: Call, link: BlockLink | None, cid: CID) -> bytes:
        self._ports.may.check_get(call, link, cid)
        return read(self._ports, cid)

    def _whole(self, call: Call, asked: Asked, shape: Shape, cid: CID, root: bytes, link: BlockLink | None) -> Answer:
        etag = shape.etag(asked.cid)
        headers = self._headers(asked, shape, etag)
        if ranges.is_known(call.headers, etag):
            return Answer(status=304, media="", headers=headers)
        if shape.is_car:
            _check_bytes(shape, cid, len(root))
            media = f"{CAR}; version=1; order=dfs; dups={'y' if shape.dups else 'n'}"
            return Answer(media=media, headers=headers, stream=self._car(call, link, shape, cid, root))
        headers["accept-ranges"] = "bytes"
        part = ranges.wanted(call.headers, etag, len(root))
        if part == ranges.NOTHING:
            return Answer(status=416, media="", headers={"content-range": f"bytes */{len(root)}"})
        if part is not None:
            headers["content-range"] = f"bytes {part.start}-{part.end - 1}/{len(root)}"
            return Answer(root[part.start : part.end], wire.RAW, 206, headers)
        return Answer(root, wire.RAW, headers=headers)

    def _headers(self, asked: Asked, shape: Shape, etag: str) -> dict[str, str]:
        """``Cache-Control``: the name is the content, for ever; who else may keep it depends on who may see it."""
        kept = "public" if self._ports.may.is_open else "private"
        kind = "car" if shape.is_car else "raw"
        name = asked.filename or f"{asked.cid}.{'car' if shape.is_car else 'bin'}"
        headers = {
            "cache-control": f"{kept}, max-age={YEAR_S}, immutable",
            "content-disposition": f'attachment; filename="{name}"',
            "etag": etag,
            "vary": "accept",
            "x-ipfs-path": f"{PREFIX}/{asked.cid}",
            "x-ipfs-roots": asked.cid,
        }
        if not asked.format:
            headers["content-location"] = f"{PREFIX}/{asked.cid}?format={kind}"
        if self._ports.may.is_open:
            headers["access-control-allow-origin"] = "*"
        return headers

    async def _car(
        self, call: Call, link: BlockLink | None, shape: Shape, cid: CID, root: bytes
    ) -> AsyncIterator[bytes]:
        """Depth first. What is missing below the root ends the stream: who reads it sees that it is not whole."""
        sent: set[CID] = set()
        count, waiting = 0, [cid]
        yield car.header(cid)
        while waiting:
            name = waiting.pop()
            if not shape.dups and name in sent:
                continue
            count += 1
            if count > MAX_CAR_BLOCKS:
                raise Unavailable(NO_FORMAT, f"more than {MAX_CAR_BLOCKS} blocks")
            data = root if name == cid else await self._run(lambda name=name: self._get(call, link, name))  # type: ignore[misc]
            sent.add(name)
            yield car.section(name, data)
            if shape.scope == "all":
                waiting += reversed(car.links(name, data))


def _shape(asked: Asked, accept: str) -> Shape:
    """Raises BadInput api.17, blobs.13."""
    parameters: dict[str, str] = {}
    kind = asked.format
    if not kind:
        kind, parameters = _accepted(accept)
    if kind == "raw":
        return Shape(is_car=False)
    if kind != "car":
        raise BadInput(NO_FORMAT) if kind else BadInput(BAD_QUERY, "format")
    if (asked.car_version or parameters.get("version", "1")) != "1":
        raise BadInput(NO_FORMAT, "version")
    if (asked.car_order or parameters.get("order", "dfs")) not in ("dfs", "unk"):
        raise BadInput(NO_FORMAT, "order")
    dups = asked.car_dups or parameters.get("dups", "n")
    if dups not in ("y", "n"):
        raise BadInput(NO_FORMAT, "dups")
    scope = "entity" if asked.entity_bytes is not None else asked.dag_scope or "all"
    return Shape(is_car=True, dups=dups == "y", scope=scope, entity_bytes=asked.entity_bytes or "")


def _accepted(accept: str) -> tuple[str, dict[str, str]]:
    """The kind that a caller likes best of those there are, and the parameters of its media type."""
    found: list[tuple[float, str, dict[str, str]]] = []
    seen = False
    for item in accept.lower().split(","):
        media, *rest = [part.strip() for part in item.split(";")]
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        quality = _quality(parameters.pop("q", "1"))
        seen = seen or (media not in ("", "*/*", "application/*"))
        if media in (wire.RAW, CAR) and quality > 0:
            found.append((quality, "raw" if media == wire.RAW else "car", parameters))
    if not found:
        return ("other" if seen else ""), {}
    best = max(found, key=lambda row: row[0])
    return best[1], best[2]


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text, re.ASCII) else 0.0


def _check_bytes(shape: Shape, cid: CID, size: int) -> None:
    """Bytes of a block that is one array of them must touch it. Raises BadInput api.17."""
    match = _BYTES.fullmatch(shape.entity_bytes)
    if match is None or not bytes(cid).startswith(b"\x01\x55"):
        return
    first = int(match[1])
    start = max(size + first, 0) if first < 0 else first
    last = size - 1 if match[2] == "*" else int(match[2]) + (size if int(match[2]) < 0 else 0)
    if (size and start >= size) or last < start - 1:
        raise BadInput(BAD_QUERY, "entity-bytes")
