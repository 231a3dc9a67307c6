"""Which store a member's blocks are in, as its settings say.

The keys for an S3 service come from the environment, under the names that other clients of S3 use too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.blobs.interface import BlockStore
from caremesh.blobs.s3 import S3Blocks, S3Settings
from caremesh.settings import Settings

FOLDER: Final = "blocks"
ACCESS: Final = "AWS_ACCESS_KEY_ID"
SECRET: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a name, not a secret


def open_blocks(home: Path, settings: Settings, *, to_read: bool = False) -> BlockStore:
    """The store in an S3 service when there is one, else in the member's home. Raises StorageFailed.

    ``to_read``: for a process beside the one that writes.
    """
    if not settings.blocks_s3_endpoint:
        return FilesystemBlocks(home / FOLDER, to_read=to_read)
    return S3Blocks(
        S3Settings(
            endpoint=settings.blocks_s3_endpoint,
            bucket=settings.blocks_s3_bucket,
            prefix=settings.blocks_s3_prefix,
            region=settings.blocks_s3_region,
            access_key=os.environ.get(ACCESS, ""),
            secret_key=os.environ.get(SECRET, ""),
        ),
        to_read=to_read,
    )
