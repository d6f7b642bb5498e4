from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import PATIENCE, needs_browser
from drupe.data.audit import Audit, audit
from drupe.data.fix_matching import FixMatch
from drupe.data.fixes import Fix, Fixes, FixOrigin, read_fix_list
from drupe.data.overlay import active_fixes, apply_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.reporting import audit_page
from drupe.reporting.audit_page import AuditKind, AuditPage, build_audit_page, render_audit_page

HOSTILE = "\"><img src=x onerror=stolen()><b>é🍒'.png"


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with every kind of finding."""
    folder = tmp_path_factory.mktemp("audit") / "crops"
    faults = {"leaks": 2, "duplicates": 2, "near_duplicates": 3, "contradictions": 2}
    synthesise(folder, images=120, size=64, seed=2, blanks=2, corrupt=2, **faults)
    pit = folder / "val/cherry_pit"
    first = min(pit.glob("*.png"))
    shutil.copyfile(first, folder / "train/cherry_pit" / HOSTILE)
    turned = Image.open(sorted(pit.glob("*.png"))[3]).transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "train/cherry_pit/turned.png")
    noise = np.random.default_rng(0).integers(0, 255, (40, 50), dtype=np.uint8)
    Image.fromarray(noise).save(pit / "grey.jpg")
    (folder / "train/cherry_pit/notes <i>.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def found(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(crops, store=tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def page(found: Audit) -> AuditPage:
    return build_audit_page(found)


def kind(page: AuditPage, anchor: str) -> AuditKind:
    return next(one for one in page.kinds if one.anchor == anchor)


def paths(one: AuditKind) -> list[list[str]]:
    return [[shot.path for shot in case.shots] for case in one.cases]


def test_every_kind_of_finding_is_shown_as_pictures_the_errors_first(page):
    found, document = page.document["findings"], page.document
    assert [(one.anchor, one.severity, one.count) for one in page.kinds[:5]] == [
        ("contradictions", "error", document["contradictory_labels"]),
        ("leaks", "error", document["cross_split_duplicate_pairs"]),
        ("near-leaks", "error", document["cross_split_near_duplicate_pairs"]),
        ("unreadable", "error", document["unreadable"]),
        ("blank", "error", document["blank_or_tiny"]),
    ]
    assert all(one.count for one in page.kinds)
    assert paths(kind(page, "contradictions")) == found["contradictory_labels"]
    assert paths(kind(page, "leaks")) == found["cross_split_duplicates"]
    assert {one.anchor: one.severity for one in page.kinds[5:]} == {
        "copies": "warning",
        "near-copies": "warning",
        "largest-group": "warning",
        "sizes": "warning",
        "modes": "warning",
        "alike": "hint",
    }
    (odd,) = kind(page, "modes").cases
    assert (odd.shots[0].path, odd.shots[0].note) == ("val/cherry_pit/grey.jpg", "JPEG L")
    assert kind(page, "sizes").cases[0].shots[0].note == "50 × 40 pixels"
    unreadable = [shot for case in kind(page, "unreadable").cases for shot in case.shots]
    assert all(shot.note and shot.picture is None for shot in unreadable)
    assert (
        len(kind(page, "largest-group").cases[0].shots) == page.document["largest_group"]["files"]
    )
    assert page.has_room


def test_both_labels_of_a_contradiction_are_told_and_may_be_changed(page):
    case = kind(page, "contradictions").cases[0]
    assert {shot.label for shot in case.shots} == {"cherry_clean", "cherry_pit"}
    assert all({shot.label, *shot.others} == {"cherry_clean", "cherry_pit"} for shot in case.shots)
    assert all(shot.proposed.startswith("same image as ") for shot in case.shots)


def test_a_pair_says_how_alike_it_is(page):
    turned = next(
        case
        for case in kind(page, "near-leaks").cases
        if "turned" in case.shots[1].path + case.words
    )
    assert turned.words == "the same pixels in another file, turned or mirrored"
    assert all(re.match(r"correlation 0\.\d\d", case.words) for case in kind(page, "alike").cases)


def test_the_first_of_many_are_shown_and_the_rest_is_counted(found, monkeypatch):
    monkeypatch.setattr(audit_page, "MOST_CASES", 1)
    monkeypatch.setattr(audit_page, "MOST_PICTURES", 1)
    page = build_audit_page(found)
    leaks = kind(page, "leaks")
    assert (leaks.size, len(leaks.cases)) == (3, 1)
    assert (leaks.cases[0].size, len(leaks.cases[0].shots)) == (2, 1)
    html = " ".join(render_audit_page(page).split())
    assert "The first 1 of 3 are shown, 2 more are not." in html
    assert "… and 1 more pictures in this group." in html


def test_missing_pictures_are_said(found):
    gone = build_audit_page(replace(found, listing=replace(found.listing, root=Path("nowhere"))))
    assert not gone.has_room
    assert "Some pictures are missing" in render_audit_page(gone)


def test_the_script_gets_what_a_fix_list_takes(page, found):
    shots = page.page_data()["shots"]
    assert [one["path"] for one in shots] == [shot.path for shot in page.shots]
    digest_of = dict(zip(found.listing.paths, found.inspection.digests, strict=True))
    assert all(one["sha256"] == digest_of[one["path"]] for one in shots)
    proposed = {fix.path: fix.reason for fix in found.proposed_fixes()}
    shown = {one["path"]: one["reason"] for one in shots if one["isProposed"]}
    assert shown.items() <= proposed.items()
    assert set(proposed) - set(shown) == set()  # all, of so few


def test_names_are_shown_and_not_run(page):
    html = render_audit_page(page)
    assert "&lt;b&gt;é🍒" in html
    assert "<img src=x" not in html
    data = re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert f"train/cherry_pit/{HOSTILE}" in [one["path"] for one in json.loads(data[1])["shots"]]
    assert "notes &lt;i&gt;.txt" in html
    links = re.findall(r'(?:src|href)="([^"]{4,40})', html)
    assert all(link.startswith(("#", "data:image/webp;base64,")) for link in links)
    assert len(html) < 1_000_000  # no charts, so no Plotly


def fixed(found: Audit, fixes: Sequence[Fix]) -> AuditPage:
    match = FixMatch(tuple((fix, fix.path) for fix in fixes), ((fixes[0], "it is gone"),))
    changed = replace(found, fixed=match, excluded=1, relabelled=1)
    return build_audit_page(replace(changed, wrong_fixes=(("a.png", "class must be one of"),)))


def test_fixes_in_force_are_shown_with_who_and_why(found):
    path = found.listing.paths[0]
    origin = FixOrigin("r1", ("Ann", "Bo"), "2026-03-02T10:00:00+00:00", "suspect", "train")
    page = fixed(
        found,
        [
            Fix(path, "exclude", reason="two fruits"),
            Fix(found.listing.paths[1], "relabel", "cherry_pit", origin=origin),
        ],
    )
    first, second = page.fixes
    assert (first.change, first.reason, first.who) == ("exclude", "two fruits", "")
    assert first.picture is not None
    assert second.who == "Ann, Bo, 2026-03-02, review r1 (suspect)"
    html = " ".join(render_audit_page(page).split())
    assert "1 picture excluded and 1 relabelled" in html
    assert "no reason given" in html
    assert "it is gone" in html
    assert "a.png: class must be one of" in html
    assert [one.title for one in page.texts] == [
        "Fixes that can't be honoured",
        "Fixes that match no picture",
    ]


def test_more_fixes_than_are_shown_are_counted(found, monkeypatch):
    monkeypatch.setattr(audit_page, "MOST_FIXES", 1)
    page = fixed(found, [Fix(path, "exclude") for path in found.listing.paths[:2]])
    assert len(page.fixes) == 1
    assert "The first 1 are shown" in render_audit_page(page)


def test_a_clean_set_has_a_short_page(tmp_path, make_clean):
    page = build_audit_page(audit(make_clean, fixes=Fixes(), store=tmp_path / "store"))
    html = render_audit_page(page)
    assert "No errors" in html
    assert "Nothing to be seen." in html
    assert "Every file in the folder was taken." in html


@pytest.mark.thorough
@needs_browser
def test_chosen_fixes_are_exported_once_and_can_be_applied(
    chromium, crops, page, found, tmp_path
) -> None:
    file, store = tmp_path / "audit.html", tmp_path / "store"
    file.write_text(render_audit_page(page), encoding="utf-8")
    opened = chromium.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.goto(file.as_uri())
    assert opened.is_disabled("#audit-export")
    opened.click("#audit-propose")
    contradiction = kind(page, "contradictions").cases[0].shots[0]
    cards = opened.locator(".shot").filter(has_text=contradiction.path)
    cards.first.locator("select").select_option(label=f"relabel: {contradiction.others[0]}")
    proposed = found.proposed_fixes()
    assert opened.inner_text("#audit-chosen") == f"{len(proposed)} selected"
    with opened.expect_download() as download:
        opened.click("#audit-export")
    download.value.save_as(tmp_path / "fixes.csv")
    opened.click("#audit-clear")
    assert opened.inner_text("#audit-chosen") == "0 selected"
    opened.locator("button.look").first.click()
    assert opened.inner_text("#look-path") == contradiction.path
    opened.close()

    listed = {fix.path: fix for fix in read_fix_list(tmp_path / "fixes.csv")}

    expected = {fix.path: fix for fix in proposed}
    relabelled = listed.pop(contradiction.path)
    assert (relabelled.change, relabelled.sha256) == (
        f"relabel {contradiction.others[0]}",
        expected.pop(contradiction.path).sha256,
    )
    assert listed == expected
    apply_fixes(crops, store, tmp_path / "fixes.csv")
    assert not audit(crops, fixes=active_fixes(crops, store), store=store).has_errors


@pytest.fixture
def make_clean(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    for split in ("train", "val"):
        for label in ("clean", "pit"):
            folder = tmp_path / "clean-set" / split / label
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "clean-set"
