"""The kinds of data: known to wallet, source and grantee, never to the ledger.

The open ones follow the sections of the International Patient Summary and US Core; the sensitive ones stand apart.
"""

from __future__ import annotations

from typing import Final

OPEN: Final = (
    "allergies",
    "conditions",
    "medications",
    "immunizations",
    "laboratory",
    "vital-signs",
    "procedures",
    "imaging",
    "encounters",
    "documents",
    "care-plans",
    "devices-wearables",
    "demographics",
    "claims",
)
SENSITIVE: Final = (
    "unclassified",
    "reproductive-health",
    "mental-health",
    "genetics",
    "substance-use",
    "violence-abuse",
    "hiv",
)
"""From less to more strict: where two apply, the later one wins. ``unclassified`` is what could not be placed."""
ALL: Final = OPEN + SENSITIVE
