from __future__ import annotations

import stat
from pathlib import Path

import pytest

from drupe.errors import DrupeError
from drupe.reporting import pdf
from drupe.reporting.pdf import NoBrowserError, find_browser, write_pdf


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "a report.html"
    path.write_text("<!doctype html><title>é</title>ok", encoding="utf-8")
    return path


def fake_browser(folder: Path, body: str) -> None:
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH; what a test puts into the folder is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(pdf, "APPLICATIONS", ())
    monkeypatch.setattr(pdf, "BROWSERS", ("chromium",))
    return folder


def test_without_a_browser_the_page_is_named(nothing_installed, page):
    assert find_browser() is None
    with pytest.raises(NoBrowserError, match=r"found none; .*a report\.html was written"):
        write_pdf(page, page.with_suffix(".pdf"))


def test_the_browser_prints_the_page(nothing_installed, page):
    fake_browser(
        nothing_installed,
        'for word; do case "$word" in --print-to-pdf=*) echo "$@" > "${word#*=}";; esac; done',
    )
    write_pdf(page, page.with_suffix(".pdf"))
    arguments = page.with_suffix(".pdf").read_text()
    assert page.as_uri() in arguments
    assert "a%20report.html" in arguments


@pytest.mark.parametrize("body", ["echo no display >&2; exit 3", "echo no display >&2"])
def test_a_browser_that_fails_is_quoted_and_leaves_nothing(nothing_installed, page, body):
    fake_browser(nothing_installed, body)
    with pytest.raises(DrupeError, match="made no PDF: no display"):
        write_pdf(page, page.with_suffix(".pdf"))
    assert not page.with_suffix(".pdf").exists()
    assert not list(page.parent.glob(".*.tmp"))
