"""Write the tables of every contract's README from its code: messages, errors, events, queries.

    python -m tools.contract_readmes          write
    python -m tools.contract_readmes --check  fail when a README is not as it would be written

What stands above the first table (Purpose, State, Invariants) is written by hand and left alone.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Final

from caremesh.errors import ErrorCode
from caremesh.ledger.transactions import Message

CONTRACTS: Final = ("identity", "members", "network", "streams", "records", "consent", "access", "policy")
ROOT: Final = Path(__file__).parent.parent / "src/caremesh/contracts"
MARK: Final = "<!-- below: python -m tools.contract_readmes -->"


def tables(name: str) -> str:
    """The generated half of a README."""
    parts = [MARK, "", "## Messages", "", "| message | what | fields |", "|---|---|---|"]
    module = importlib.import_module(f"caremesh.contracts.{name}.messages")
    for kind in vars(module).values():
        if inspect.isclass(kind) and issubclass(kind, Message) and kind.__module__ == module.__name__:
            fields = ", ".join(f"`{field}`" for field in kind.__struct_encode_fields__)
            parts.append(f"| `{kind.__struct_config__.tag}` | {_first(kind.__doc__)} | {fields} |")
    parts += ["", "## Errors", "", "| code | sentence | what to do |", "|---|---|---|"]
    errors = importlib.import_module(f"caremesh.contracts.{name}.errors")
    found = [value for value in vars(errors).values() if isinstance(value, ErrorCode)]
    parts += [f"| `{error.code}` | {error.sentence} | {error.cure} |" for error in sorted(found)]
    parts += ["", "## Events", "", "| event | attributes |", "|---|---|"]
    parts += [f"| `{event}` | {attributes} |" for event, attributes in sorted(events(name).items())]
    parts += ["", "## Queries", "", "| query | answer |", "|---|---|"]
    queries = importlib.import_module(f"caremesh.contracts.{name}.queries")
    for query, function in vars(queries).items():
        if inspect.isfunction(function) and function.__module__ == queries.__name__ and not query.startswith("_"):
            parts.append(f"| `{query}` | {_first(function.__doc__)} |")
    return "\n".join(parts) + "\n"


def events(name: str) -> dict[str, str]:
    """Every event that the contract emits, with the names of its attributes."""
    found = {}
    sources = sorted((ROOT / name).glob("*.py"))
    for node in (node for source in sources for node in ast.walk(ast.parse(source.read_text()))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
            kind = node.args[0]
            if isinstance(kind, ast.Constant):
                found[str(kind.value)] = ", ".join(f"`{keyword.arg}`" for keyword in node.keywords)
    return found


def written(name: str) -> str:
    """The README as it should be: the hand-written half as it is, the tables from the code."""
    by_hand, _, _ = (ROOT / name / "README.md").read_text().partition(MARK)
    return by_hand.rstrip() + "\n\n" + tables(name)


def _first(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").strip().split("\n\n")[0]).replace("|", "\\|")


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name in CONTRACTS:
        path = ROOT / name / "README.md"
        text = written(name)
        if path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if check and stale:
        print(f"stale: {', '.join(stale)}; run python -m tools.contract_readmes")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
