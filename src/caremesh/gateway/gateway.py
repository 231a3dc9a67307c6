"""One member as a recipient: keeps shares, opens visits. Plaintext lives in memory, in the visit, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from caremesh import codec
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.vault import Vault
from caremesh.contracts.access.state import Receipt
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.kinds import may_be_read
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import Refused
from caremesh.gateway import disputes, errors
from caremesh.gateway.ask import Asked, Asker, Ledger, Requester, ask
from caremesh.gateway.disputes import Question
from caremesh.gateway.gather import PATIENCE_S, ReleaseCustodian
from caremesh.gateway.opening import Means, Opened, open_receipt
from caremesh.gateway.session import sign_in
from caremesh.gateway.visit import Ended, Purpose, Visit
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Signs
from caremesh.sealing import channel
from caremesh.sealing.channel import Share, SharedStream
from caremesh.types import Code, Did, Height, Multikey, ReceiptId, Seconds


class Patient(NamedTuple):
    """Someone who shares with this member: ``key`` is their pseudonym here, ``subject`` who they say they are."""

    key: Multikey
    subject: str
    shares: list[Share]


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
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``member``: its DID and that DID's key; ``stores``: where to look for blocks, in this order.

        ``patience_s``: how long no custodian may answer before one more is asked.
        """
        self._hpke_private = hpke_private
        self._vault = vault
        self._means = Means(Asker(chain, member, ledger, clock), node_key, receiving, stores, custodians, patience_s)
        self._visits: set[Visit] = set()

    def receive_share(self, sealed: bytes) -> Share:
        """Keep what a patient has shared. Raises Tampered custody.NN."""
        share = channel.hear_share(self._means.asker.chain, self._means.asker.member.did, self._hpke_private, sealed)
        self._vault.put({f"share/{share.channel_key.hex()}/{share.id.hex()}": codec.encode(share)})
        return share

    def shares(self, patient: Multikey | None = None) -> list[Share]:
        """All that was ever shared with this member, by a patient or by all, in the order in which it was granted.

        Whether it still holds is for the ledger to say. ``patient``: the channel key of their shares.
        """
        reader = self._means.asker.ledger.reader()
        stored = [self._vault.get(name) for name in self._vault.names(f"share/{patient.hex() if patient else ''}")]
        known = [codec.decode_as(data, Share) for data in stored if data is not None]
        return sorted(known, key=lambda share: _granted(reader, share))

    def shared(self, category: Code, share: bytes | None = None) -> SharedStream:
        """The newest shared stream of a category whose consent is active; of none, the newest.

        ``share``: which share is meant, when several patients share the category. Raises Refused gateway.01,
        gateway.08.
        """
        having = [
            (each, item)
            for each in self.shares()
            if share in (None, each.id)
            for item in each.streams
            if item.category == category
        ]
        if not having:
            raise Refused(errors.NO_SHARE)
        active = {item.consent for item, _ in self._active([each for each, _ in having])}
        meant = [(each, item) for each, item in having if item.consent in active] or having
        if len({each.channel_key for each, _ in meant}) > 1:
            raise Refused(errors.SEVERAL_PATIENTS, ", ".join(dict.fromkeys(each.id.hex() for each, _ in meant)))
        return meant[-1][1]

    def ask(self, asked: Asked, requester: Requester | None) -> Receipt:
        """A receipt from the ledger. Raises Refused access.NN, gateway.05, gateway.07."""
        self._check_kind(asked, requester)
        return ask(self._means.asker, requester, asked)

    def open(self, receipt: Receipt, requester: Requester | None) -> Opened:
        """All records that a receipt is for. Raises Unavailable gateway.02, Tampered, Refused gateway.01."""
        return open_receipt(self._means, receipt, requester)

    def patients(self) -> list[Patient]:
        """Those who share with this member now, in the order in which they first did."""
        found: dict[Multikey, list[Share]] = {}
        for share in self.shares():
            found.setdefault(share.channel_key, []).append(share)
        return [Patient(key, shares[-1].subject, shares) for key, shares in found.items() if self._active(shares)]

    def visit(
        self, patient: Multikey, why: Purpose, requester: Requester | None, categories: Sequence[Code] = ()
    ) -> Visit:
        """Begin a visit: receipts for all that this patient shares for such a purpose, or for some categories of it.

        ``patient``: the channel key of their shares. Raises Refused gateway.01 when there is nothing, whatever the
        reason; gateway.07 when the law lets none of it be read; otherwise what ``Visit`` raises.
        """
        wanted = [
            item
            for item, consent in self._active(self.shares(patient))
            if consents.allows(consent, why.action, why.purpose) and (not categories or item.category in categories)
        ]
        if not wanted:
            raise Refused(errors.NO_SHARE)
        lawful, refused = [], []
        for item in wanted:
            try:
                self._check_kind(Asked(item.consent, why.action, why.purpose, why.legal_basis), requester)
                lawful.append(item)
            except Refused as error:
                refused.append(Ended(item.category, error))
        if not lawful:
            raise refused[0].error
        visit = Visit(self._means, patient, requester, why, lawful, refused, self._visits.discard)
        self._visits.add(visit)
        return visit

    def follow(self) -> None:
        """After a block: every open visit lets go of what the ledger has ended."""
        for visit in list(self._visits):
            visit.follow()

    def hear_dispute(self, receipt: ReceiptId, sealed: bytes) -> Question:
        """What a patient asks about an access. See ``disputes.hear``."""
        return disputes.hear(self._means.asker, self._vault, self._hpke_private, self.shares(), receipt, sealed)

    def answer_dispute(self, receipt: ReceiptId, text: str) -> bytes:
        """Answer it; the words, sealed for the patient. See ``disputes.answer``."""
        return disputes.answer(self._means.asker, self._means.node_key, self.shares(), receipt, text)

    def sign_in(self, person: Requester) -> Requester:
        """A practitioner under a key for the next twelve hours. See ``session.sign_in``."""
        asker = self._means.asker
        return sign_in(asker.chain, person, asker.member.did, asker.clock())

    def _active(self, shares: Sequence[Share]) -> list[tuple[SharedStream, Consent]]:
        reader, now = self._means.asker.ledger.reader(), self._means.asker.clock()
        known = [(item, consents.consent(reader, item.consent)) for share in shares for item in share.streams]
        return [(item, consent) for item, consent in known if consent and consents.is_active(consent, now)]

    def _check_kind(self, asked: Asked, requester: Requester | None) -> None:
        """The rules about kinds of records, which the ledger cannot know. Raises Refused gateway.07, with policies."""
        asker = self._means.asker
        reader = asker.ledger.reader()
        consent = consents.consent(reader, asked.consent)
        kinds = {item.category for share in self.shares() for item in share.streams if item.consent == asked.consent}
        me = members.member(reader, asker.member.did)
        source = None if consent is None else members.member(reader, consent.source)
        if consent is None or me is None or source is None:
            return  # the ledger refuses it
        for kind in sorted(kinds):
            decision = may_be_read(
                category=kind,
                action=asked.action,
                purpose=asked.purpose,
                roles=me.roles,
                approvals=policies.approvals(reader, me.did, asker.clock()),
                places=(source.jurisdiction, me.jurisdiction),
                explicit=consent.explicit,
                originator=source.did == me.did,
                licensed=requester is not None,
            )
            if not decision.permit:
                raise Refused(errors.KIND_NOT_ALLOWED, f"{kind}: {', '.join(decision.policies)}")


def _granted(reader: Reader, share: Share) -> Height:
    """The block of the last of its consents; 0 while this member's copy has none of them."""
    found = [consents.consent(reader, item.consent) for item in share.streams]
    return max((consent.granted for consent in found if consent is not None), default=0)
