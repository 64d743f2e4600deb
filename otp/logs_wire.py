"""What a node is told about the output of its children."""

from __future__ import annotations

from typing import Literal

import msgspec


class Logs(msgspec.Struct, frozen=True):
    """What becomes of what children write; an empty `folder` means that no files are kept."""

    output: Literal["auto", "terminal", "json", "none", "inherit"] = "auto"
    folder: str = ""
    max_bytes: int = 0
    files: int = 0
