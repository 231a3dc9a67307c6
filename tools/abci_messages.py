"""Writes ``abci_pb2.py`` and its types from ``abci.proto``: ``python -m tools.abci_messages``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from grpc_tools import protoc

FOLDER: Final = Path(__file__).parents[1] / "src" / "caremesh" / "consensus" / "cometbft"
WRITTEN: Final = ("abci_pb2.py", "abci_pb2.pyi")


def write(folder: Path) -> None:
    """Compile into a folder. Raises RuntimeError when protoc does not like what it reads."""
    told = protoc.main(["protoc", f"-I{FOLDER}", f"--python_out={folder}", f"--pyi_out={folder}", "abci.proto"])
    if told:
        raise RuntimeError(f"protoc ended with {told}")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
