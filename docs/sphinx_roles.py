"""Turn Sphinx roles of the docstrings, such as :class:`Name`, into code: the site is Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(?P<short>~)?(?P<name>[^`]+)`")


class SphinxRoles(griffe.Extension):
    """An extension of griffe, which reads the docstrings for the site."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of each object as it is read."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(_as_code, obj.docstring.value)


def _as_code(role: re.Match[str]) -> str:
    name = role["name"].removesuffix("()")
    return f"`{name.rpartition('.')[2] if role['short'] else name}`"
