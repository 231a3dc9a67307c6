"""`.importlinter` lists what exists: optional rooms and modules join its rules when they appear."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
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


BREAKS = {
    "Dependencies point down": ("codec.py", "from caremesh import wallet"),
    "Contracts never import each other": (
        "contracts/consent/queries.py",
        "from caremesh.contracts.access import errors",
    ),
    "Consensus code touches no clock, entropy or I/O": ("ledger/trie.py", "import random"),
    "Only node wires concrete adapters": ("custodian/log.py", "from caremesh.blobs import filesystem"),
    "No cycles between siblings": ("crypto/hashes.py", "from caremesh.crypto import signatures"),
    "Clients and API see messages and queries, never logic": (
        "wallet/derive.py",
        "from caremesh.contracts.consent import logic",
    ),
}


def verdicts(folder: Path) -> dict[str, bool]:
    """What import-linter says of the copy of the package in the folder: rule to kept."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", str(ROOT / ".importlinter")]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)$", ran.stdout, re.MULTILINE))
    assert len(found) == len(BREAKS), ran.stdout
    return {rule: verdict == "KEPT" for rule, verdict in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_refuses_what_it_names(tmp_path: Path, rule: str) -> None:
    shutil.copytree(SOURCE / "caremesh", tmp_path / "caremesh", ignore=shutil.ignore_patterns("__pycache__"))
    path, line = BREAKS[rule]
    target = tmp_path / "caremesh" / path
    target.write_text(f"{target.read_text('utf-8')}\n{line}\n", "utf-8")
    assert not verdicts(tmp_path)[rule]
