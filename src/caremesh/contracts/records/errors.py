"""Why the records contract refuses."""

from caremesh.errors import ErrorCode

NO_PERMIT = ErrorCode("records.01", "The stream is not open and no permit came along.", "Send the write permit.")
DUPLICATE = ErrorCode("records.02", "This descriptor or seal is, or was, in the stream.", "Nothing: it is there.")
UNKNOWN_SEGMENT = ErrorCode("records.03", "The stream has no such segment.", "Check its number.")
ALREADY_ERASED = ErrorCode("records.04", "This segment is erased.", "Nothing.")
WRONG_SIGNER = ErrorCode("records.05", "Only the source, or the stream's own key, may do this.", "Sign as one of them.")
NOT_ALONE = ErrorCode(
    "records.06", "What concerns a stream travels alone: two would be tied together.", "Send one message a transaction."
)
NO_LEGAL_DUTY = ErrorCode("records.07", "A source erases only under a legal duty, by its code.", "Name the duty.")
BAD_SIZE_CLASS = ErrorCode("records.08", "A size class is the exponent of a power of two, at most 63.", "Round up.")
OTHER_STREAM = ErrorCode("records.09", "The permit is for another stream.", "Send the permit of this stream.")
BAD_DESCRIPTOR = ErrorCode("records.10", "A descriptor is named by a dag-cbor CID.", "Name the descriptor.")
NOT_CURRENT = ErrorCode("records.11", "This segment is superseded or retracted already.", "Name the one in its place.")
MAY_NOT_READ = ErrorCode("records.12", "Who attests a segment may read it, and is not its source.", "Ask for access.")
ALREADY_ATTESTED = ErrorCode("records.13", "This member has attested the segment as it is sealed.", "Nothing.")
