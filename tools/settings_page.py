"""Write docs/reference/settings.md from ``caremesh.settings``.

python -m tools.settings_page
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from caremesh import settings

PAGE: Final = Path("docs/reference/settings.md")
HEAD: Final = """# Settings of a node

<!-- Written by `python -m tools.settings_page`; do not edit. -->

A node takes its settings from `caremesh.toml` in its home, then from the environment, then from the flags of
`caremesh node`; what comes later counts. The port, for example, is `listen_port = 8443` in the file,
`CAREMESH_LISTEN_PORT=8443` in the environment, and `--listen-port 8443` as a flag. A value outside its limits, or a
name that is none, is refused by name before anything starts.

| setting | unit | default | limits | what it does |
|---|---|---|---|---|
"""


def page() -> str:
    """The page's text."""
    return HEAD + "".join(_row(name) for name in settings.names())


def _row(name: str) -> str:
    said = settings.limits(name)
    bounds = f"{_told(said['ge'])} to {_told(said['le'])}" if "ge" in said else _choices(name)
    return f"| `{name}` | {said['unit']} | `{_told(said['default'])}` | {bounds} | {said['sentence']} |\n"


def _choices(name: str) -> str:
    annotation = settings.Settings.model_fields[name].annotation
    return ", ".join(f"`{choice}`" for choice in getattr(annotation, "__args__", ()))


def _told(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 100_000 else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(PAGE)
