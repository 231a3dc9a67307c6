"""What anyone may ask of the identity contract."""

from __future__ import annotations

from typing import Any

from caremesh.contracts.identity.state import GUARDIANS, IDENTITIES, OWNERS, RECOVERIES, Guardians, Identity, Recovery
from caremesh.crypto import signatures
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import Bytes16, Did, Digest, Multikey


def identity(reader: Reader, did: Did) -> Identity | None:
    """A DID with its current key, or None."""
    return IDENTITIES.get(reader, did.encode())


def is_current_key(reader: Reader, did: Did, key: Multikey) -> bool:
    """Whether this key acts for this DID now."""
    found = identity(reader, did)
    return found is not None and found.active and found.key == key


def owner(reader: Reader, key: Multikey) -> Did | None:
    """The DID whose key this is, or was; None when it never was one."""
    return OWNERS.get(reader, key)


def guardians(reader: Reader, did: Did) -> Guardians | None:
    """Who may recover a DID, as commitments, or None."""
    return GUARDIANS.get(reader, did.encode())


def recovery(reader: Reader, did: Did) -> Recovery | None:
    """The recovery that waits, or None."""
    return RECOVERIES.get(reader, did.encode())


def guardian_commitment(guardian: Did, salt: Bytes16) -> Digest:
    """What the ledger holds of a guardian: it tells nobody who that is."""
    return tagged_hash("caremesh/v1/guardian", guardian.encode(), salt)


def did_document(reader: Reader, did: Did) -> dict[str, Any] | None:
    """The DID document (W3C DID Core 1.0, section 5; Multikey verification method), or None.

    A deactivated DID resolves to a document without methods.
    """
    found = identity(reader, did)
    if found is None:
        return None
    document: dict[str, Any] = {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
    }
    if found.active:
        method = f"{did}#key-{found.rotation}"
        document["verificationMethod"] = [
            {
                "id": method,
                "type": "Multikey",
                "controller": did,
                "publicKeyMultibase": signatures.multikey_text(found.key),
            }
        ]
        document["authentication"] = document["assertionMethod"] = [method]
    return document


def identity_key(did: Did) -> bytes:
    """The state key of a DID, for proofs."""
    return IDENTITIES.key(did.encode())
