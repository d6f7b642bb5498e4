"""Documents from Jinja templates: the one place that says how they are filled in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from drupe.printable import printable


def template_environment(
    package: str, filters: Mapping[str, Callable[..., object]], *, is_html: bool = False
) -> Environment:
    """Return the environment of the templates in ``PACKAGE/templates``.

    A name that the template lacks is an error. Values are escaped in HTML alone: those of a
    Markdown template pass through a filter of its own, and what a terminal would obey is escaped.
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not is_html,
        finalize=None if is_html else _printable_lines,
    )
    environment.filters |= filters
    return environment


def _printable_lines(value: object) -> object:
    return "\n".join(map(printable, value.split("\n"))) if isinstance(value, str) else value


def policy_hash(script: str) -> str:
    """Return the name of an inline script in a content security policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
