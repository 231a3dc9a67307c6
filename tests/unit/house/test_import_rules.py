"""`.importlinter` lists what exists: optional rooms and modules join its rules when they appear."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def rules() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


def exists(module: str) -> bool:
    path = SOURCE.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("module", ["caremesh.blobs.s3", "caremesh.consensus.cometbft"])
def test_every_concrete_adapter_is_protected(rules: configparser.ConfigParser, module: str) -> None:
    listed = rules["importlinter:contract:adapters"]["protected_modules"].split()
    assert (module in listed) == exists(module)


@pytest.mark.parametrize("module", ["caremesh.client", "caremesh.wallet", "caremesh.api"])
def test_every_client_sees_messages_only(rules: configparser.ConfigParser, module: str) -> None:
    listed = rules["importlinter:contract:messages-only"]["source_modules"].split()
    assert (module in listed) == exists(module)
