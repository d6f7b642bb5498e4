"""Markdown from templates: the specification of a study, and its verdict.

Whatever comes from a file (names, hypotheses, reasons) is escaped, so that it is shown as text.
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from drupe.evaluation.intervals import format_percent

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def escape(text: object) -> str:
    """Return ``text`` in one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def points(difference: float) -> str:
    """Return a difference of rates in percentage points with its sign: ``+0.7``."""
    return f"{100 * difference:+.1f}"


def render(template: str, **content: Any) -> str:
    """Return the Markdown of ``reporting/templates/TEMPLATE`` for ``content``."""
    environment = Environment(
        loader=PackageLoader("drupe.reporting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML: values pass through the filter ``escape`` below
    )
    environment.filters |= {"text": escape, "percent": format_percent, "points": points}
    return environment.get_template(template).render(**content)
