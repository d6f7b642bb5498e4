"""The page on which a person looks at pictures: served, or as one file that needs no server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.resources import files

from markupsafe import Markup

import drupe
from drupe.data.decode import UnreadableImageError
from drupe.labels.review.answers import WORDS, Judgement
from drupe.labels.review.pictures import ReviewPictures, picture_png
from drupe.labels.review.queue import ReviewQueue, Showing
from drupe.progress import Progress, silent
from drupe.templates import policy_hash, template_environment

STYLE = "review.css"
VIEW, SERVED, ALONE = "view.js", "served.js", "alone.js"
ASSETS = (STYLE, VIEW, SERVED)
"""Files that the served page asks for."""

KEYS: dict[Judgement, str] = {"good": "g", "defect": "d", "unclear": "c", "bad": "b"}
BUTTONS = [(name, WORDS[name], key) for name, key in KEYS.items()]


def asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (files("drupe.labels.review") / "assets" / name).read_text(encoding="utf-8")


def served_page() -> str:
    """Return the page that asks its server for everything."""
    return _render(style=None, scripts=[], data=None, policy=None)


def lone_page(
    queue: ReviewQueue,
    order: Sequence[Showing],
    reviewer: str,
    files_of: ReviewPictures,
    progress: Progress = silent,
    *,
    is_third: bool = False,
) -> str:
    """Return the page as one file: pictures inside, answers kept by the browser and exported.

    It holds what the served page gets to know of all showings, and no label, score or reason. A
    picture that can't be read is left out; the page says so and takes no verdict on it.
    """
    pictures: dict[str, str | None] = {}
    showings = []
    with progress("draw pictures", len(order), "pictures") as tracker:
        for showing in order:
            item = queue.items[showing.item]
            names = [item.sha256]
            if item.sha256 not in pictures:
                pictures[item.sha256] = _data_uri(partial(files_of.read_drawn, item))
            for path in item.neighbours:
                name = hashlib.sha256(f"{queue.id} {path}".encode()).hexdigest()[:20]
                if name not in pictures:
                    pictures[name] = _data_uri(partial(files_of.read, path))
                names.append(name)
            showings.append({"id": showing.id, "seen": names[0], "strip": names[1:]})
            tracker.advance()
    data = {
        "review": queue.id,
        "reviewer": reviewer,
        "is_third": is_third,
        "classes": list(queue.classes),
        "types": list(queue.request.types),
        "order": showings,
        "pictures": pictures,
    }
    scripts = [f'"use strict";\n(() => {{\n{asset(ALONE)}\n{asset(VIEW)}\n}})();']
    policy = (
        f"default-src 'none'; script-src {policy_hash(scripts[0])}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _render(style=asset(STYLE), scripts=scripts, data=_inert(data), policy=policy)


def _render(style: str | None, scripts: Sequence[str], data: str | None, policy: str | None) -> str:
    template = template_environment("drupe.labels.review", {}, is_html=True).get_template(
        "review.html.j2"
    )
    return template.render(
        version=drupe.__version__,
        style=style and Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=data and Markup(data),
        policy=policy and Markup(policy),
        judgements=BUTTONS,
    )


def _inert(data: object) -> str:
    """Return JSON that ends no element, whatever names it holds."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _data_uri(content: Callable[[], bytes]) -> str | None:
    try:
        png = picture_png(content())
    except UnreadableImageError:
        return None
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
