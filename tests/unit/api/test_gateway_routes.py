"""``/ipfs/{cid}`` by the rules of the Trustless Gateway Specification."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from caremesh import codec
from caremesh.api import ipfs
from caremesh.blobs import car
from caremesh.codec import CID
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.block_node import BlockNode, block_node
from tests.support.holders import ME, every, segment

pytestmark = pytest.mark.slow
ONE = bytes([1]) * 32
RAW, CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"
DATA = os.urandom(1_000)
NAME = codec.cid_of_raw(DATA)
SEALED = segment(ONE, os.urandom(2_200_000))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockNode]:
    with (
        LocalMesh(tmp_path_factory.mktemp("mesh"), SettableClock()) as mesh,
        block_node(mesh, "payer", tmp_path_factory.mktemp("served"), is_open=True) as running,
    ):
        running.holder.put_many(ME, {ONE: {NAME: DATA, **every(SEALED)}})
        yield running


def get(served: BlockNode, cid: CID | str, query: str = "", method: str = "GET", **headers: str) -> httpx.Response:
    name = cid if isinstance(cid, str) else cid.encode()
    given = {"accept": "", "accept-encoding": "identity"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    with httpx.Client(base_url=served.plain_url) as client:
        return client.request(method, f"/ipfs/{name}{'?' + query if query else ''}", headers=given)


def opened(data: bytes) -> tuple[Any, list[tuple[CID, bytes]]]:
    """A CAR file read byte by byte; https://ipld.io/specs/transport/car/carv1/."""
    sections, at = [], 0
    while at < len(data):
        length, shift = 0, 0
        while True:
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        sections.append(data[at : at + length])
        assert len(sections[-1]) == length, "cut off"
        at += length
    return codec.decode(sections[0]), [(CID(row[:36]), row[36:]) for row in sections[1:]]


@pytest.mark.parametrize(
    ("query", "accept"), [("format=raw", ""), ("", RAW), ("format=raw", CAR), ("", f"text/html, {RAW};q=0.1")]
)
def test_a_raw_block(served: BlockNode, query: str, accept: str) -> None:
    answer = get(served, NAME, query, accept=accept)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert {
        name: answer.headers[name] for name in ("content-type", "etag", "accept-ranges", "content-disposition")
    } == {
        "content-type": RAW,
        "etag": f'"{NAME.encode()}.raw"',
        "accept-ranges": "bytes",
        "content-disposition": f'attachment; filename="{NAME.encode()}.bin"',
    }
    assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get("content-location") == (None if query else f"/ipfs/{NAME.encode()}?format=raw")


def test_what_is_asked_for_must_be_said_and_be_there(served: BlockNode) -> None:
    for accept in ("", "*/*", "application/*"):
        answer = get(served, NAME, accept=accept)
        assert (answer.status_code, answer.json()["code"]) == (400, "api.17")
    for query, accept in (("format=tar", ""), ("format=ipns-record", RAW), ("", "text/html"), ("", f"{RAW};q=0")):
        answer = get(served, NAME, query, accept=accept)
        assert (answer.status_code, answer.json()["code"]) == (406, "blobs.13")
    for query in (
        "format=car&car-version=2",
        "format=car&dag-scope=some",
        "format=car&car-dups=maybe",
        "format=raw&filename=a%22b",
    ):
        assert get(served, NAME, query).status_code in (400, 406)
    for accept in (f"{CAR}; version=2", f"{CAR}; order=bfs", f"{CAR}; dups=x"):
        assert get(served, NAME, accept=accept).status_code == 406
    missing = codec.cid_of_raw(b"missing")
    for method in ("GET", "HEAD"):
        for kind in ("raw", "car"):
            assert get(served, missing, f"format={kind}", method).status_code == 404
            assert get(served, missing, f"format={kind}", method, cache_control="only-if-cached").status_code == 412
    assert get(served, NAME, "format=raw", cache_control="only-if-cached").status_code == 200
    assert get(served, "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "format=raw").status_code == 400


def test_ranges_of_a_block(served: BlockNode) -> None:
    tag = f'"{NAME.encode()}.raw"'
    for asked, part in (
        ("bytes=0-9", DATA[:10]),
        ("bytes=990-", DATA[990:]),
        ("bytes=-5", DATA[-5:]),
        ("bytes=5-5000", DATA[5:]),
    ):
        answer = get(served, NAME, "format=raw", range=asked, if_range=tag)
        assert (answer.status_code, answer.content) == (206, part)
        first = DATA.index(part)
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(DATA)}"
    gone = get(served, NAME, "format=raw", range="bytes=1000-")
    assert (gone.status_code, gone.headers["content-range"]) == (416, "bytes */1000")
    assert get(served, NAME, "format=raw", range="bytes=0-9", if_range='"old"').content == DATA


def test_who_has_it_already_gets_nothing(served: BlockNode) -> None:
    for query in ("format=raw", "format=car", "format=car&dag-scope=block"):
        first = get(served, NAME, query)
        again = get(served, NAME, query, if_none_match=first.headers["etag"])
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert get(served, NAME, query, if_none_match='"other"').status_code == 200
    tags = {
        get(served, NAME, query).headers["etag"]
        for query in (
            "format=raw",
            "format=car",
            "format=car&dag-scope=block",
            "format=car&car-dups=y",
            "format=car&entity-bytes=0:5",
        )
    }
    assert len(tags) == 5


def test_a_head_is_a_get_without_its_body(served: BlockNode) -> None:
    for query, status, headers in (
        ("format=raw", 200, {}),
        ("format=raw", 206, {"range": "bytes=0-9"}),
        ("format=raw", 416, {"range": "bytes=5000-"}),
        ("format=raw", 304, {"if_none_match": f'"{NAME.encode()}.raw"'}),
        ("format=car", 200, {}),
    ):
        head, full = get(served, NAME, query, "HEAD", **headers), get(served, NAME, query, **headers)
        assert (head.status_code, full.status_code, head.content) == (status, status, b"")
        kept = {"content-type", "content-length", "etag", "content-range", "cache-control"}
        if query == "format=car":
            kept.remove("content-length")
        told = [{name: value for name, value in answer.headers.items() if name in kept} for answer in (head, full)]
        assert told[0] == told[1]


@pytest.mark.parametrize("query", ["format=car", "format=car&dag-scope=all&car-order=dfs&car-dups=n&car-version=1"])
def test_a_car_file_of_a_segment(served: BlockNode, query: str) -> None:
    answer = get(served, SEALED.descriptor_cid, query)
    assert answer.headers["content-type"] == f"{CAR}; version=1; order=dfs; dups=n"
    assert answer.headers["content-disposition"] == f'attachment; filename="{SEALED.descriptor_cid.encode()}.car"'
    header, sections = opened(answer.content)
    assert header == {"version": 1, "roots": [SEALED.descriptor_cid]}
    assert sections[0] == (SEALED.descriptor_cid, SEALED.descriptor)
    assert [cid for cid, _ in sections[1:]] == car.links(SEALED.descriptor_cid, SEALED.descriptor)
    assert dict(sections) == every(SEALED)
    assert len(sections) == len(every(SEALED)) >= 5


@pytest.mark.parametrize("query", ["dag-scope=block", "dag-scope=entity", "entity-bytes=0:*", "entity-bytes=-1:*"])
def test_a_car_file_of_the_root_alone(served: BlockNode, query: str) -> None:
    for cid, data in ((SEALED.descriptor_cid, SEALED.descriptor), (NAME, DATA)):
        answer = get(served, cid, f"format=car&{query}")
        assert opened(answer.content)[1] == [(cid, data)]


def test_bytes_that_a_block_does_not_have(served: BlockNode) -> None:
    for asked in ("1000:*", "5:3", "-3:-5"):
        assert get(served, NAME, f"format=car&entity-bytes={asked}").status_code == 400
        assert get(served, SEALED.descriptor_cid, f"format=car&entity-bytes={asked}").status_code == 200
    for asked in ("999:*", "999:5000", "-5000:*", "0:0"):
        assert get(served, NAME, f"format=car&entity-bytes={asked}").status_code == 200
    assert get(served, NAME, "format=car&entity-bytes=a:b").status_code == 400


def test_duplicates_are_sent_as_often_as_they_stand_or_once(served: BlockNode) -> None:
    twice = codec.encode({"a": [NAME, NAME], "b": codec.cid_of_cbor(codec.encode([NAME]))})
    inner = codec.encode([NAME])
    served.holder.put_many(ME, {ONE: {codec.cid_of_cbor(twice): twice, codec.cid_of_cbor(inner): inner}})
    root, leaf = codec.cid_of_cbor(twice), codec.cid_of_cbor(inner)
    for dups, order in (("y", [root, NAME, NAME, leaf, NAME]), ("n", [root, NAME, leaf])):
        answer = get(served, root, accept=f"{CAR}; version=1; dups={dups}")
        assert answer.headers["content-type"].endswith(f"dups={dups}")
        assert [cid for cid, _ in opened(answer.content)[1]] == order


@pytest.mark.promise("P6")
def test_a_car_file_that_lacks_a_block_ends_early(served: BlockNode, evidence: Any) -> None:
    lacking = codec.encode([NAME, codec.cid_of_raw(b"missing"), NAME])
    root = codec.cid_of_cbor(lacking)
    served.holder.put_many(ME, {ONE: {root: lacking}})
    with pytest.raises(httpx.RemoteProtocolError):
        get(served, root, "format=car")
    evidence.fault("a block below the root is missing")


def test_what_links_without_end_ends(served: BlockNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipfs, "MAX_CAR_BLOCKS", 100)
    below, blocks = NAME, dict[CID, bytes]()
    for _ in range(20):
        data = codec.encode([below, below])
        below = codec.cid_of_cbor(data)
        blocks[below] = data
    served.holder.put_many(ME, {ONE: blocks})
    assert len(opened(get(served, below, "format=car").content)[1]) == 21
    with pytest.raises(httpx.RemoteProtocolError):
        get(served, below, "format=car&car-dups=y")


def test_the_empty_block_shows_that_this_is_a_gateway(served: BlockNode) -> None:
    for method in ("GET", "HEAD"):
        answer = get(served, "bafkqaaa", "format=raw", method)
        assert (answer.status_code, answer.content) == (200, b"")
    assert get(served, "bafkqaaa", "format=car").content == car.header(CID(b"\x01\x55\0\0")) + b"\x04\x01\x55\0\0"


def test_dag_cbor_that_is_no_format_of_ours_is_a_leaf() -> None:
    for data in (b"\xff", b"\xfb\x3f\xf0\0\0\0\0\0\0x", codec.encode("text")):
        assert car.links(codec.cid_of_cbor(data), data) == []
    assert car.links(NAME, codec.encode([NAME])) == []


def test_a_closed_gateway_is_for_members_and_links(served: BlockNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.may, "is_open", False)
    from caremesh.blobs.links import BlockLink

    def link(cids: list[CID]) -> str:
        until = served.mesh.clock() + 60
        return served.may.make(BlockLink(member=served.home.did, stream=ONE, action="get", cids=cids, until=until))

    assert get(served, NAME, "format=raw").status_code == 403
    allowed = get(served, SEALED.descriptor_cid, "format=car", authorization=f"Bearer {link([SEALED.descriptor_cid])}")
    assert dict(opened(allowed.content)[1]) == every(SEALED)
    assert allowed.headers["cache-control"] == "private, max-age=29030400, immutable"
    assert get(served, NAME, "format=raw", authorization=f"Bearer {link([SEALED.descriptor_cid])}").status_code == 403
    wide = codec.encode([NAME])
    root = codec.cid_of_cbor(wide)
    served.holder.put_many(ME, {ONE: {root: wide}})
    with pytest.raises(httpx.RemoteProtocolError):  # a link for a root that is no descriptor is for that root alone
        get(served, root, "format=car", authorization=f"Bearer {link([root])}")
