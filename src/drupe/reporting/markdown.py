"""Markdown from templates: the specification of a study, and its verdict.

Whatever comes from a file (names, hypotheses, reasons) is escaped, so that it is shown as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from drupe.evaluation.intervals import (
    format_interval,
    format_percent,
    format_points,
    format_points_interval,
)
from drupe.printable import printable
from drupe.templates import template_environment

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def escape(text: object) -> str:
    """Return ``text`` in one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", printable(" ".join(str(text).split())))


def render(template: str, **content: Any) -> str:
    """Return the Markdown of ``reporting/templates/TEMPLATE`` for ``content``."""
    filters: dict[str, Callable[..., object]] = {
        "text": escape,
        "percent": format_percent,
        "points": format_points,
    }
    environment = template_environment("drupe.reporting", filters)
    environment.globals |= {
        "interval": format_interval,
        "points_interval": format_points_interval,
    }
    return environment.get_template(template).render(**content)
