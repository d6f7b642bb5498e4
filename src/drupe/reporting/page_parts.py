"""The style and the scripts of a page that needs nothing else, and the policy that names them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

import drupe
from drupe.templates import policy_hash

THEME = "theme.js"
STYLE = "report.css"


def page_parts(scripts: Sequence[str], has_charts: bool = True) -> dict[str, Any]:
    """Return what every page's template takes: version, style, theme, scripts and their hashes.

    ``scripts``: names of files in ``assets/``, which become one, behind Plotly's where the page
    ``has_charts``: that alone takes 5 MB.
    """
    code = "\n".join(map(_asset, scripts))
    theme, others = _asset(THEME), [f'"use strict";\n(() => {{\n{code}\n}})();']
    if has_charts:
        others.insert(0, get_plotlyjs())
    return {
        "version": drupe.__version__,
        "style": Markup(_asset(STYLE)),
        "theme": Markup(theme),
        "scripts": [Markup(script) for script in others],
        "script_hashes": " ".join(map(policy_hash, (theme, *others))),
    }


def _asset(name: str) -> str:
    return (files("drupe.reporting") / "assets" / name).read_text(encoding="utf-8")
