"""What the regulations may see of a question, and nothing else.

Two questions exist. *May this permission be given?* is asked once for every pair of action and purpose of a
consent (``GrantRequest``). *May this access happen now?* is asked by every receipt (``AccessRequest``).

Neither holds a person, a stream, a category, a diagnosis or a date of service: the fields below are the whole
vocabulary of the policy sets on the ledger. No field has a default, so nobody can forget to state one.

``height`` picks the sets in force and is not shown to the policies; everything else is.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from caremesh.types import Code, CountryCode, Height, Seconds

__all__ = ["AccessRequest", "Decision", "GrantRequest", "PolicyRequest"]


class GrantRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="ask", tag="grant"):
    """May the subject's permission for this action and this purpose be given to this member?"""

    height: Height
    """The block that asks: it decides which sets are in force."""
    at: Seconds
    """Time of that block."""
    action: Code
    """One of ``vocabulary.ACTIONS``: ``read``, ``copy``, ``compute``, ``decide``."""
    purpose: Code
    """One of ``vocabulary.PURPOSES`` (HL7 v3 PurposeOfUse, or a GA4GH DUO code that names no disease)."""
    member_roles: list[Code]
    """Roles of the grantee (``vocabulary.MEMBER_ROLES``)."""
    source_jurisdiction: CountryCode
    grantee_jurisdiction: CountryCode
    explicit: bool
    """The subject said yes in an express statement (GDPR Art. 9(2)(a); a HIPAA authorization), not by mere use."""
    entire: bool
    """The scope is everything in the stream (existing or future), not a list of segments."""
    approvals: list[Code]
    """What competent bodies have approved for this grantee (``vocabulary.APPROVALS``); empty unless the ledger
    knows of one."""
    starts: Seconds
    ends: Seconds
    """The period of the permission, ``from`` and ``until`` of the consent."""


class AccessRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="ask", tag="access"
):
    """May this access happen now? Consent, scope, period, appointment and suspension are the contracts' own checks;
    this asks what the law says."""

    height: Height
    at: Seconds
    action: Code
    purpose: Code
    legal_basis: list[Code]
    """Why processing is lawful, one code per provision relied on, for every regulation that applies
    (``vocabulary.LEGAL_BASES``), for example ``["GDPR:6.1.e", "GDPR:9.2.h"]`` or ``["HIPAA:164.506.c.1"]``."""
    member_roles: list[Code]
    requester_roles: list[Code]
    """Functional roles in which the requester was appointed (``vocabulary.REQUESTER_ROLES``); for an asserted
    requester those that the member states, or none."""
    source_jurisdiction: CountryCode
    grantee_jurisdiction: CountryCode
    explicit: bool
    """The consent relied on is explicit; false for break-glass, which relies on none."""
    asserted: bool
    """The member alone vouches for who asks (no practitioner's signature)."""
    licensed: bool
    """The requester is appointed with a licence that is valid at ``at``; false when asserted."""
    break_glass: bool
    """Emergency access without the subject's permission."""
    entire: bool
    """Everything in scope is asked for, not listed segments."""
    restricted: bool
    """The subject has had processing restricted (GDPR Art. 18; HIPAA §164.522(a)); false where nothing says so."""
    objected: bool
    """The subject has objected to processing (GDPR Art. 21); false where nothing says so."""
    approvals: list[Code]
    starts: Seconds
    ends: Seconds
    """The consent's period; for break-glass the life of the receipt."""


PolicyRequest: TypeAlias = GrantRequest | AccessRequest


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every set in force permits, and which policies decided.

    ``policies`` is sorted and holds ``<set>/<policy id>``: on a permit the policies that allow, of every set;
    on a denial the prohibitions that matched, and ``<set>/no-permit`` for a set in which nothing allows.
    Where no set is in force the answer is a denial that cites ``policy/no-set``.
    """

    permit: bool
    policies: list[str]


# The question is answered by ``queries.decide(reader: Reader, request: PolicyRequest) -> Decision``.
