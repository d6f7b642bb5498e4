"""The browser that tests open pages in, where one is installed."""

from __future__ import annotations

import os

import pytest

from drupe.reporting.pdf import find_browser

BROWSER = find_browser()
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="Chromium not found: apt install chromium"
)
PATIENCE = 120_000  # milliseconds: a machine that trains meanwhile opens 6 MB slowly
AS_ROOT = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
