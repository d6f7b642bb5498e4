"""The notebook as a file, and each of its cells alone; ``test_notebook_runs`` executes it whole."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest
import yaml

from drupe import __version__
from drupe.errors import InputError
from drupe.reporting.notebook import (
    PLACEHOLDER,
    build_notebook,
    group_experiments,
    to_ipynb,
    to_script,
)
from drupe.study.definition.loading import load_study

REPOSITORY = Path(__file__).parents[2]
PHASE2 = REPOSITORY / "studies" / "phase2"
COMMITTED = REPOSITORY / "notebooks" / "phase2_colab.ipynb"


@pytest.fixture(scope="module")
def phase2():
    return build_notebook(load_study(PHASE2), "studies/phase2")


@pytest.fixture(scope="module")
def cells(phase2) -> dict[str, str]:
    return {step.name: step.code for step in phase2.steps}


def study_of(folder: Path, *experiments: dict[str, Any], baseline: str | None = "BASE"):
    document = {
        "study": "tiny",
        "criteria": {"accuracy": 0.9},
        "baseline": {"experiment": baseline} if baseline else {},
        "defaults": {"model": {"architecture": "test_resnet", "pretrained": False}},
        "experiments": [{"id": "BASE"}, *experiments],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    return load_study(folder / "tiny.yaml")


def grouped(study) -> list[list[str]]:
    return [[item.id for item in group] for group in group_experiments(study)]


# The files


def test_the_committed_notebook_is_that_of_the_study(phase2) -> None:
    again = "drupe study notebook studies/phase2"
    assert to_ipynb(phase2) == COMMITTED.read_text(encoding="utf-8"), again


def test_phase2_has_eleven_code_cells_in_their_order() -> None:
    document = nbformat.read(COMMITTED, as_version=4)
    nbformat.validate(document)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code] == [
        "settings",
        "install",
        "gpu",
        "data",
        "baseline",
        "experiments-exp-001",
        "experiments-exp-002a-exp-002b",
        "experiments-exp-003a-exp-003b",
        "experiments-exp-004",
        "verdict",
        "download",
    ]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert len({cell.id for cell in document.cells}) == len(document.cells) == 22


def test_every_experiment_has_a_skip_flag_and_a_cell(phase2, cells) -> None:
    settings: dict[str, Any] = {}
    exec(cells["settings"], settings)
    ids = [item.id for item in load_study(PHASE2).spec.experiments]
    assert settings["SKIP"] == dict.fromkeys(ids, False)
    assert (settings["SMOKE"], settings["ALLOW_CPU"], settings["SOURCE"]) == (False, False, "")
    assert settings["DRIVE"] + "/" + settings["CHECKPOINT"] == (
        "MyDrive/cherry_experiments/resnet50_augmented_unnormalized/model_best.pt"
    )
    for name in ids:
        assert any(name in step.text for step in phase2.steps[4:])


def test_the_script_runs_the_same_code(phase2) -> None:
    script = to_script(phase2)
    blocks = [part for part in script.split("# %%") if not part.startswith(" [markdown]")][1:]
    assert [block.strip() for block in blocks] == [step.code for step in phase2.steps]


def test_no_placeholder_and_no_path_of_this_machine_is_left(phase2) -> None:
    text = to_script(phase2)
    assert PLACEHOLDER.findall(text) == []
    assert str(REPOSITORY) not in text


# Which experiments share a cell


def test_the_offline_study_is_grouped_like_phase2() -> None:
    offline = load_study(REPOSITORY / "studies" / "offline.yaml")
    assert grouped(offline) == grouped(load_study(PHASE2))


def test_too_many_groups_are_put_together_and_conditions_stay_last(tmp_path) -> None:
    conditional = {"id": "EARLY", "when": {"none_of": ["A1", "C1"], "meet": "accuracy"}}
    others = [{"id": name} for name in ("A1", "B1", "C1", "D1", "E1")]
    study = study_of(tmp_path, conditional, *others)
    assert grouped(study) == [["A1", "B1"], ["C1", "D1"], ["E1"], ["EARLY"]]


def test_a_large_group_is_split_where_there_are_too_few(tmp_path) -> None:
    study = study_of(tmp_path, *({"id": f"EXP-1{letter}"} for letter in "ABCDE"))
    assert grouped(study) == [["EXP-1A"], ["EXP-1B"], ["EXP-1C"], ["EXP-1D", "EXP-1E"]]


def test_too_few_experiments_or_no_baseline_are_one_message(tmp_path) -> None:
    with pytest.raises(InputError, match="needs as many experiments for them, got 1"):
        build_notebook(study_of(tmp_path, {"id": "A"}), "tiny.yaml")
    with pytest.raises(InputError, match=r"needs baseline\.experiment, got none"):
        build_notebook(study_of(tmp_path, {"id": "A"}, baseline=None), "tiny.yaml")


def test_what_a_study_says_is_text_in_every_cell(tmp_path) -> None:
    others = [{"id": f"E{i}", "title": 'x"""\n# %%\nimport os'} for i in range(4)]
    notebook = build_notebook(study_of(tmp_path, *others), 'a"b/tiny.yaml')
    compile(to_script(notebook), "twin.py", "exec")
    settings: dict[str, Any] = {}
    exec(notebook.steps[0].code, settings)
    assert settings["STUDY"] == 'a"b/tiny.yaml'
    assert "os" not in settings


# Each cell alone


class Commands:
    """Stands for ``subprocess``: git runs, everything else is only written down."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.words: list[list[str]] = []
        real = subprocess.Popen

        def start(words, *rest, **options):
            self.words.append(list(words))
            return real(words if words[0] == "git" else ["true"], *rest, **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    def of(self, name: str) -> list[list[str]]:
        return [words for words in self.words if name in words]


@pytest.fixture
def install(cells, tmp_path, monkeypatch):
    """Run the cell that installs; return its names and what it ran."""

    def run(source: str) -> tuple[dict[str, Any], Commands]:
        with monkeypatch.context() as patched:
            commands = Commands(patched)
            names = {"SOURCE": source, "LOCAL": str(tmp_path / "local"), "MOUNT": "/nowhere"}
            exec(cells["install"], names)
        return names, commands

    return run


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_an_old_checkout_is_updated_and_local_changes_go(install, tmp_path) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    git(upstream, "init", "--quiet")
    (upstream / "code.py").write_text("old")
    git(upstream, "add", ".")
    git(upstream, "commit", "--quiet", "-m", "old")
    names, _ = install(upstream.as_uri())
    checkout = names["SOURCE_FOLDER"]
    assert (checkout / "code.py").read_text() == "old"
    (checkout / "code.py").write_text("changed here")
    (checkout / "left over.py").write_text("")
    (upstream / "code.py").write_text("new")
    git(upstream, "commit", "--quiet", "-a", "-m", "new")

    install(upstream.as_uri())

    assert (checkout / "code.py").read_text() == "new"
    assert not (checkout / "left over.py").exists()


def test_installing_keeps_the_torch_that_is_there(install, tmp_path) -> None:
    _, commands = install("drupe")

    (pip,) = commands.of("pip")
    assert pip[-1] == "drupe[train]"
    constraints = Path(pip[pip.index("--constraint") + 1])
    versions = {name: importlib.metadata.version(name) for name in ("torch", "torchvision")}
    assert constraints.read_text().splitlines() == [f"{k}=={v}" for k, v in versions.items()]


def test_a_folder_is_installed_and_nothing_where_drupe_is_there(install, tmp_path) -> None:
    (tmp_path / "mine").mkdir()
    names, commands = install(str(tmp_path / "mine"))
    assert commands.of("pip")[0][-1] == f"{tmp_path / 'mine'}[train]"
    assert names["SOURCE_FOLDER"] == tmp_path / "mine"

    names, commands = install("")
    assert commands.of("pip") == []
    assert names["SOURCE_FOLDER"] is None


def test_a_command_says_what_it_says_and_wrong_input_stops_the_notebook(install, capfd) -> None:
    names, _ = install("")
    assert names["drupe"]("--version") == 0
    assert capfd.readouterr().out == f"drupe {__version__}\n"
    with pytest.raises(RuntimeError, match=r"drupe studdy: exit code 2"):
        names["drupe"]("studdy")


def test_a_source_that_does_not_answer_stops_the_notebook(install, tmp_path) -> None:
    with pytest.raises(RuntimeError, match=r"exit code 128: git .* clone"):
        install((tmp_path / "nowhere.git").as_uri())


def gpu_cell(cells, monkeypatch, devices: list[str], **settings: Any) -> dict[str, Any]:
    document = {"devices": [{"device": name, "name": f"a {name}"} for name in devices]}
    said = SimpleNamespace(stdout=json.dumps(document).encode())
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: said)
    names: dict[str, Any] = {"subprocess": subprocess, "sys": sys, "FOLDER": Path()}
    exec(cells["settings"], names)
    names |= settings
    exec(cells["gpu"], names)
    return names


def test_without_a_gpu_training_is_refused(cells, monkeypatch) -> None:
    with pytest.raises(RuntimeError, match=r"no GPU: BASE, EXP-002A, .* would train for days"):
        gpu_cell(cells, monkeypatch, ["cpu"])


@pytest.mark.parametrize("settings", [{"ALLOW_CPU": True}, {"SMOKE": True}])
def test_the_stop_can_be_overridden(cells, monkeypatch, settings) -> None:
    gpu_cell(cells, monkeypatch, ["cpu"], **settings)


def test_a_gpu_or_nothing_to_train_lets_it_go_on(cells, monkeypatch, capsys) -> None:
    gpu_cell(cells, monkeypatch, ["cpu", "cuda:0"])
    assert capsys.readouterr().out == "GPU: a cuda:0\n"
    trained = {item.id for item in load_study(PHASE2).spec.training}
    ids = [item.id for item in load_study(PHASE2).spec.experiments]
    names = gpu_cell(cells, monkeypatch, ["cpu"], SKIP={name: name in trained for name in ids})
    names["SKIP"]["EXP-002A"] = False  # a later cell alone is refused too
    with pytest.raises(RuntimeError, match="no GPU: EXP-002A would"):
        names["require_gpu"]("EXP-001", "EXP-002A")


@pytest.fixture
def data(cells, tmp_path):
    """Run the cell of Drive and data with commands that are only written down; return its names."""

    def run(colab: bool = False, **settings: Any) -> dict[str, Any]:
        names: dict[str, Any] = {"ran": [], "shutil": shutil, "Path": Path}
        names |= {"sys": sys, "json": json, "SOURCE_FOLDER": None, "IN_COLAB": colab}
        names |= {
            "DRUPE": ("drupe",),
            "require_gpu": lambda *ids: None,
            "FOLDER": tmp_path / "local",
        }
        names["drupe"] = lambda *words: names["ran"].append([str(word) for word in words]) or 0
        names["drive"] = SimpleNamespace(mount=lambda place: None)
        exec(cells["settings"], names)
        names |= {"MOUNT": str(tmp_path / "mount"), "STUDY": str(PHASE2)} | settings
        names["FOLDER"].mkdir(exist_ok=True)
        exec(cells["data"], names)
        return names

    return run


def crops(folder: Path) -> Path:
    for name in ("train/clean", "train/pit"):
        (folder / name).mkdir(parents=True)
        (folder / name / "a.png").write_text(name)
    return folder


def test_without_data_the_public_set_is_fetched(data, tmp_path) -> None:
    names = data()
    assert names["ran"] == [["data", "fetch", str(tmp_path / "local/images/cherries")]]
    assert names["RESULTS"] == tmp_path / "local"


def test_named_data_that_is_missing_is_not_replaced_by_other_data(data) -> None:
    with pytest.raises(RuntimeError, match=r"DATA: must be a folder or a \.zip"):
        data(DATA="typo")


def test_a_zip_is_unpacked_once(data, tmp_path) -> None:
    crops(tmp_path / "made" / "crops")
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        for path in sorted((tmp_path / "made").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path / "made"))

    names = data(DATA=str(tmp_path / "my.zip"))

    assert (names["CROPS"] / "train" / "pit" / "a.png").read_text() == "train/pit"
    (names["CROPS"] / "mark").touch()
    assert (data(DATA=str(tmp_path / "my.zip"))["CROPS"] / "mark").exists()


def test_in_colab_results_lie_on_the_drive_and_images_do_not(data, tmp_path) -> None:
    home = tmp_path / "mount" / "MyDrive" / "cherry_experiments"
    crops(home / "data")

    for _ in range(2):  # the second time the links are there
        names = data(colab=True)

    assert names["CROPS"] == tmp_path / "local" / "images" / "data"
    assert (names["CROPS"] / "train" / "clean" / "a.png").exists()
    names["STUDY_FOLDER"].mkdir(parents=True)
    (names["STUDY_FOLDER"] / "verdict.json").touch()
    assert (home / "store" / "runs" / "phase2" / "verdict.json").exists()
    (names["STORE"] / "packed").mkdir()
    assert not (home / "store" / "packed").exists()


def chosen(words: list[str], option: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == option]


def test_each_experiment_cell_runs_its_own_and_what_it_needs(data, cells) -> None:
    names = data()
    names["ran"].clear()
    exec(cells["baseline"], names)
    for name in cells:
        if name.startswith("experiments"):
            exec(cells[name], names)
    assert [chosen(words, "--only") for words in names["ran"]] == [
        ["BASE"],
        ["EXP-001", "BASE"],
        ["EXP-002A", "EXP-002B"],
        ["EXP-003A", "EXP-003B"],
        ["EXP-004", "EXP-002A", "EXP-002B", "EXP-003A", "EXP-003B"],
    ]
    assert all("--smoke" not in words for words in names["ran"])


def test_skipped_experiments_are_left_out_everywhere(data, cells, capsys) -> None:
    names = data(SMOKE=True)
    names["ran"].clear()
    names["SKIP"] |= {"EXP-003A": True, "EXP-003B": True, "BASE": True}
    for name in ("baseline", "experiments-exp-001", "experiments-exp-003a-exp-003b"):
        exec(cells[name], names)
    assert [chosen(words, "--only") for words in names["ran"]] == [["EXP-001"]]
    # A threshold would bring the run that it is about along.
    assert chosen(names["ran"][0], "--skip") == ["BASE"]
    assert "--smoke" in names["ran"][0]
    said = capsys.readouterr().out
    assert "skipped: EXP-003A, EXP-003B" in said
    assert "EXP-001: needs a run of BASE, which is left out" in said


def test_a_checkpoint_on_the_drive_takes_the_place_of_the_baseline(data, cells, tmp_path) -> None:
    model = tmp_path / "local" / "resnet50_augmented_unnormalized" / "model_best.pt"
    model.parent.mkdir(parents=True)
    model.touch()
    names = data()
    exec(cells["baseline"], names)
    words = names["ran"][-1]
    assert (chosen(words, "--only"), chosen(words, "--skip")) == (["BASE"], ["BASE"])
    overrides = {
        f"baseline.checkpoint.file={model}",
        "baseline.checkpoint.architecture=resnet50",
        "baseline.checkpoint.picked_on_test=true",
    }
    assert overrides <= set(words)
    exec(cells["experiments-exp-002a-exp-002b"], names)
    assert overrides <= set(names["ran"][-1])
    changed = load_study(PHASE2, _tree(overrides)).spec.baseline.checkpoint
    assert (changed.file, changed.picked_on_test) == (model, True)


def _tree(words) -> dict[str, Any]:
    from drupe.configuration import parse_overrides

    return parse_overrides(sorted(words))


def test_a_checkpoint_that_can_not_be_used_stops_the_notebook(data, cells, tmp_path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "model.pt").touch()
    names = data(CHECKPOINT="model.pt")
    names["drupe"] = lambda *words: 1
    with pytest.raises(RuntimeError, match="the baseline has no result"):
        exec(cells["baseline"], names)


@pytest.fixture
def verdict(data, cells, monkeypatch):
    """Run the cell of the verdict; ``report`` is the page that the command makes, None for none."""

    def run(report: str | None, **settings: Any) -> list[Any]:
        shown: list[Any] = []
        display = ModuleType("IPython.display")
        vars(display).update(HTML=lambda text: text, Markdown=lambda text: f"md {text}")
        vars(display).update(display=shown.append)
        monkeypatch.setitem(sys.modules, "IPython.display", display)
        names = data(**settings)
        folder = names["STUDY_FOLDER"]
        folder.mkdir(parents=True)
        kind = "smoke" if names["SMOKE"] else "verdict"
        (folder / f"{kind}.md").write_text("the answer")
        decision = {"recommendation": {"experiment": "EXP-003A"}}
        (folder / f"{kind}.json").write_text(json.dumps(decision))
        bundle = folder / "EXP-003A" / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "bundle.json").write_text("{}")

        def stream(*words: object) -> int:
            assert "report" in words
            if report is not None:
                Path(str(words[-1])).write_text(report)
            return 2 if report is None else 0

        names["stream"] = stream
        exec(cells["verdict"], names)
        exec(cells["download"], names)
        shown.append(sorted(zipfile.ZipFile(names["ARCHIVE"]).namelist()))
        return shown

    return run


BUNDLE = "EXP-003A/bundle/bundle.json"


def test_the_report_is_shown_inline_and_downloaded(verdict) -> None:
    page, packed = verdict('<html title="a">')
    assert 'srcdoc="&lt;html title=&quot;a&quot;&gt;"' in page
    assert packed == [BUNDLE, "report.html", "verdict.json", "verdict.md"]


def test_without_a_report_the_verdict_is_shown(verdict) -> None:
    assert verdict(None) == ["md the answer", [BUNDLE, "verdict.json", "verdict.md"]]


def test_a_smoke_test_shows_its_checks(verdict) -> None:
    assert verdict("<html>", SMOKE=True) == ["md the answer", [BUNDLE, "smoke.json", "smoke.md"]]
