"""One member as a recipient: keeps shares, opens visits. Plaintext lives in memory, in the visit, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from caremesh import codec
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.vault import Vault
from caremesh.codec import CID
from caremesh.contracts.access import queries as access
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members import queries as members
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.kinds import may_be_read
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.state import Segment
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.gateway import errors
from caremesh.gateway.ask import Asked, Ledger, Requester, ask
from caremesh.gateway.gather import Fault, ReleaseCustodian, Wanted, gather
from caremesh.ledger.transactions import Signs
from caremesh.sealing import channel
from caremesh.sealing.channel import Share, SharedStream
from caremesh.sealing.segment import OpenedRecord, open_segment
from caremesh.types import Code, Did, Seconds


class Opened(NamedTuple):
    """What a receipt opened: records, who released, and whatever was found wrong on the way."""

    records: list[OpenedRecord]
    released_by: list[Did]
    faults: list[Fault]
    damaged: list[CareMeshError]


class Gateway:
    """One member in the role of recipient."""

    def __init__(
        self,
        *,
        chain: str,
        member: Requester,
        node_key: Signs,
        hpke_private: bytes,
        receiving: ReadingKey,
        vault: Vault,
        stores: Sequence[BlockStore],
        custodians: Mapping[Did, ReleaseCustodian],
        ledger: Ledger,
        clock: Callable[[], Seconds],
    ) -> None:
        """``member``: its DID and that DID's key; ``stores``: where to look for blocks, in this order."""
        self._chain = chain
        self._member = member
        self._node_key = node_key
        self._hpke_private = hpke_private
        self._receiving = receiving
        self._vault = vault
        self._stores = stores
        self._custodians = custodians
        self._ledger = ledger
        self._clock = clock

    def receive_share(self, sealed: bytes) -> Share:
        """Keep what a patient has shared. Raises Tampered custody.NN."""
        share = channel.hear_share(self._chain, self._member.did, self._hpke_private, sealed)
        self._vault.put({f"share/{share.channel_key.hex()}/{share.id.hex()}": codec.encode(share)})
        return share

    def shares(self) -> list[Share]:
        """All that was ever shared with this member; whether it still holds is for the ledger to say."""
        stored = [self._vault.get(name) for name in self._vault.names("share/")]
        return [codec.decode_as(data, Share) for data in stored if data is not None]

    def shared(self, category: Code) -> SharedStream:
        """The newest shared stream of a category whose consent is active; of none, the newest. Raises Refused."""
        found = [item for share in self.shares() for item in share.streams if item.category == category]
        reader, now = self._ledger.reader(), self._clock()
        known = [(item, consents.consent(reader, item.consent)) for item in found]
        active = [item for item, consent in known if consent is not None and consents.is_active(consent, now)]
        if not found:
            raise Refused(errors.NO_SHARE, category)
        return active[-1] if active else found[-1]

    def ask(self, asked: Asked, requester: Requester | None) -> Receipt:
        """A receipt from the ledger. Raises Refused access.NN, gateway.05, gateway.07."""
        self._check_kind(asked, requester)
        return ask(self._chain, self._member, requester, asked, self._ledger, self._clock)

    def open(self, receipt: Receipt, requester: Requester | None) -> Opened:
        """All records that a receipt is for. Raises Unavailable gateway.02, Tampered, Refused gateway.01."""
        reader = self._ledger.reader()
        consent = consents.consent(reader, receipt.consent)
        stream = streams.stream(reader, receipt.stream)
        if consent is None or stream is None:
            raise Refused(errors.NO_SHARE)
        covered: list[Segment] = []
        for index, segment in enumerate(records.segments(reader, stream.id)):
            known = segment.status != "erased" and segment.epoch == consent.epoch
            asked = access.covers(receipt, index, segment.registered)
            if known and asked and consents.covers(consent, index, segment):
                covered.append(segment)
        if not covered:
            return Opened([], [], [], [])
        key = self._node_key if requester is None else requester.key
        wanted = Wanted(receipt, consent, stream, covered)
        gathered = gather(wanted, self._receiving, key, self._custodians, reader, self._clock)
        damaged: list[CareMeshError] = []
        opened: list[OpenedRecord] = []
        for secret, segment in zip(gathered.keys, covered, strict=True):
            if segment.descriptor is not None:
                descriptor = self._fetch(segment.descriptor, damaged)
                opened += open_segment(secret, descriptor, lambda cid: self._fetch(cid, damaged))
        return Opened(opened, gathered.released_by, gathered.faults, damaged)

    def _check_kind(self, asked: Asked, requester: Requester | None) -> None:
        """The rules about kinds of records, which the ledger cannot know. Raises Refused gateway.07, with policies."""
        reader = self._ledger.reader()
        consent = consents.consent(reader, asked.consent)
        kinds = {item.category for share in self.shares() for item in share.streams if item.consent == asked.consent}
        me = members.member(reader, self._member.did)
        source = None if consent is None else members.member(reader, consent.source)
        if consent is None or me is None or source is None:
            return  # the ledger refuses it
        for kind in sorted(kinds):
            decision = may_be_read(
                category=kind,
                action=asked.action,
                purpose=asked.purpose,
                roles=me.roles,
                approvals=policies.approvals(reader, me.did, self._clock()),
                places=(source.jurisdiction, me.jurisdiction),
                explicit=consent.explicit,
                originator=source.did == me.did,
                licensed=requester is not None,
            )
            if not decision.permit:
                raise Refused(errors.KIND_NOT_ALLOWED, f"{kind}: {', '.join(decision.policies)}")

    def _fetch(self, cid: CID, damaged: list[CareMeshError]) -> bytes:
        """A block from the first store that has it undamaged; what was damaged is noted. Raises Tampered gateway.03."""
        last: CareMeshError | None = None
        for store in self._stores:
            try:
                return store.get(cid)
            except CareMeshError as error:
                last = error
                if isinstance(error, Tampered):
                    damaged.append(error)
        raise Tampered(errors.NO_BLOCK, cid.encode()) from last
