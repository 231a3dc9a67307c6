"""The definitions are what their provenance says, and the functions what the generator writes from them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import zstandard

from caremesh.fhir import definitions
from caremesh.fhir.validation import dispatch
from tools import fhir_function_body, fhir_functions
from tools.fhir_definitions import FOLDER
from tools.fhir_types import Types

GENERATED = Path("src/caremesh/fhir/validation/generated")


def test_files_are_those_of_the_provenance() -> None:
    said = definitions.provenance()
    assert said["licence"] == "Apache-2.0"
    for name, digest in said["files"].items():
        text = zstandard.ZstdDecompressor().decompress((FOLDER / f"{name}.json.zst").read_bytes())
        assert hashlib.sha256(text).hexdigest() == digest, name
    assert {path.name for path in FOLDER.glob("*.zst")} == {f"{name}.json.zst" for name in said["files"]}


def test_definitions_are_all_of_r4() -> None:
    kinds = [one["kind"] for one in definitions.structure()["types"].values() if not one["abstract"]]
    assert kinds.count("resource") == 146
    assert len(dispatch.types()) == 146
    assert len(definitions.search_parameters()) >= 1_370
    assert len(definitions.terminology()["systems"]) > 1_000
    assert len(definitions.profiles()) > 40


def test_value_sets_that_nobody_can_enumerate_are_known_to_be_so() -> None:
    types = definitions.structure()["types"].values()
    required = {
        one["binding"][1] for each in types for one in each["elements"] if one.get("binding", [""])[0] == "required"
    }
    unknown = {name for name in required if definitions.terminology()["sets"][name] is None}
    assert unknown == {
        "characteristic-combination",
        "currencies",
        "http://loinc.org/vs/LL379-9",
        "mimetypes",
        "ucum-units",
    }


@pytest.mark.slow
def test_generated_functions_are_what_the_generator_writes() -> None:
    assert {path.stem: path.read_text("utf-8") for path in GENERATED.glob("*.py")} == fhir_functions.modules()


@pytest.mark.slow
def test_every_constraint_of_r4_is_accounted_for() -> None:
    """Compiled, written by hand, or left out with a reason: nothing is forgotten."""
    types = Types(definitions.structure())
    written = "".join(path.read_text("utf-8") for path in GENERATED.glob("*.py"))
    for number, one in enumerate(types.constraints):
        key = one["key"]
        stated = any(
            number in types.own_constraints(each["path"]) for held in types.types.values() for each in held["elements"]
        )
        assert (
            f"{key!r}" in written
            or f'"{key}"' in written
            or key in fhir_function_body.BY_HAND
            or key in fhir_function_body.LEFT_OUT
        ), key
        assert stated, key


def test_constraints_by_hand_are_in_the_code() -> None:
    code = "".join(path.read_text("utf-8") for path in Path("src/caremesh/fhir/validation").glob("*.py"))
    generated = (GENERATED / "datatypes.py").read_text("utf-8")
    for key in fhir_function_body.BY_HAND:
        assert f'"{key}"' in code + generated, key


@pytest.mark.parametrize("name", sorted(dispatch.types()))
def test_every_type_has_its_function_and_schema(name: str) -> None:
    assert dispatch.function(name) is not None
    assert dispatch.shape(name).is_valid({"resourceType": name})
    assert not dispatch.shape(name).is_valid({"resourceType": name, "caremesh": 1})
