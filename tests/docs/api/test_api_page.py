"""The page about HTTP, and the OpenAPI document beside it, say what the routes say."""

from __future__ import annotations

import msgspec
import schemathesis

from tools import api_page


def test_page_and_document_are_current() -> None:
    assert api_page.PAGE.read_text("utf-8") == api_page.page(), "say: python -m tools.api_page"
    assert api_page.DOCUMENT.read_bytes() == api_page.document(), "say: python -m tools.api_page"


def test_every_route_is_on_the_page() -> None:
    text = api_page.PAGE.read_text("utf-8")
    for route in api_page.routes():
        assert f"`{route.method} {route.path}`" in text
    assert {"ledger", "custody"} <= set(api_page.rooms())


def test_the_document_is_openapi_as_others_read_it() -> None:
    described = msgspec.json.decode(api_page.document())
    assert described["openapi"] == "3.1.0"
    schema = schemathesis.openapi.from_dict(described)
    read = [operation.ok().label for operation in schema.get_all_operations()]
    assert len(read) == len(api_page.routes())


def test_names_and_addresses_are_used_once() -> None:
    routes = api_page.routes()
    assert len({route.name for route in routes}) == len(routes)
    assert len({(route.method, route.path) for route in routes}) == len(routes)
