"""A log line is one object, written at once, with fields of known names and nothing of what exceptions say."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caremesh.errors import BadInput, ErrorCode
from caremesh.node.logs import about, begin

SECRET = "Fever of a person"
WRITES = """
import sys
from caremesh.node.logs import begin
log = begin(sys.argv[1], "info")
for number in range(300):
    log.info("line", count=number, place="x" * 500)
"""


class Writes(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return super().write(text)


def lines(to: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in to.getvalue().splitlines()]


def test_a_line_is_one_object_in_one_write() -> None:
    to = Writes()
    begin("part", "info", to).info("said", count=1)
    [line] = lines(to)
    assert (line["event"], line["part"], line["count"], line["level"]) == ("said", "part", 1, "info")
    assert [call for call in to.calls if call] == [to.getvalue()]


@pytest.mark.slow
def test_processes_that_share_a_log_do_not_break_each_others_lines(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (tmp_path / "log").open("ab") as log:
        words = [[sys.executable, "-c", WRITES, name] for name in "abc"]
        running = [subprocess.Popen(command, stderr=log, env=environment) for command in words]
        assert [each.wait(60) for each in running] == [0, 0, 0]
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(said) == 900


@pytest.mark.promise("P1")
def test_a_field_that_nobody_named_is_left_out_by_name() -> None:
    to = io.StringIO()
    begin("part", "info", to).info("said", patient=SECRET, count=1)
    [line] = lines(to)
    assert line["left_out"] == ["patient"]
    assert SECRET not in to.getvalue()


@pytest.mark.promise("P1")
def test_what_an_exception_says_is_not_logged_but_what_it_is_and_where() -> None:
    to = io.StringIO()
    log = begin("part", "info", to)
    try:
        raise ValueError(SECRET)
    except ValueError as error:
        log.error("failed", exc_info=error)
    [line] = lines(to)
    assert line["fault"] == "ValueError"
    assert "test_logs.py" in line["trace"][-1]
    assert SECRET not in to.getvalue()


def test_an_error_of_ours_is_told_by_code_and_place() -> None:
    said = about(BadInput(ErrorCode("x.01", "No.", "Do."), "there"))
    assert said == {"code": "x.01", "place": "there", "sentence": "No."}


@pytest.mark.promise("P1")
def test_libraries_words_are_not_logged() -> None:
    to = io.StringIO()
    begin("part", "info", to)
    logging.getLogger("lmdb").error("broken for %s", SECRET)
    [line] = lines(to)
    assert (line["event"], line["place"].split(":")[0]) == ("library", "lmdb")
    assert SECRET not in to.getvalue()


def test_a_line_that_the_disk_does_not_take_is_lost_and_holds_up_nobody() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([sys.executable, "-c", WRITES, "a"], stderr=full, check=False)
    assert done.returncode == 0
