"""What the pages say is true: their links lead somewhere, their commands run and print what is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[3]
SKIPPED_FOLDERS = {".venv", "build", "mutants", ".git", "node_modules"}
PAGES = sorted(
    path.relative_to(ROOT) for path in ROOT.rglob("*.md") if not SKIPPED_FOLDERS & set(path.relative_to(ROOT).parts)
)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*$")
MARK = "@@done@@"


class Command(NamedTuple):
    """A command of a page, the exit code and the output that the page promises (None: any)."""

    line: int
    text: str
    code: int
    output: list[str]


def commands(text: str) -> Iterator[Command]:
    """The commands of all ``console`` blocks, but for blocks after ``<!-- not run: reason -->``."""
    tokens = MarkdownIt().parse(text)
    before = ""
    for token in tokens:
        if token.type == "fence" and token.info.split()[:1] == ["console"] and not NOT_RUN.search(before):
            yield from _commands_of_block(token.content, token.map[0] + 2 if token.map else 0)
        before = (
            token.content if token.type in {"html_block", "fence"} else before if token.type.endswith("close") else ""
        )


def _commands_of_block(block: str, first_line: int) -> Iterator[Command]:
    found: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(block.splitlines(), first_line):
        if line.startswith("$ "):
            found.append((number, line[2:], []))
        elif line.startswith("> ") and found and not found[-1][2]:
            number_, command, output = found.pop()
            found.append((number_, f"{command}\n{line[2:]}", output))
        elif found:
            found[-1][2].append(line)
    for number, command, output in found:
        code = re.search(r"#\s*exits with (\d+)\s*$", command)
        yield Command(number, command, int(code[1]) if code else 0, output)


def matches(expected: list[str], printed: str) -> bool:
    """Whether the output is as the page shows it. ``…`` stands for anything in a line; alone, for any lines."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += (
                ".*".join(re.escape(part.rstrip() if last else part) for part, last in _parts(line)) + r"[ \t]*\n"
            )
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


def _parts(line: str) -> list[tuple[str, bool]]:
    parts = line.split("…")
    return [(part, index == len(parts) - 1) for index, part in enumerate(parts)]


def run(page: list[Command], folder: Path) -> list[tuple[int, str]]:
    """Run the commands of one page in one shell. Returns exit code and output of each."""
    script = "\n".join(f"{command.text}\nprintf '\\n%s%d\\n' {MARK} $?" for command in page)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONUTF8": "1",
    }
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    pieces = re.split(rf"\n{MARK}(\d+)\n", ran.stdout)
    return [(int(code), output) for output, code in zip(pieces[0::2], pieces[1::2], strict=False)]


WITH_COMMANDS = [page for page in PAGES if list(commands((ROOT / page).read_text("utf-8")))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=str)
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    asked = list(commands((ROOT / page).read_text("utf-8")))
    answered = run(asked, tmp_path)
    for command, (code, output) in zip(asked, answered, strict=False):
        assert code == command.code, f"{page}:{command.line}: {command.text}\n{output}"
        if command.output:
            shown = "\n".join(command.output)
            assert matches(command.output, output), (
                f"{page}:{command.line}: the page shows\n{shown}\nand it was\n{output}"
            )
    assert len(answered) == len(asked), f"{page}: the shell ended early"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as forges and MyST make them."""
    headings = re.findall(r"^#{1,6}\s+(.+?)\s*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text("utf-8")
    inline = [child for token in MarkdownIt().parse(text) for child in token.children or []]
    links = [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for child in inline
        if child.type in {"link_open", "image"}
    ]
    for link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(path.read_text("utf-8")), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_image_says_what_it_shows(page: Path) -> None:
    for alternative, path in re.findall(r"!\[(.*?)\]\((.+?)\)", (ROOT / page).read_text("utf-8")):
        assert len(alternative) > 20, path


@pytest.mark.parametrize("image", sorted((ROOT / "docs" / "images").glob("*.svg")), ids=lambda path: path.name)
def test_every_drawing_has_a_title_and_a_description(image: Path) -> None:
    text = image.read_text("utf-8")
    assert 'role="img"' in text
    assert "<title" in text
    assert "<desc" in text


@pytest.mark.parametrize("path", re.findall(r"\| `(src/[^`]+)`", (ROOT / "README.md").read_text("utf-8")))
def test_where_is_points_at_what_is(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.slow
def test_the_documentation_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-b", "html", "docs", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["ready"], "ready\n", True),
        (["ready"], "Ready\n", False),
        (["block … stored"], "block bafk stored\n", True),
        (["first", "…", "last"], "first\na\nb\nlast\n", True),
        (["first", "…", "last"], "first\nlast\n", True),
        (["first", "…"], "first\n", True),
        (["first"], "first\nsecond\n", False),
        (["a+b"], "aab\n", False),
    ],
)
def test_the_runner_compares_as_it_says(shown: list[str], printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_the_runner_sees_codes_output_and_one_shell(tmp_path: Path) -> None:
    text = (
        "```console\n$ x=7\n$ echo $x\n7\n$ false  # exits with 1\n```\n\n"
        "<!-- not run: a reason -->\n```console\n$ exit 3\n```\n"
    )
    asked = list(commands(text))
    assert [command.code for command in asked] == [0, 0, 1]
    assert run(asked, tmp_path) == [(0, ""), (0, "7\n"), (1, "")]
