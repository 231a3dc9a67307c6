"""Packages of profiles, as FHIR publishes them (npm format): which StructureDefinitions and value sets they hold.

No package is ever fetched, and no file is opened here: whoever runs a node reads its folder and hands over the bytes.
https://hl7.org/fhir/packages.html
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from caremesh.errors import BadInput
from caremesh.fhir import errors

MAX_UNPACKED: Final = 512 * 2**20
MAX_FILE: Final = 32 * 2**20
KINDS: Final = frozenset({"StructureDefinition", "ValueSet", "CodeSystem"})


class Definitions:
    """What a set of packages defines, by canonical url."""

    def __init__(self) -> None:
        self.structures: dict[str, dict[str, Any]] = {}
        self.value_sets: dict[str, dict[str, Any]] = {}
        self.code_systems: dict[str, dict[str, Any]] = {}

    def take(self, other: Definitions) -> None:
        """Everything that another has, which counts where both have the same url."""
        self.structures |= other.structures
        self.value_sets |= other.value_sets
        self.code_systems |= other.code_systems

    def add(self, resource: dict[str, Any]) -> None:
        """One definition; the later of two with the same url counts."""
        url = resource.get("url")
        held = {
            "StructureDefinition": self.structures,
            "ValueSet": self.value_sets,
            "CodeSystem": self.code_systems,
        }.get(resource.get("resourceType", ""))
        if isinstance(url, str) and held is not None:
            held[url] = resource


def read_packages(packages: Iterable[bytes]) -> Definitions:
    """The definitions in packages (``.tgz``). Raises BadInput fhir.45 for what is not a package of reasonable size."""
    found = Definitions()
    for package in packages:
        for data in _files(package):
            try:
                resource = msgspec.json.decode(data)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise BadInput(errors.NOT_A_PACKAGE) from error
            if isinstance(resource, dict) and resource.get("resourceType") in KINDS:
                found.add(resource)
    return found


def _files(package: bytes) -> Iterator[bytes]:
    """Every JSON file directly in ``package/``, within bounds: a small archive may unpack to a large one."""
    left = MAX_UNPACKED
    try:
        with tarfile.open(fileobj=io.BytesIO(package), mode="r:gz") as tar:
            for member in tar:
                left -= member.size
                if left < 0 or member.size > MAX_FILE:
                    raise BadInput(errors.NOT_A_PACKAGE)
                name = member.name.removeprefix("./")
                if name.count("/") == 1 and name.startswith("package/") and name.endswith(".json") and member.isfile():
                    file = tar.extractfile(member)
                    if file is not None:
                        yield file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(errors.NOT_A_PACKAGE) from error
