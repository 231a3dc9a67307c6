"""The codes that policies may name. A code that is not here is never permitted.

The tables are part of the rules of the ledger: they change with the engine's version (``network/upgrade``), since
a policy that names a code outside them is refused at acceptance, and so is a request at decision time.

Sources: purposes are HL7 v3 PurposeOfUse (code system ``http://terminology.hl7.org/CodeSystem/v3-ActReason``) with
its hierarchy, and the GA4GH Data Use Ontology's terms that name no disease; requester roles follow the functional
and structural roles of ISO 21298 as ISO 22600-2 uses them; legal bases are cited by their article or section.
"""

from __future__ import annotations

from typing import Final

ACTIONS: Final = ("compute", "copy", "decide", "read")
"""``read``: open and see; ``copy``: keep in the grantee's own record; ``compute``: only results leave;
``decide``: a decision about the subject by automated means alone."""

PURPOSES: Final[dict[str, tuple[str, ...]]] = {
    # Care
    "TREAT": (),
    "COC": ("TREAT",),
    "CLINTRL": ("TREAT",),
    "ETREAT": ("TREAT",),
    "BTG": ("ETREAT",),
    "ERTREAT": ("ETREAT",),
    "POPHLTH": ("TREAT",),
    # Payment
    "HPAYMT": (),
    "CLMATTCH": ("HPAYMT",),
    "COVAUTH": ("HPAYMT",),
    "COVERAGE": ("HPAYMT",),
    "ELIGDTRM": ("COVERAGE",),
    "ELIGVER": ("COVERAGE",),
    "ENROLLM": ("COVERAGE",),
    "REMITADV": ("HPAYMT",),
    # Running health care
    "HOPERAT": (),
    "CAREMGT": ("HOPERAT",),
    "FRAUD": ("HOPERAT",),
    "HACCRED": ("HOPERAT",),
    "HCOMPL": ("HOPERAT",),
    "HLEGAL": ("HOPERAT",),
    "HOUTCOMS": ("HOPERAT",),
    "HQUALIMP": ("HOPERAT",),
    "PATADMIN": ("HOPERAT",),
    "PATSFTY": ("HOPERAT",),
    "RECORDMGT": ("HOPERAT",),
    "TRAIN": ("HOPERAT",),
    # Marketing
    "HMARKT": (),
    # At the subject's request
    "PATRQT": (),
    "FAMRQT": ("PATRQT",),
    "PWATRNY": ("PATRQT",),
    "SUPNWK": ("PATRQT",),
    # Public health
    "PUBHLTH": (),
    "DISASTER": ("PUBHLTH",),
    "THREAT": ("PUBHLTH",),
    # Research
    "HRESCH": (),
    "BIORCH": ("HRESCH",),
    "CLINTRCH": ("HRESCH",),
    "DSRCH": ("HRESCH",),
    "POARCH": ("HRESCH",),
    "TRANSRCH": ("HRESCH",),
    "DUO:0000042": ("HRESCH",),  # general research use
    "DUO:0000006": ("HRESCH",),  # health, medical or biomedical research
    "DUO:0000011": ("HRESCH",),  # population origins or ancestry research only
}
"""Purpose → the purposes that it is a kind of."""

MEMBER_ROLES: Final = (
    "credential-issuer",
    "custodian",
    "emergency-service",
    "laboratory",
    "payer",
    "provider",
    "regulator",
    "researcher",
)

REQUESTER_ROLES: Final = (
    "administrator",
    "case-manager",
    "claims-reviewer",
    "data-analyst",
    "data-steward",
    "dentist",
    "emergency-responder",
    "inspector",
    "laboratory-scientist",
    "midwife",
    "nurse",
    "pharmacist",
    "physician",
    "privacy-officer",
    "psychologist",
    "quality-officer",
    "researcher",
    "social-worker",
    "student",
    "therapist",
)

LEGAL_BASES: Final = (
    # Regulation (EU) 2016/679
    *(f"GDPR:6.1.{point}" for point in "abcdef"),
    *(f"GDPR:9.2.{point}" for point in "abcdefghij"),
    "GDPR:15",
    "GDPR:16",
    "GDPR:17",
    "GDPR:20",
    *(f"GDPR:49.1.{point}" for point in "abcdef"),
    # 45 CFR Part 164, Subpart E
    "HIPAA:164.502.a.1.i",
    "HIPAA:164.502.a.2.ii",
    *(f"HIPAA:164.506.c.{point}" for point in "1234"),
    "HIPAA:164.508",
    "HIPAA:164.510.b",
    *(f"HIPAA:164.512.{point}" for point in "abcdefijl"),
    "HIPAA:164.524",
    "HIPAA:164.526",
    "HIPAA:164.528",
    # Regulation (EU) 2025/327
    "EHDS:3",
    "EHDS:6",
    "EHDS:7",
    "EHDS:11.5",
    "EHDS:68",
)

APPROVALS: Final = (
    "business-associate",
    "binding-corporate-rules",
    "data-permit",
    "ethics-board",
    "irb-waiver",
    "safeguards-89",
    "secure-environment",
    "standard-clauses",
)
"""What competent bodies have approved, as far as the ledger knows it: a contract under 45 CFR 164.504(e), binding
corporate rules (GDPR Art. 47), a data permit (EHDS Art. 68), an ethics vote, an IRB or privacy board waiver
(45 CFR 164.512(i)(1)(i)), safeguards for research (GDPR Art. 89(1)), a secure processing environment (EHDS Art. 73),
standard data protection clauses (GDPR Art. 46(2)(c) and (d))."""
