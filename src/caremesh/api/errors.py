"""Why a request is turned away before, or without, a look at what it asks."""

from caremesh.errors import ErrorCode

NOT_SIGNED = ErrorCode("api.01", "This request is not signed, or not so that it can be checked.", "Sign it (RFC 9421).")
BAD_SIGNATURE = ErrorCode("api.02", "The signature is not that of this request under this key.", "Sign it anew.")
UNKNOWN_KEY = ErrorCode("api.03", "The ledger has no active key under this name.", "Use the current key.")
SUSPENDED = ErrorCode("api.04", "This caller is suspended or has left.", "Ask the network's authorities.")
NOT_ALLOWED = ErrorCode("api.05", "This kind of caller may not ask this.", "See who may at /openapi.json.")
WRONG_TIME = ErrorCode(
    "api.06", "The request is too old, dated in the future, or valid for too long.", "Set the clock right; sign anew."
)
REPLAYED = ErrorCode("api.07", "This very request has been here before.", "Sign a new one, with a new nonce.")
WRONG_DIGEST = ErrorCode("api.08", "The body is not the one that was signed.", "Send it again.")
NOT_FOR_US = ErrorCode("api.09", "This request was signed for another member.", "Sign it for this one.")
NO_CERTIFICATE = ErrorCode(
    "api.10", "Only a node may ask this: over TLS, with its own certificate, signing as itself.", "Ask from your node."
)
TOO_LARGE = ErrorCode("api.11", "The request is larger than this address takes.", "Send less at once.")
TOO_SLOW = ErrorCode("api.12", "The request did not come in whole in time.", "Send it again, faster.")
TOO_MANY = ErrorCode("api.13", "Too many requests of this caller in a short time.", "Wait as long as Retry-After says.")
NO_SUCH_PATH = ErrorCode("api.14", "There is nothing at this address.", "See what there is at /openapi.json.")
WRONG_METHOD = ErrorCode("api.15", "This address does not take this method.", "See /openapi.json.")
WRONG_MEDIA = ErrorCode("api.16", "The body is of another media type than this address takes.", "See /openapi.json.")
BAD_QUERY = ErrorCode("api.17", "A part of the address or of the body is not what it must be.", "See /openapi.json.")
NOT_THERE = ErrorCode("api.18", "There is no such object here.", "Check its name.")
FAILED = ErrorCode("api.19", "This node failed to answer; nothing was acknowledged.", "Ask another node, or later.")
KEY_REUSED = ErrorCode(
    "api.20", "This idempotency key was used for another request.", "Use a new key for each request."
)
IN_PROGRESS = ErrorCode("api.21", "The same request is being answered at this moment.", "Ask again a little later.")
BUSY = ErrorCode("api.22", "This node answers as many requests as it can.", "Ask another node, or later.")
NOT_HTTP = ErrorCode("api.23", "This is not a request of HTTP/1.1 as this node reads it.", "Send it anew.")
