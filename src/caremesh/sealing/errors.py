"""What can be wrong with a segment. Places are CIDs, indices and sizes; never a value of a record."""

from caremesh.errors import ErrorCode

NOTHING_TO_SEAL = ErrorCode("sealing.01", "A segment holds at least one record.", "Give records.")
TOO_MUCH = ErrorCode(
    "sealing.02", "These records are too many or too large for one segment.", "Seal them as several segments."
)
BAD_RECORD = ErrorCode(
    "sealing.03", "A record's media type, type, id, version or date is longer than 255 characters.", "Correct it."
)
BAD_ENTROPY = ErrorCode("sealing.04", "The source of entropy did not give 32 bytes.")
BAD_SEGMENT_KEY = ErrorCode("sealing.05", "The segment key does not belong to this descriptor.", "Open its own seal.")
BAD_DESCRIPTOR = ErrorCode(
    "sealing.06", "The descriptor is not one, or was changed.", "Fetch it from another custodian."
)
BAD_BLOCK = ErrorCode(
    "sealing.07",
    "The block does not match its name (CID).",
    "Fetch it from another node; this copy is damaged or forged.",
)
BAD_MANIFEST = ErrorCode("sealing.08", "The segment's manifest was changed, or does not describe its blocks.")
BAD_FRAME = ErrorCode("sealing.09", "A record opens to something that is not a padded, compressed record.")
TOO_LARGE = ErrorCode("sealing.10", "The segment is larger than it claims, or than any segment may be.")
