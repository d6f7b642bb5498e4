from __future__ import annotations

import doctest
import importlib.util
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_the_list_of_keys_is_that_of_the_code():
    location = DOCS / "make_configuration.py"
    spec = importlib.util.spec_from_file_location("make_configuration", location)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.render() == (DOCS / "configuration.md").read_text(encoding="utf-8")


def test_the_worked_examples_of_the_statistics_are_true():
    found = doctest.testfile(str(DOCS / "statistics.md"), module_relative=False, encoding="utf-8")
    assert found.attempted >= 12
    assert found.failed == 0


def prose(page: Path) -> str:
    """Return a page without its code blocks, whose comments look like headings."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site generator forms them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    words = (
        unicodedata.normalize("NFKD", heading).encode("ascii", "ignore") for heading in headings
    )
    plain = (re.sub(r"[^\w\s-]", "", word.decode()).strip().lower() for word in words)
    return {re.sub(r"[-\s]+", "-", word) for word in plain}


def broken_links(page: Path, site: Path) -> list[str]:
    """Return the relative links of ``page`` that lead nowhere, or out of the ``site`` it is in."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / name).resolve() if name else page
        leaves = site in page.parents and site not in target.parents
        lost = bool(anchor) and target.exists() and anchor not in anchors(target)
        if leaves or lost or not target.exists():
            broken.append(f"{page.name}: {link}")
    return broken


def test_links_lead_to_pages_and_headings() -> None:
    pages = [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"]
    assert len(pages) > 10
    assert [link for page in pages for link in broken_links(page, DOCS)] == []


@pytest.mark.parametrize(
    "link", ["gone.md", "other.md#gone", "#gone", "../README.md", "#a-comment", "other.md#gone-1"]
)
def test_a_broken_link_is_found(tmp_path: Path, link: str) -> None:
    site = tmp_path / "docs"
    site.mkdir()
    (tmp_path / "README.md").write_text("# Drupe\n")
    (site / "other.md").write_text("# Other: it's `here` – now\n")
    page = site / "page.md"
    page.write_text(
        f"# One\n\n[x]({link}) [y](other.md#other-its-here-now) [z](#one) [w](https://example.org)\n"
        "\n1. text\n\n    ```\n    # A comment\n    [v](nowhere.md)\n    ```\n"
    )
    assert broken_links(page, site) == [f"page.md: {link}"]


def test_every_page_is_in_the_navigation_of_the_site_once() -> None:
    def pages(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            for target in entry.values():
                yield from pages(target) if isinstance(target, list) else [target]

    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(pages(nav)) == sorted(page.name for page in DOCS.glob("*.md"))


def test_files_that_the_guide_for_extending_names_are_there() -> None:
    named = re.findall(
        r"`((?:src|tests|docs|studies|examples)/[\w./]+)`",
        (DOCS / "extending.md").read_text("utf-8"),
    )
    examples = {"tests/PACKAGE/test_MODULE.py", "src/drupe/PACKAGE/MODULE.py"}
    assert len(named) > 20
    assert [name for name in {*named} - examples if not (ROOT / name).exists()] == []
