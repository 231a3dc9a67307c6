"""What a holder of blocks may say besides what every store says (``interface.py``)."""

from caremesh.errors import ErrorCode

OVER_QUOTA = ErrorCode(
    "blobs.05",
    "This member may not keep more blocks here; nothing was stored.",
    "Ask the operator of the node for more room, or let go of what is not needed.",
)
NAMED = ErrorCode(
    "blobs.06", "The ledger names this block, so that it stays.", "Erase the segment, if that is what is meant."
)
NOT_YOURS = ErrorCode("blobs.07", "Another member brought this block here.", "Let that member give it up.")
TOO_FEW_COPIES = ErrorCode(
    "blobs.08",
    "Too few members have stored the blocks, so that nothing was registered yet.",
    "Nothing is lost: it is finished when more members can be reached.",
)
NOWHERE = ErrorCode(
    "blobs.09", "No member that can be reached has this block whole.", "Look at those named here, or try later."
)
BAD_LINK = ErrorCode("blobs.10", "This link is not valid, or was not made by this member.", "Ask for a new one.")
LINK_EXPIRED = ErrorCode("blobs.11", "This link has expired.", "Ask for a new one.")
NOT_IN_LINK = ErrorCode("blobs.12", "The link is for other blocks, or for something else.", "Ask for one for these.")
NO_FORMAT = ErrorCode(
    "blobs.13", "This gateway gives raw blocks and CAR files.", "Ask for format=raw or format=car, version 1."
)
