from __future__ import annotations

import importlib.util
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
