"""A browser for the tests of pages."""

from __future__ import annotations

from typing import Any

import pytest

from browser import AS_ROOT, BROWSER, PATIENCE


@pytest.fixture(scope="module")
def chromium() -> Any:
    """Chromium, driven by Playwright; skips where that is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=AS_ROOT, timeout=PATIENCE)
        yield browser
        browser.close()
