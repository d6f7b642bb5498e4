from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drupe.data.overlay import audit_path
from drupe.errors import InputError
from drupe.files import write_json
from drupe.reporting.report import Report, Source, build_report, render
from run_files import predictions
from study_folder import FINGERPRINT, renamed, write_study_run, write_verdict

HOSTILE_CLASSES = ("c<b>lean", "<script>window.stolen=1</script>\"🍒'")
HOSTILE_PATH = (
    "val/\"><img src=x onerror=window.stolen=1></script><script>window.stolen=1//é🍒'.png"
)


@dataclass
class Page(HTMLParser):
    """What a page holds, as far as tests ask."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""
    _inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += f" {data}"

    @classmethod
    def of(cls, html: str) -> Page:
        page = cls()
        page.feed(html)
        page.text = " ".join(page.text.split())
        return page

    @property
    def data(self) -> dict[str, Any]:
        place = [attrs for tag, attrs in self.tags if tag == "script"]
        index = next(i for i, attrs in enumerate(place) if attrs.get("id") == "page-data")
        return json.loads(self.scripts[index])

    def ids(self) -> set[str]:
        return {attrs["id"] or "" for _, attrs in self.tags if "id" in attrs}


def built(folder: Path, data: Path | None = None) -> Report:
    return build_report(folder, Source("small.yaml", (), data, folder.parents[1]))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "runs" / "small"
    for experiment in ("A", "B"):
        for seed in (1, 2):
            write_study_run(folder, experiment, seed)
    write_verdict(folder, {"A": [1, 2], "B": [1, 2]})
    return folder


@pytest.fixture(scope="module")
def page(study: Path) -> Page:
    return Page.of(render(built(study)))


def test_the_page_answers_first(page):
    order = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert order == [
        "answer",
        "explorer",
        "errors",
        "comparison",
        "training",
        "data",
        "provenance",
    ]
    for words in (
        "A fails nothing.",
        "1,204 more clean crops",
        "≥ 94.05 %",
        "90.9 % (89.0-92.6)",
        "it lies between the bounds",
        "undecided",
        "Settled by 1,412 further images",
        "seeds: 4 planned, 3 run",
        "B seed 7 has no result: killed by signal 9",
    ):
        assert words in page.text


def test_it_needs_no_network(page):
    links = [
        value or ""
        for _, attrs in page.tags
        for name, value in attrs.items()
        if name in ("src", "href", "action", "srcset")
    ]
    assert links
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_only_the_scripts_of_the_page_may_run(page):
    policy = next(
        attrs["content"]
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert "unsafe" not in re.sub(r"style-src 'unsafe-inline'", "", policy)
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    for kind, script in zip(kinds, page.scripts, strict=True):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert (f"'sha256-{digest}'" in policy) == (kind != "application/json")


def test_every_id_that_the_scripts_look_for_is_there(page):
    assets = Path(__file__).parents[2] / "src/drupe/reporting/assets"
    explorer = (assets / "explorer.js").read_text()
    wanted = {
        f"explorer-{name}" for name in re.findall(r'(?:field|writeText)\("([a-z-]+)"', explorer)
    }
    gallery = (assets / "gallery.js").read_text()
    wanted |= {f"gallery-{name}" for name in re.findall(r'part\("([a-z-]+)"\)', gallery)}
    wanted |= {chart["id"] for chart in page.data["charts"]}
    assert len(wanted) > 30
    assert wanted - page.ids() == set()


def test_every_chart_has_its_table_and_every_field_its_label(page):
    assert [chart["id"] for chart in page.data["charts"]] == [
        "accuracy-forest",
        "difference-forest",
        "roc",
        "recall-yield",
        "reliability",
        "pareto",
        "training-loss",
        "training-accuracy",
    ]
    tables = [attrs.get("aria-label") for tag, attrs in page.tags if tag == "div"]
    assert "ROC" in tables
    pictured = [attrs for tag, attrs in page.tags if attrs.get("role") == "img"]
    assert all(attrs.get("aria-label") for attrs in pictured)


def test_the_recommended_run_is_the_first_to_explore(study, tmp_path):
    folder = tmp_path / "runs" / "small"
    shutil.copytree(study, folder)
    write_verdict(
        folder,
        {"A": [1, 2], "B": [1, 2]},
        recommendation={"experiment": "B", "run": "B/seed-1", "text": "B", "changes_with": ""},
    )
    runs = [run.key for run in built(folder).explorer]
    assert runs == ["B/seed-1", "A/seed-1", "A/seed-2", "B/seed-2"]


def test_a_run_that_the_verdict_certifies_nothing_of_shows_its_own_certificate(study, tmp_path):
    folder = tmp_path / "runs" / "small"
    shutil.copytree(study, folder)
    document = json.loads((folder / "verdict.json").read_text())
    evidence = document["experiments"][0]["certificate"]
    for run in ("A/seed-1", "A/seed-2"):
        evaluation = json.loads((folder / run / "evaluation.json").read_text())
        (folder / run / "evaluation.json").write_text(
            json.dumps({**evaluation, "certificate": evidence})
        )
    document["experiments"][0]["certificate"] = None
    (folder / "verdict.json").write_text(json.dumps(document))

    certified = {run.key: run.certificate is not None for run in built(folder).explorer}

    # `drupe threshold` gave it, for another promise than the study's: it is about the run alone.
    assert certified == {"A/seed-1": True, "A/seed-2": True, "B/seed-1": True, "B/seed-2": False}


def test_the_explorer_counts_one_of_each_copies(tmp_path):
    folder = tmp_path / "runs" / "small"
    write_study_run(folder, "A", 1, copies=4)
    report = built(folder)
    run = report.explorer[0]
    assert run.clean.size + run.defects.size == 796 == report.images
    assert len(report.data.test_groups) == 1


def test_hostile_names_are_shown_and_not_run(tmp_path):
    folder = tmp_path / "runs" / "small"
    table = predictions(40, 2, quality=0.5)
    wrong = int(np.flatnonzero((table.scores >= 0.5) != table.is_defect)[0])
    paths = list(table.paths)
    paths[wrong] = HOSTILE_PATH
    write_study_run(folder, "A", 1, test=renamed(table, paths, HOSTILE_CLASSES))

    html = render(built(folder))
    page = Page.of(html)

    assert HOSTILE_PATH in page.text
    assert HOSTILE_CLASSES[1] in page.text
    assert HOSTILE_PATH in [item["path"] for item in page.data["mistakes"]]
    assert len(page.scripts) == 4  # theme, data, Plotly, page
    assert not any("onerror" in attrs for _, attrs in page.tags)
    for value in ("<script>window", "<img src=x"):
        assert value not in html


def test_without_a_verdict_the_runs_speak_for_themselves(tmp_path):
    folder = tmp_path / "runs" / "small"
    write_study_run(folder, "A", 1, epochs=0)
    page = Page.of(render(built(folder)))
    assert "There is no verdict yet" in page.text
    assert "No run recorded any epoch" in page.text
    assert "The dataset's folder could not be reached" in page.text
    assert [chart["id"] for chart in page.data["charts"]] == ["roc", "recall-yield", "reliability"]


@pytest.mark.parametrize(("epochs", "step"), [(3, 1), (10, 1), (30, 3), (31, 4)])
def test_the_axis_of_the_curves_has_a_tick_only_where_an_epoch_ends(tmp_path, epochs, step):
    folder = tmp_path / "runs" / "small"
    write_study_run(folder, "A", 1, epochs=epochs)

    charts = {one["id"]: one for one in Page.of(render(built(folder))).data["charts"]}

    axis = charts["training-loss"]["layout"]["xaxis"]
    assert (axis["tick0"], axis["dtick"]) == (1, step)


def test_pictures_come_from_the_dataset(study, small_synthetic, tmp_path):
    folder = tmp_path / "runs" / "small"
    crops = sorted((small_synthetic / "val").rglob("*.png"))
    paths = [path.relative_to(small_synthetic).as_posix() for path in crops]
    table = predictions(len(paths), 3, quality=0.5)
    write_study_run(folder, "A", 1, test=renamed(table, paths, table.classes))

    report = built(folder, small_synthetic)

    assert all(item.picture for item in report.gallery.mistakes)
    assert [len(sample.pictures) > 5 for sample in report.data.montage] == [True, True]
    assert "No pictures" not in render(report)
    assert "could not be reached" in render(built(folder, tmp_path / "nowhere"))


def audit_document(fingerprint: str) -> dict[str, Any]:
    return {
        "classes": {"clean": "cherry_clean", "defect": "cherry_pit"},
        "images": 2,
        "fingerprint": fingerprint,
        "per_split": {"train": {"cherry_clean": 1, "cherry_pit": 1}},
        "unreadable": 1,
        "blank_or_tiny": 0,
        "contradictory_labels": 0,
        "cross_split_duplicate_pairs": 1,
        "cross_split_near_duplicate_pairs": 0,
        "exact_duplicate_pairs": 1,
        "near_duplicate_pairs": 0,
        "has_errors": True,
        "findings": {
            "unreadable": [{"path": "train/<i>.png", "reason": "truncated file"}],
            "blank_or_tiny": [],
            "contradictory_labels": [],
            "cross_split_duplicates": [["train/1.png", "val/1.png"]],
            "exact_duplicates": [["train/1.png", "val/1.png"]],
            "near_duplicates": [],
        },
    }


def test_a_damaged_audit_is_named(tmp_path) -> None:
    from drupe.reporting.data_section import _audit

    crops, store = tmp_path / "crops", tmp_path / "store"
    for wrong in ([], {}, {**audit_document("f"), "per_split": 3}, {"classes": []}):
        write_json(audit_path(crops, store), wrong)
        with pytest.raises(InputError, match=r"\.json: must be what drupe data audit wrote"):
            _audit(crops, store, "f")


@pytest.mark.parametrize(("fingerprint", "stale"), [(FINGERPRINT, False), ("0" * 64, True)])
def test_the_last_audit_is_shown_and_says_if_it_is_of_other_data(tmp_path, fingerprint, stale):
    store = tmp_path / "store"
    folder, crops = store / "runs" / "small", tmp_path / "crops"
    crops.mkdir()
    write_study_run(folder, "A", 1)
    write_json(audit_path(crops, store), audit_document(fingerprint))

    text = Page.of(render(build_report(folder, Source("s.yaml", (), crops, store)))).text

    assert "train/<i>.png: truncated file" in text
    assert "train/1.png = val/1.png" in text
    assert ("saw other images" in text) == stale


def test_a_study_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="must hold a finished run"):
        built(tmp_path / "runs" / "small")


def test_a_damaged_verdict_is_named_with_its_key(study, tmp_path):
    folder = tmp_path / "runs" / "small"
    shutil.copytree(study, folder)
    document = json.loads((folder / "verdict.json").read_text())
    document["experiments"][0]["criteria"][0]["verdict"] = "perhaps"
    (folder / "verdict.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"criteria\.0\.verdict: must be 'pass', 'fail'"):
        built(folder)


def test_other_test_images_in_one_run_are_refused(tmp_path):
    folder = tmp_path / "runs" / "small"
    write_study_run(folder, "A", 1)
    write_study_run(folder, "A", 2, test=predictions(700, 2))
    with pytest.raises(InputError, match="A seed 2: paths: must be the same 800"):
        built(folder)


def test_the_same_files_give_the_same_page(study):
    assert render(built(study)) == render(built(study))
