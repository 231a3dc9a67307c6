"""``caremesh backup`` and ``caremesh restore``: a home, copied while its node runs, and made anew; both verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from caremesh.cli.node import NodeHome
from caremesh.cli.output import AsJson, console, print_json

BACKUP = """Write a backup of this home into a new folder; its node may go on running.

The key file ([bold]secrets.key[/bold]) is not in it: keep a copy of that in another place. Without it a backup opens
to nobody.

Example: [bold]caremesh backup --home ./node /backups/2026-11-21[/bold]
"""
RESTORE = """Make a home of a backup and the key file. Every byte is checked; the home is there whole, or not at all.

A custodian that was restored does not continue the release logs of streams that were open: it cannot know what it has
released since the backup, and to say so twice would convict it. It does everything else.

Example: [bold]caremesh restore --home ./node /backups/2026-11-21 --key /safe/secrets.key[/bold]
"""


def backup(
    home: NodeHome,
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not be there.")],
    as_json: AsJson = False,
) -> None:
    """Back up."""
    import time

    from caremesh.node.backup import back_up, verify

    back_up(home, out, int(time.time()))
    made = verify(out)
    size = sum(file.size_bytes for file in made.files)
    if as_json:
        print_json({"backup": str(out), "member": made.member, "files": len(made.files), "size_bytes": size})
    else:
        console().print(f"{out}: {len(made.files)} files, {size / 1e6:.1f} MB, all verified.")


def restore(
    home: NodeHome,
    backup: Annotated[Path, typer.Argument(help="Folder that `caremesh backup` wrote.")],
    key: Annotated[Path, typer.Option(help="The key file of the home that was backed up.")],
    as_json: AsJson = False,
) -> None:
    """Restore."""
    import time

    from caremesh.node.backup import restore

    made = restore(backup, home, key, int(time.time()))
    if as_json:
        print_json({"home": str(home), "member": made.member, "files": len(made.files), "taken": made.at})
    else:
        console().print(f"{home} is as it was when the backup was taken: {len(made.files)} files, all verified.")
        console().print("Releases of streams that were open are left to the other custodians: see docs/adr/0091.")
