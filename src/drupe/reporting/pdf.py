"""A page as PDF, through whichever Chromium-like browser is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from drupe.errors import DrupeError
from drupe.files import replacing

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "microsoft-edge",
)
APPLICATIONS = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
    Path("C:/Program Files/Google/Chrome/Application/chrome.exe"),
    Path("C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe"),
)

TIME_LIMIT = 120
"""Seconds; a page of 50,000 test items takes about ten."""

DRAWING_TIME = 20_000
"""Milliseconds of the page's own (virtual) clock in which its charts are drawn."""


class NoBrowserError(DrupeError):
    """No browser that can print."""

    def __init__(self, page: Path) -> None:
        super().__init__(
            f"--pdf: needs Chromium, Chrome or Edge on this machine, found none; {page} was "
            "written: open it in any browser and print it"
        )


def find_browser() -> str | None:
    """Return the program of a browser that prints without a window, None where there is none."""
    on_path = filter(None, map(shutil.which, BROWSERS))
    return next(on_path, None) or next((str(p) for p in APPLICATIONS if p.exists()), None)


def write_pdf(page: Path, pdf: Path) -> None:
    """Print ``page`` (an HTML file) to ``pdf``, atomically.

    Raises:
        DrupeError: no browser, or one that fails; its last words are in the message.
    """
    browser = find_browser()
    if browser is None:
        raise NoBrowserError(page)
    with replacing(pdf) as temporary, tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            f"--user-data-dir={profile}",
            f"--virtual-time-budget={DRAWING_TIME}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={temporary}",
            page.absolute().as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium's can't be set up by root
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            raise DrupeError(f"--pdf: {browser} took more than {TIME_LIMIT} s") from None
        if done.returncode or not temporary.stat().st_size:
            last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise DrupeError(f"--pdf: {browser} made no PDF: {last[0]}")
