from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


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


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []
