"""Errors as RFC 9457 problem details: what the caller did wrong is 4xx, what this node failed to do is 5xx."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from caremesh.client import wire
from caremesh.errors import (
    BadInput,
    CareMeshError,
    Locked,
    Refused,
    StorageFailed,
    Tampered,
    Unavailable,
    WrongLedger,
)

BY_KIND: Final[dict[type[CareMeshError], int]] = {
    BadInput: 400,
    Refused: 403,
    WrongLedger: 409,
    Tampered: 422,
    Locked: 423,
    Unavailable: 503,
    StorageFailed: 507,
}
BY_CODE: Final = {
    "api.01": 401,
    "api.02": 401,
    "api.03": 401,
    "api.06": 401,
    "api.07": 401,
    "api.08": 401,
    "api.09": 401,
    "api.11": 413,
    "api.12": 408,
    "api.13": 429,
    "api.14": 404,
    "api.15": 405,
    "api.16": 415,
    "api.18": 404,
    "api.19": 500,
    "api.20": 422,
    "api.21": 409,
    "api.23": 400,
    "blobs.02": 404,
    "blobs.03": 413,
    "blobs.06": 409,
    "blobs.10": 401,
    "blobs.11": 401,
    "blobs.13": 406,
    "ledger.11": 404,
    "ledger.32": 500,
}
"""Where the class does not say it all. ``ledger.11``: not kept. ``ledger.32``: this node's own state is damaged."""
RETRY_S: Final = {"api.13": 1, "api.21": 1, "api.22": 1}
SIGNATURE: Final = (
    'caremesh=("@method" "@target-uri" "content-digest" "caremesh-to");created;expires;nonce;keyid;tag="caremesh/v1"'
)
"""RFC 9421, section 5.1: what a signature must cover."""


def status_of(error: CareMeshError) -> int:
    """The HTTP status of an error."""
    return BY_CODE.get(error.code) or next(BY_KIND[kind] for kind in type(error).__mro__ if kind in BY_KIND)


def response_of(error: CareMeshError, *, retry_s: int = 0, close: bool = False) -> Response:
    """The problem that an error is. ``close``: what is left of the request is not read any more."""
    status = status_of(error)
    headers = {"cache-control": "no-store"}
    wait = retry_s or RETRY_S.get(error.code, 1 if status == 503 else 0)
    if wait:
        headers["retry-after"] = str(wait)
    if status == 401:
        headers["accept-signature"] = SIGNATURE
        headers["www-authenticate"] = "Signature"
    if close:
        headers["connection"] = "close"
    return Response(wire.to_json(wire.problem_of(error, status)), status, headers, wire.PROBLEM)
