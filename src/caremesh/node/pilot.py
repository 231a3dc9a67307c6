"""A network of several members on one machine, for who wants to try it: homes that are founded and joined."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from caremesh.errors import Refused
from caremesh.node import founding, joining
from caremesh.node.errors import ALREADY_THERE
from caremesh.settings import FILE
from caremesh.types import Count, Seconds

HOST: Final = "127.0.0.1"
ROLES: Final = (["provider"], ["custodian", "laboratory"], ["custodian", "payer"], ["custodian", "regulator"])
"""Of the first four; then from the second on again."""


def make(folder: Path, name: str, members: Count, first_port: int, now: Seconds) -> list[Path]:
    """The homes ``member-1`` to ``member-n``, each a validator. A member takes three ports from ``first_port`` on.

    Raises Refused node.15 when there is something in the folder; BadInput node.18; StorageFailed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise Refused(ALREADY_THERE, folder.name)
    homes, admissions = [], []
    for number in range(members):
        home, port = folder / f"member-{number + 1}", first_port + 3 * number
        _, made = joining.begin(
            home,
            chain=name,
            name=f"Member {number + 1}",
            roles=ROLES[number] if number < len(ROLES) else ROLES[1 + (number - 1) % (len(ROLES) - 1)],
            country="US",
            address=f"https://{HOST}:{port}",
            peers=f"{HOST}:{port + 2}",
        )
        (home / FILE).write_text(
            f"listen_port = {port}\nadmin_port = {port + 1}\npeers_port = {port + 2}\npeers_one_host = true\n", "utf-8"
        )
        homes.append(home)
        admissions.append(joining.read_admission(made, home.name))
    joining.found(homes[0], admissions[1:], now, engine="cometbft")
    file = (homes[0] / founding.FILE).read_bytes()
    for home in homes[1:]:
        joining.join(home, file)
    return homes
