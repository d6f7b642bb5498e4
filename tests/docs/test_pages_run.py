"""Every code block of README and docs is run or read as what it says it is."""

from __future__ import annotations

import ast
import csv
import doctest
import importlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from drupe.data.synthetic.rendering import render_crops
from drupe.data.table import COLUMNS
from drupe.line.station.configuration import load_line
from drupe.reporting.pdf import find_browser
from drupe.study.definition.loading import load_study
from drupe.training.config import ExperimentConfig, load_experiment
from drupe.tuning.space import parse_space
from page_blocks import PAGES, Block, all_blocks, commands
from page_folder import PageFolder, Pages, Printed

pytestmark = pytest.mark.thorough

C_SHARP = 'using var session = new InferenceSession("cherries.bundle/fp32.onnx");'

NOT_RUN = {
    ("docs/line.md", C_SHARP): "no C# here, and the page says so",
    (
        "docs/line.md",
        "drupe capture collect captured --out week-48",
    ): "waits for a person; tests/cli/test_capture.py goes all of the way",
    (
        "docs/deployment.md",
        "drupe export RUN gpu.bundle --backend onnxruntime-cuda --backend onnxruntime",
    ): "takes a GPU: tests/deployment/test_devices.py has one stand in",
    ("README.md", "$ make test"): "the suite doesn't run itself",
    (
        "docs/labels.md",
        "drupe labels review drupe-store/runs/train/lite0/seed-42/labels.csv --out review "
        "--reviewer ann --type pit --type stem",
    ): "waits for people; the page goes on without them",
    (
        "docs/labels.md",
        "drupe labels effect examples/lite0.yaml --data crops",
    ): "takes labels that people have changed; the page goes on without them",
    ("docs/tuning.md", "drupe tune balanced --data crops"): "90 runs; the page goes on with fewer",
    (
        "docs/inspection_engineer.md",
        "drupe labels review $RUN/labels.csv --out review --reviewer ann",
    ): "waits for a person",
    (
        "docs/ml_engineer.md",
        "drupe tune balanced --data synthetic-cherries --trials 20",
    ): "20 trials; the page of searches has one that is run",
    (
        "docs/serve.md",
        "drupe serve cherries.bundle --log decisions --monitor monitor --deadline 200",
    ): "serves until it is stopped: tests/cli/test_serve.py starts and asks it",
    (
        "docs/serve.md",
        "curl --data-binary @crop.png http://127.0.0.1:8180/decide",
    ): "asks the service: tests/line/service does",
    (
        "docs/serve.md",
        'curl -H "Authorization: Bearer $ADMIN" -d \'{"bundle": "cherries-2.bundle"}\' '
        "http://127.0.0.1:8180/admin/cherries/propose",
    ): "asks the service: tests/line/service does",
    (
        "docs/run_line.md",
        "curl --data-binary @crop.png -H 'Drupe-Item: piece-7' http://127.0.0.1:8181/decide",
    ): "asks a line that runs: tests/line/station/test_http.py does",
    ("docs/python.md", "import wandb"): "takes an account elsewhere",
    ("docs/studies.md", "pip install 'drupe[ray]'"): "installs from a network; needs a Ray cluster",
}
"""Blocks, by page and first line, that no test runs, and why."""

SLOW = {
    "drupe study run studies/offline.yaml training.epochs=3 input.crop=80 --data DIR --parallel 2",
    "drupe export RUN fast.bundle --precision auto",
    "torchrun --nproc-per-node 2 -m drupe train examples/lite0.yaml --data crops --resume",
    "drupe export runs/BASE resnet50.bundle --format pt",
    "drupe bench cherries.bundle --all --batch 1 --batch 16",
    "drupe bench cherries.bundle --pause 30",
    "drupe tune examples/lite0.yaml --space space.yaml --data crops --trials 2 --folds 2",
    "import torch, torchvision",  # loads what the command before leaves
}
"""Commands, and first lines of blocks, that only the slow tests run: they take half a minute."""

THRESHOLD = "drupe threshold drupe-store/runs/quickstart/PLAIN/seed-42"
CERTIFY = "drupe certify best.onnx crops --scale imagenet --unseen --out their.bundle"
ANSWER_IS_NO = {
    ("docs/quickstart.md", "drupe threshold $RUN"): "too few crops for 99 %",
    ("docs/quickstart.md", THRESHOLD): "too few crops for 99 %",
    ("README.md", THRESHOLD): "too few crops for 99 %",
    ("docs/import.md", CERTIFY): "too few crops for 99 %",
    ("docs/data.md", "drupe data audit crops"): "they have faults",
    ("docs/data.md", "drupe data audit crops --html audit.html"): "they have faults",
    ("docs/data.md", "drupe data audit crops --fix-list fixes.csv"): "they have faults",
}
"""Commands of a page that end with exit code 1, and why."""

NOT_THERE = {
    "int8.onnx": "takes --precision auto",
    "heatmap-N.png": "takes --explain",
    "types.safetensors": "takes types of defects",
    "EXPERIMENT/seed-N-cross-fit-K/fold-k/": "takes calibration: {crossfit: K}",
    "EXPERIMENT/threshold.json": "takes an experiment of the kind threshold",
    "EXPERIMENT/export.json": "takes a criterion of size or latency",
    "EXPERIMENT/bench.json": "takes a criterion of latency",
    "EXPERIMENT/bundle/": "takes a criterion of size or latency",
    "BASELINE/seed-N/": "takes a baseline from elsewhere",
    "superseded/": "takes a changed study",
    "drupe-store/smoke/runs/STUDY/": "takes --smoke",
    "drupe-store/tune/NAME/": "takes a search",
}
"""Names in listings of folders that a page's commands don't make, and what it takes."""

BORROWED = {
    "docs/extending.md": ("drupe.study.definition.spec", "drupe.study.verdict.evidence"),
}
"""Modules in which a page's Python fragments are meant to stand."""

LANES = ("accept", "review", "reject")


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"))


def blocks_of(page: str) -> list[Block]:
    return [block for block in all_blocks() if block.page == page]


def is_slow(page: str) -> bool:
    return any(_plain(one.text) in SLOW for block in blocks_of(page) for one in _commands(block))


def _commands(block: Block) -> list[Any]:
    return commands(block) if block.language in ("sh", "console") else []


def _plain(line: str) -> str:
    return line.partition(" #")[0].strip()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)])
def test_the_page_runs(pages: Pages, page: str) -> None:
    read(page, pages.folder(page, page.replace("/", "-")), skip=SLOW)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if is_slow(page)])
def test_the_whole_page_runs(pages: Pages, page: str) -> None:
    read(page, pages.folder(page, page.replace("/", "-") + "-whole"), skip=set())


def read(page: str, folder: PageFolder, skip: set[str]) -> None:
    """Run a page's blocks one after another, as a reader would."""
    reader = Reader(page, folder, skip)
    for block in blocks_of(page):
        if block.key not in NOT_RUN and block.key[1] not in skip:
            reader.languages[block.language](block)


class Reader:
    """What is known of a page so far: its folder, and the names of its Python blocks."""

    def __init__(self, page: str, folder: PageFolder, skip: set[str]) -> None:
        self.folder, self.skip = folder, skip
        self.languages: dict[str, Callable[[Block], None]] = {
            "sh": self.run_commands,
            "console": self.run_commands,
            "python": self.run_python,
            "yaml": self.load_yaml,
            "text": self.compare_text,
            "csv": self.read_rows,
            "csharp": lambda block: None,  # the page says that it isn't run here
        }
        self.names: dict[str, Any] = {"path": Path("their_calibration.csv")}
        for module in BORROWED.get(page, ()):
            self.names |= vars(importlib.import_module(module))
        images = render_crops(np.array([False, True, False]), 128, np.random.default_rng(0))
        self.names |= {"image": images[0], "images": images}
        self.names |= {"pixels": torch.from_numpy(images).permute(0, 3, 1, 2).float()}

    def run_commands(self, block: Block) -> None:
        for command in commands(block):
            plain = _plain(command.text)
            if plain in self.skip:
                continue
            printed = self.folder.run(command.text)
            where = f"{block}: {plain}\n{printed.everything}"
            assert printed.code == exit_code(block.page, plain), where
            assert "Traceback" not in printed.everything, where
            # What `make` runs prints its progress too; that of a command alone isn't shown.
            said = printed.everything if plain.startswith("make") else printed.stdout
            compare(command.shown, said, where)

    def run_python(self, block: Block) -> None:
        if block.text.startswith(">>>"):
            self._run_doctest(block)
            return
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder.path)
            for statement, shown in statements(block):
                if isinstance(statement, ast.Expr):
                    found = eval(compiled(ast.Expression(statement.value), block), self.names)
                    as_shown = shown is None or alike(shown, found)
                    assert as_shown, f"{block}: {shown!r}, got {found!r}"
                else:
                    exec(compiled(ast.Module([statement], []), block), self.names)

    def _run_doctest(self, block: Block) -> None:
        parsed = doctest.DocTestParser().get_doctest(
            block.text + "\n", self.names, str(block), block.page, block.line
        )
        assert parsed.examples
        report: list[str] = []
        failed, _ = doctest.DocTestRunner().run(parsed, out=report.append, clear_globs=False)
        self.names |= parsed.globs
        assert failed == 0, "".join(report)

    def read_rows(self, block: Block) -> None:
        """Read a table of a dataset: its columns are known, and each row has all of them."""
        header, *rows = csv.reader(block.text.splitlines())
        assert set(header) <= set(COLUMNS), str(block)
        assert rows, str(block)
        assert {len(row) for row in rows} == {len(header)}, str(block)

    def load_yaml(self, block: Block) -> None:
        """Load an experiment, study, space or line; part of a study stands in a whole one."""
        document = yaml.safe_load(block.text)
        if "sinks" in document:
            # What the page's next command names.
            (self.folder.path / "line.yaml").write_text(block.text)
            load_line(self.folder.path / "line.yaml")
            return
        if all("." in key for key in document):
            # What the page's next command names.
            (self.folder.path / "space.yaml").write_text(block.text)
            parse_space(document, {"model": {"architecture": "resnet50"}}, str(block))
            return
        file = self.folder.path / f"block-{block.line}.yaml"
        if document.keys() <= ExperimentConfig.model_fields.keys() and "model" not in document:
            document["model"] = {"architecture": "resnet50"}
            file.write_text(yaml.safe_dump(document))
        elif "model" in document or "study" in document:
            file.write_text(block.text)
        else:
            whole = {
                "study": "whole",
                "defaults": {"model": {"architecture": "resnet50"}},
                "experiments": [{"id": "BASE"}, {"id": "SMOOTH"}],
            }
            file.write_text(yaml.safe_dump(whole) + block.text)
        (self.folder.path / "model_best.pt").touch()
        (self.folder.path / "files.txt").touch()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder.path)
            load_experiment(file) if "model" in document else load_study(file)

    def compare_text(self, block: Block) -> None:
        """Compare a folder's listing with the folder, and output with what a command printed."""
        if not is_listing(block):
            outputs = [printed.everything for printed in self.folder.printed.values()]
            assert any(shows(f"...\n{block.text}\n...", output) for output in outputs), str(block)
            return
        for top, names in listings(block.text):
            if top in NOT_THERE:
                continue
            folders = sorted(self.folder.path.glob(pattern(top)))
            assert folders, f"{block}: {top}"
            made = [name for name in names if name not in NOT_THERE]
            for folder in folders:
                missing = [name for name in made if not any(folder.glob(pattern(name)))]
                assert missing == [], f"{block}: not in {top}"
                visible = {path for path in folder.iterdir() if not path.name.startswith(".")}
                listed = {
                    path for name in names for path in folder.glob(pattern(name).split("/")[0])
                }
                assert visible - listed == set(), f"{block}: {top} doesn't list them"


def exit_code(page: str, command: str) -> int:
    if command.endswith("--pdf") and find_browser() is None:
        return 2  # as the page says
    return 1 if (page, command) in ANSWER_IS_NO else 0


def compiled(tree: Any, block: Block) -> Any:
    mode = "eval" if isinstance(tree, ast.Expression) else "exec"
    return compile(tree, str(block), mode, dont_inherit=True)


def statements(block: Block) -> Iterator[tuple[ast.stmt, Any]]:
    """Yield the statements of a block, each with the value that its comment shows, or None."""
    lines = block.text.splitlines()
    for statement in ast.parse(block.text).body:
        assert statement.end_lineno is not None
        _, _, comment = lines[statement.end_lineno - 1].partition("  # ")
        try:
            yield statement, ast.literal_eval(comment)
        except (SyntaxError, ValueError):  # words, or nothing
            yield statement, None


def alike(shown: Any, found: Any) -> bool:
    """Return whether a value is what a page shows; a decision may be another one here."""
    return found in LANES if shown in LANES else bool(shown == found)


TRAINED: list[tuple[str, Callable[[re.Match[str]], str] | str]] = [
    # Rows of lanes and of paired differences: all their figures.
    (r"^((?:calibration|test), \w+|\w+ - \w+) .*", lambda m: f"{m[1]} {figures(m[0], m[1])}"),
    (r"\d+ accept, \d+ review, \d+ reject", "# accept, # review, # reject"),
    (
        r"at \d+ of (\d+ defects) missed, the chance\s+of so many or more would be [\d.]+ %|"
        r"none of its (\d+ defects) is missed",
        lambda m: f"# of {m[1] or m[2]} missed",
    ),
    # Drawing crops takes sines, whose last bits, so files and splits, depend on the processor.
    (r"\d+ (further )?calibration defects", r"# \1calibration defects"),
    # Next steps: their order and figures.
    (r"^(?: *[\d.]+ % +[\d.-]*|too few) {2,}.*(?:\n {20}.*)*", "a step"),
    (r"(?:a step\s+(?:\.\.\.\s+)?)+", "steps "),
    # What a study recommends, and what its bundle says of single crops.
    (r"^val/\S+ .*", ""),
    (r"\b(Take|Proven:) [A-Z]+", r"\1 #"),
    (r"of\s+\d+\s+defects\s+set\s+aside\s+for\s+this,\s+\d+\s+may", "of # defects, # may"),
    (r"of\s+\d+\s+clean\s+test\s+crops\s+it\s+accepts\s+\d+", "of # clean it accepts #"),
    (r"of\s+\d+\s+defects\s+\d+\s+slip", "of # defects # slip"),
    (r"misses \d+ of \d+", "misses #"),
    (r"(decisions turned +\d+) of \d+", r"\1 of #"),
    (r"^\d+ distinct defects in", "# distinct defects in"),
    (r"[+-]?\b\d+(\.\d+)?(-| to )[+-]?\d+(\.\d+)?", r"#\2#"),  # intervals
    (r"[+-]?\d[\d,]*\.\d+(e[+-]\d+)?", "#"),
    (r"(?<!\d)(0|100) %", "# %"),  # rates have decimals, but for these
]
"""Figures that depend on the trained networks and the machine, as a page and a test print them."""


def figures(line: str, label: str) -> str:
    row = re.sub(r"[<>+-]*\d[\d.,]*(e-\d+)?", "#", line[len(label) :])
    return re.sub(r"\b(yes|no)$", "#", row.strip())


def masked(text: str) -> str:
    """Return a text as words with one space between, trained figures as #."""
    for expression, placeholder in TRAINED:
        text = re.sub(expression, placeholder, text, flags=re.MULTILINE)
    return " ".join(text.split())


def shows(shown: str, printed: str) -> bool:
    """Return whether ``printed`` is what is ``shown``, where ``...`` stands for anything."""
    parts = [re.escape(part.strip()) for part in masked(shown).split("...")]
    return re.fullmatch(r"\s*.*?\s*".join(parts), masked(printed)) is not None


def compare(shown: str, printed: str, where: str) -> None:
    if shown.strip():
        assert shows(shown, printed), f"{where}\n--- shown:\n{masked(shown)}\n{masked(printed)}"


def is_listing(block: Block) -> bool:
    return block.language == "text" and block.text.split()[0].endswith("/")


def listings(text: str) -> list[tuple[str, list[str]]]:
    """Return the folders that a listing shows: each by its name, with the names in it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        names = re.match(r"\s*([^\s,]+(?:, [^\s,]+)*)", line)[1]  # what follows describes them
        if not line.startswith(" "):
            found.append((names, []))
            continue
        first, *others = names.split(", ")
        parent = f"{first.rpartition('/')[0]}/" if others and "/" in first else ""
        found[-1][1].extend([first, *(parent + other for other in others)])
    return found


def pattern(name: str) -> str:
    """Return a listing's name as a pattern of files: capitals and single letters vary."""
    here = name.replace("STUDY", "quickstart").rstrip("/")
    return re.sub(r"\b[A-Z]{2,}\b|(?<=-)[NKk]\b", "*", here)


def test_every_block_says_what_it_is() -> None:
    languages = Reader("", PageFolder(Path(os.devnull).parent, _never), set()).languages
    assert [str(block) for block in all_blocks() if block.language not in languages] == []


def _never(command: str) -> tuple[Printed, Path]:
    raise AssertionError(command)


def test_the_lists_of_exceptions_name_what_the_pages_hold() -> None:
    blocks = all_blocks()
    assert NOT_RUN.keys() <= {block.key for block in blocks}
    lines = {_plain(one.text) for block in blocks for one in _commands(block)}
    assert {key[1] for key in (block.key for block in blocks)} | lines >= SLOW
    paged = {(block.page, _plain(one.text)) for block in blocks for one in _commands(block)}
    assert ANSWER_IS_NO.keys() <= paged
    listed = {
        name
        for block in blocks
        if is_listing(block)
        for top, names in listings(block.text)
        for name in (top, *names)
    }
    assert NOT_THERE.keys() <= listed
