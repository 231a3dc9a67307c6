"""What is in deploy/ is what the software is: units that systemd takes, settings within limits, files that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caremesh import settings

DEPLOY = Path(__file__).parents[3] / "deploy"
ROOT = DEPLOY.parent


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.glob("caremesh-*.*")))
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    assert re.fullmatch(r"(#.*\n|\n|\[[A-Z][a-z]+\]\n|[A-Z][A-Za-z]+=.*\n)+", text)
    assert text.count("[Unit]") == 1
    for unit in DEPLOY.glob("caremesh-*.*"):  # they name each other
        here = str(Path(sys.executable).with_name("caremesh"))
        (tmp_path / unit.name).write_text(unit.read_text("utf-8").replace("/opt/caremesh/bin/caremesh", here), "utf-8")
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, [line for line in done.stderr.splitlines() if "caremesh" in line]) == (0, [])


def test_the_unit_runs_a_command_that_there_is_and_waits_longer_than_it_takes() -> None:
    text = (DEPLOY / "caremesh-node.service").read_text("utf-8")
    [start] = re.findall(r"^ExecStart=(.+)$", text, re.M)
    assert shlex.split(start)[1:3] == ["node", "--home"]
    [limit] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)
    assert int(limit) > settings.limits("stop_within_s")["default"]
    assert "KillMode=mixed" in text


def test_the_example_settings_are_settings(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "caremesh.toml", tmp_path)
    found = settings.load(tmp_path)
    assert found.listen_port == 8443
    for name in settings.names():
        if name in (DEPLOY / "caremesh.toml").read_text("utf-8"):
            assert getattr(found, name) == settings.limits(name)["default"] or name == "listen_host"


def test_the_image_is_made_of_what_is_there_and_runs_the_node() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for name in words.split()[:-1]:
            assert (ROOT / name).exists(), name
    [command] = re.findall(r"^CMD (.+)$", text, re.M)
    words = eval(command)  # noqa: S307 - a list of strings of our own
    assert words[:2] == ["node", "--home"]
    assert settings.flags_of(words[3:]) == {"listen_host": "0.0.0.0"}  # noqa: S104
    assert "USER caremesh" in text
    assert text.count("--require-hashes") == 2
