"""The logs of a wallet's streams: who keeps one, and what each hands out, under its signature."""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.errors import BadInput, CareMeshError, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import LogAnswer, Signed
from caremesh.sealing.release_log import HeadProof, LogEntry, LogHead
from caremesh.types import Did, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.asking import LogKeepers, ask
from caremesh.wallet.errors import OTHER_ANSWER
from caremesh.wallet.state import Located, WalletState


class StreamLog(Struct, frozen=True, kw_only=True):
    """What one custodian hands out of its log: all entries of one stream, and the head that it stands by.

    ``anchor``: the stream's head under the root that the ledger has. ``signed``: all that, by the custodian.
    """

    custodian: Did
    stream: StreamId
    entries: list[LogEntry]
    head: LogHead
    anchor: HeadProof | None = None
    signed: Signed | None = None


def own_log(reader: Reader, located: Located, custodian: Did, keepers: LogKeepers, now: Seconds) -> StreamLog:
    """One custodian's log of one stream, under its signature. Raises what ``asking.ask`` raises."""
    domains = custody.LOG_REQUEST, custody.LOG_ANSWER
    said, signed = ask(reader, located, custodian, domains, LogAnswer, keepers.own_log, now)
    return _log(said, signed)


def keepers(reader: Reader, stream: StreamId) -> list[Did]:
    """Who may have released something of a stream: its custodians of now, and those of its consents."""
    known = streams.stream(reader, stream)
    now = [] if known is None else known.custodians
    earlier = {entry.custodian for consent in consents.of_stream(reader, stream) for entry in consent.fragments}
    return [*now, *sorted(earlier - set(now))]


def own_logs(state: WalletState, reader: Reader, to: LogKeepers, now: Seconds) -> list[StreamLog]:
    """The logs of all streams from all their custodians; those that are not to be had are left out."""
    found = []
    for located in states.streams(state):
        for custodian in keepers(reader, located.stream.id):
            with suppress(CareMeshError):
                found.append(own_log(reader, located, custodian, to, now))
    return found


def read_log(reader: Reader, signed: Signed) -> StreamLog:
    """A log that was handed out before, from what its custodian signed. Raises Tampered custody.01, custody.02,
    wallet.30."""
    try:
        claimed = codec.decode_as(signed.payload, LogAnswer).custodian
    except BadInput as error:
        raise Tampered(custody.NOT_SIGNED, "log") from error
    keeper = members.member(reader, claimed)
    if keeper is None:
        raise Tampered(OTHER_ANSWER, claimed)
    return _log(custody.open_signed(custody.LOG_ANSWER, signed, LogAnswer, keeper.keys.node, claimed), signed)


def _log(said: LogAnswer, signed: Signed) -> StreamLog:
    return StreamLog(
        custodian=said.custodian,
        stream=said.stream,
        entries=said.entries,
        head=said.head,
        anchor=said.anchor,
        signed=signed,
    )
