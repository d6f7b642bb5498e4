"""What a person should know although the work goes on: said below the cli, shown by it.

The standard library's logging carries it: who uses Drupe from Python can listen to ``drupe``, and
sees it on stderr otherwise.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("drupe")


def notice(text: str) -> None:
    """Say one thing in one line; the command line shows the same line only once."""
    LOGGER.warning("%s", text)
