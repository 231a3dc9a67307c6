"""Where a stream stands: on the ledger when it is open, else as the wallet's last write permit says."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import Permit
from caremesh.errors import Refused
from caremesh.ledger.state import Reader
from caremesh.types import Count, Did, ReencryptionKey, SignedPermit
from caremesh.wallet.errors import FOREIGN_KEYS, NOT_OPEN
from caremesh.wallet.state import Located, Stream


class Standing(Struct, frozen=True, kw_only=True):
    """What a grant has to fit. ``permit``: to be sent along while the stream is not open."""

    rotation: Count
    epoch: Count
    reading_key: ReencryptionKey
    custodians: list[Did]
    threshold: Count
    permit: SignedPermit | None


def standing(reader: Reader, located: Located) -> Standing:
    """Raises Refused wallet.21 (never enrolled), wallet.25 (the ledger's keys are not this wallet's)."""
    opened = streams.stream(reader, located.stream.id)
    if opened is not None:
        mine = located.keys.signing(opened.rotation).public, located.keys.reading(opened.epoch).public
        if (opened.key, opened.reading_key) != mine:
            raise Refused(FOREIGN_KEYS, located.stream.id.hex())
        return Standing(
            rotation=opened.rotation,
            epoch=opened.epoch,
            reading_key=opened.reading_key,
            custodians=opened.custodians,
            threshold=opened.threshold,
            permit=None,
        )
    if not located.stream.permit:
        raise Refused(NOT_OPEN, located.stream.id.hex())
    signed = codec.decode_as(located.stream.permit, SignedPermit)
    permit = codec.decode_as(signed.permit, Permit)
    return Standing(
        rotation=permit.rotation,
        epoch=permit.epoch,
        reading_key=permit.reading_key,
        custodians=permit.custodians,
        threshold=permit.threshold,
        permit=signed,
    )


def caught_up(reader: Reader, stream: Stream) -> Stream:
    """The stream with the ledger's rotation and epoch, and a serial that is no lower than the ledger's."""
    opened = streams.stream(reader, stream.id)
    if opened is None:
        return stream
    return replace(stream, rotation=opened.rotation, epoch=opened.epoch, serial=max(stream.serial, opened.serial))
