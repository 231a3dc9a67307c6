"""What anyone may ask of the network contract."""

from __future__ import annotations

from caremesh.contracts.network.messages import Authorities, Params, Validator
from caremesh.contracts.network.state import (
    AUTHORITIES,
    BRAKE,
    CONVERSION,
    PARAMS,
    RULES,
    VALIDATORS,
    BrakeState,
    Conversion,
    Rules,
)
from caremesh.ledger.state import Reader
from caremesh.types import Seconds


def params(reader: Reader) -> Params:
    """The parameters in force; the defaults before genesis."""
    return PARAMS.get(reader) or Params()


def params_key() -> bytes:
    """The state key of the parameters, for proofs."""
    return PARAMS.key()


def authorities(reader: Reader) -> Authorities | None:
    """Who decides."""
    return AUTHORITIES.get(reader)


def brake(reader: Reader, at: Seconds) -> BrakeState | None:
    """The brake, if it is on at a time. Any brake stops receipts and releases."""
    found = BRAKE.get(reader)
    return found if found is not None and at < found.until else None


def validators(reader: Reader) -> list[Validator]:
    """Those who order blocks, in ascending order of keys."""
    found = VALIDATORS.get(reader)
    return [] if found is None else found.validators


def rules(reader: Reader) -> Rules:
    """The version of the rules that counts; the first one until an upgrade."""
    return RULES.get(reader) or Rules(version=1)


def conversion(reader: Reader) -> Conversion | None:
    """When one key orders no more blocks, if that was decided."""
    return CONVERSION.get(reader)


def conversion_key() -> bytes:
    """The state key of that decision, for proofs."""
    return CONVERSION.key()
