"""Messages of the records contract."""

from __future__ import annotations

from caremesh.codec import CID
from caremesh.ledger.transactions import Message
from caremesh.types import Code, Count, Digest, SignedPermit, StreamId


class Register(Message, frozen=True, kw_only=True, tag="records/register"):
    """Put a segment into a stream. Signed by the source, under the subject's write permit."""

    stream: StreamId
    descriptor: CID
    seal: Digest
    """H(seal)."""
    size_class: Count
    permit: SignedPermit | None = None
    """Needed while the stream is not open, or to renew its permit."""


class Supersede(Message, frozen=True, kw_only=True, tag="records/supersede"):
    """A corrected segment takes the place of another, which stays readable only where a consent names it.

    Signed by the source, under the subject's write permit.
    """

    stream: StreamId
    segment: Count
    """The one that is superseded."""
    descriptor: CID
    seal: Digest
    size_class: Count
    permit: SignedPermit | None = None


class Retract(Message, frozen=True, kw_only=True, tag="records/retract"):
    """The segment was entered in error. Signed by the source."""

    stream: StreamId
    segment: Count


class Erase(Message, frozen=True, kw_only=True, tag="records/erase"):
    """Forget a segment for good. Signed by the stream's key, or by the source under a legal duty; costs no quota."""

    stream: StreamId
    segment: Count
    duty: Code | None = None


class Reseal(Message, frozen=True, kw_only=True, tag="records/reseal"):
    """Another descriptor and seal for a segment: after a new epoch, or to drop a record. Signed by the stream's key."""

    stream: StreamId
    segment: Count
    descriptor: CID
    seal: Digest
    size_class: Count


class Attest(Message, frozen=True, kw_only=True, tag="records/attest"):
    """A second party has verified a segment as it is sealed now. Signed by a member that may read it."""

    stream: StreamId
    segment: Count
