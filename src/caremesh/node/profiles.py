"""The packages of FHIR profiles that a node has installed: files ``*.tgz`` in a folder. None is ever fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from caremesh.errors import BadInput
from caremesh.fhir.entries import Resource
from caremesh.fhir.validation import Outcome, Profiles, read_packages, validate
from caremesh.node import errors
from caremesh.source.survey import Check, valid_r4
from caremesh.types import Count

FOLDER: Final = "profiles"
"""Within a node's folder."""
MAX_PACKAGE_BYTES: Final = 128 * 2**20


class Installed(NamedTuple):
    """``usable``: profiles that resources can be checked against; ``bare``: those without a snapshot, which cannot."""

    profiles: Profiles
    packages: Count
    usable: Count
    bare: Count


def installed(folder: Path) -> Installed:
    """What the packages of a folder define; nothing when there is no such folder.

    Raises BadInput fhir.45 with the file that is no package, node.11 for one that cannot be read.
    """
    names = sorted(path for path in folder.glob("*.tgz") if path.is_file())
    definitions = read_packages([])
    for path in names:
        try:
            if path.stat().st_size > MAX_PACKAGE_BYTES:
                raise BadInput(errors.PACKAGE_NOT_READ, path.name)
            found = read_packages([path.read_bytes()])
        except OSError as error:
            raise BadInput(errors.PACKAGE_NOT_READ, path.name) from error
        except BadInput as error:
            raise BadInput(error.error, path.name) from error
        definitions.take(found)
    bare = sum("snapshot" not in one for one in definitions.structures.values())
    return Installed(Profiles(definitions), len(names), len(definitions.structures) - bare, bare)


def checking(folder: Path) -> Check:
    """The validation that an import makes, with the profiles of a folder. Raises as ``installed``."""
    found = installed(folder)
    if not found.packages:
        return valid_r4

    def check(resource: Resource) -> Outcome:
        return validate(resource.json, compact=resource.compact, profiles=found.profiles)

    return check
