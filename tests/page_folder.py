"""The folder in which the documentation is tried out: the names that its pages use are there.

Commands are run as they stand. What they name is small: ``studies/`` and ``examples/`` are the
shipped files with tiny networks and few epochs, images are synthetic.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from drupe.cli.app import main
from drupe.configuration import merge
from drupe.data.synthetic.generation import synthesise
from drupe.evaluation.predictions_csv import write_predictions
from drupe.training.presets import NAMES
from onnx_files import classifier
from page_blocks import REPOSITORY
from run_files import decided

MAKE_STUDY = "make study"
TRAIN = "drupe train examples/lite0.yaml --data crops"
STUDY = "drupe study run studies/quickstart.yaml --data crops"
IMPORT = (
    "drupe import model_best.pt --architecture resnet50 --out runs/BASE "
    "--trained-on files.txt --data crops"
)
RUN_ONCE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    MAKE_STUDY: ("README.md", (".venv", "synthetic-cherries", "drupe-store")),
    TRAIN: ("docs/training.md", ("drupe-store",)),
    STUDY: ("docs/quickstart.md", ("drupe-store",)),
    IMPORT: ("docs/import.md", ("runs",)),
}
"""Commands of several pages: whose page's folder each is run in, and what it leaves for all."""

DONE_BEFORE: Mapping[str, tuple[str, ...]] = {
    "docs/deployment.md": (TRAIN, IMPORT),
    "docs/extending.md": (TRAIN,),
    "docs/faq.md": (TRAIN,),
    "docs/poor_yield.md": (TRAIN,),
    "docs/labels.md": (TRAIN,),
    "docs/line.md": (TRAIN,),
    "docs/run_line.md": (TRAIN,),
    "docs/quickstart.md": (TRAIN,),
    "docs/report.md": (STUDY,),
    "docs/studies.md": (STUDY,),
    "docs/threshold.md": (TRAIN, STUDY),
}
"""The commands of other pages on whose results a page goes on."""

SMALL: dict[str, Any] = {
    "input": {"crop": 64},  # pixels
    "augmentation": {"flips": True, **dict.fromkeys(("rotation", "shift", "zoom"), 0)}
    | dict.fromkeys(("brightness", "contrast", "saturation", "hue", "motion_blur"), 0),
    # Several threads cost tiny networks more than they bring.
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 3e-3, "threads": 1},
}
TINY_NETWORK = {"architecture": "test_efficientnet", "pretrained": False}
PYTHON3 = """\
#!/bin/sh
# Python for `make`: a virtual environment is this file again, and pip has nothing to do.
case "$1 $2" in
"-m venv")
    mkdir -p "$3/bin" && touch "$3/bin/activate"
    cp "$0" "$3/bin/python"
    cp "$(dirname "$0")/drupe" "$3/bin/drupe" ;;
"-m pip") ;;
*) exec "{python}" "$@" ;;
esac
"""


@dataclass(frozen=True)
class Printed:
    """An ended command: its exit code, its stdout, and stdout and stderr as they came."""

    code: int
    stdout: str
    everything: str


class PageFolder:
    """A folder in which a page's commands are run, one after another."""

    def __init__(self, path: Path, once: Callable[[str], tuple[Printed, Path]]) -> None:
        self.path = path
        self._once = once
        self._variables: dict[str, str] = {}
        self.printed: dict[str, Printed] = {}
        path.mkdir(parents=True, exist_ok=True)

    def run(self, line: str) -> Printed:
        """Run a line for a shell; what was run before is not run again."""
        command = Template(line.partition(" #")[0].strip()).safe_substitute(self._variables)
        if command not in self.printed:
            if command in RUN_ONCE:
                self.printed[command], left = self._once(command)
                self.take(left, RUN_ONCE[command][1])
            else:
                self.printed[command] = self.run_here(command)
        return self.printed[command]

    def run_here(self, command: str) -> Printed:
        words = shlex.split(command)
        name, _, value = command.partition("=")
        if len(words) == 1 and name.isidentifier():
            self._variables[name] = value
            return Printed(0, "", "")
        if Path(words[0]).name == "drupe" and "|" not in words:
            return self._in_process(words[1:])
        return self._in_shell(command)

    def take(self, folder: Path, names: tuple[str, ...]) -> None:
        """Copy what another command left, images as links."""
        for name in names:
            target = self.path / name
            if name == "synthetic-cherries":
                target.symlink_to(folder / name)
            else:
                shutil.copytree(folder / name, target, symlinks=True, dirs_exist_ok=True)

    def _environment(self) -> dict[str, str]:
        # What `make test` tells a `make` below it would show in the output.
        kept_back = ("DRUPE_", "MAKE", "MFLAGS")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(kept_back)}
        places = (self.path / "bin", Path(sys.executable).parent, inherited["PATH"])
        path = os.pathsep.join(map(str, places))
        shown = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
        return {**inherited, **shown, "PATH": path}

    def _in_process(self, words: list[str]) -> Printed:
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.path)
            for name, value in self._environment().items():
                patched.setenv(name, value)
            patched.setattr(sys, "argv", ["drupe", *words])
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                main()
        code = ended.value.code
        printed = out.getvalue()
        return Printed(code if isinstance(code, int) else 0, printed, printed + err.getvalue())

    def _in_shell(self, command: str) -> Printed:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Printed(done.returncode, done.stdout, done.stdout)


class Pages:
    """Folders for all pages, and what they share, made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._done: dict[str, tuple[Printed, Path]] = {}

    def folder(self, page: str, name: str) -> PageFolder:
        """Return a new folder in which everything lies that ``page`` takes for granted."""
        folder = PageFolder(self.root / name, self.once)
        self._write_files(folder.path)
        for command in DONE_BEFORE.get(page, ()):
            folder.run(command)
        for name, source in self._names(page, folder).items():
            target = folder.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        return folder

    def once(self, command: str) -> tuple[Printed, Path]:
        """Run one of :data:`RUN_ONCE`, or return what it printed and where it ran."""
        if command not in self._done:
            number = list(RUN_ONCE).index(command)
            folder = self.folder(RUN_ONCE[command][0], f"once-{number}")
            printed = folder.run_here(command)
            assert printed.code == 0, f"{command}\n{printed.everything}"
            self._done[command] = printed, folder.path
        return self._done[command]

    def _names(self, page: str, folder: PageFolder) -> dict[str, Path]:
        """Return what a page names beside the files of the repository, and where it lies."""
        run = folder.path / "drupe-store/runs/train/lite0/seed-42"
        crops = {"crops": self.crops}
        wide = self.images("wide", images=160, seed=4)
        fresh = self.labelled("fresh", images=720, seed=6, val_share=0.05) / "train"
        tables = {
            name: self.table(name)
            for name in ("their_calibration.csv", "ours_test.csv", "theirs_test.csv")
        }
        names: dict[str, dict[str, Path]] = {
            "docs/deployment.md": {"RUN": run, "FRESH": fresh, **self.camera()},
            "docs/faq.md": {"RUN": run, "week-47": fresh},
            "docs/line.md": {"RUN": run, **self.camera()},
            "docs/run_line.md": {"RUN": run, **self.camera()},
            "docs/poor_yield.md": {"RUN": run},
            "docs/import.md": {"crops": wide, **self.checkpoint(wide), "best.onnx": self.onnx},
            "docs/offline.md": {"DIR": wide},
            "docs/threshold.md": {"RUN": run, **tables, "typed.csv": self.typed_table()},
            "docs/data.md": {"crops": self.images("faulty", images=200, seed=5, leaks=3)},
        }
        return names.get(page, crops)

    @property
    def crops(self) -> Path:
        return self.labelled("crops", images=1500, seed=3, val_share=0.05)

    def images(self, name: str, **options: Any) -> Path:
        folder = self.root / "images" / name
        if not folder.exists():
            synthesise(folder, **options)
        return folder

    def labelled(self, name: str, **options: Any) -> Path:
        """Return crops with few clean ones: what certifies 99 % recall are defects."""
        folder = self.images(name, **options)
        for file in sorted((folder / "train/cherry_clean").glob("*"))[150:]:
            file.unlink()
        return folder

    def camera(self) -> dict[str, Path]:
        """Return a camera's folders: crops by day, and the mark of the last look."""
        folder = self.root / "images" / "camera"
        if not folder.exists():
            folder.mkdir()
            (folder / "mark").touch()
            os.utime(folder / "mark", (0, 0))
            for place, day in enumerate(("monday", "today")):
                (folder / day).mkdir()
                for file in sorted((self.crops / "val").rglob("*.png"))[place::2]:
                    shutil.copyfile(file, folder / day / file.name)
        return {"crops": folder, "camera": folder, "mark": folder / "mark"}

    def checkpoint(self, crops: Path) -> dict[str, Path]:
        """Return a checkpoint of torchvision's ResNet50 and the list of its training files."""
        file = self.root / "model_best.pt"
        listed = self.root / "files.txt"
        if not file.exists():
            import torch
            import torchvision

            torch.manual_seed(0)
            torch.save(torchvision.models.resnet50(num_classes=2).state_dict(), file)
            paths = sorted((crops / "train").rglob("*.png"))[:5]
            listed.write_text("".join(f"{path.relative_to(crops)}\n" for path in paths))
        return {"model_best.pt": file, "files.txt": listed}

    @property
    def onnx(self) -> Path:
        """Return somebody's classifier of the crops."""
        return classifier(self.root / "best.onnx", shape=["N", 3, 128, 128])

    def table(self, name: str) -> Path:
        """Return a CSV of scores with the classes *good* and *bad*."""
        file = self.root / name
        if not file.exists():
            table = decided(800, wrong=(1, 2) if name.startswith("theirs") else (3,))
            write_predictions(file, table.__class__(**{**vars(table), "classes": ("good", "bad")}))
        return file

    def typed_table(self) -> Path:
        """Return a CSV of scores with the types *pit* and *stem*, of two cameras."""
        file = self.root / "typed.csv"
        table = decided(800)
        types = tuple("pit" if k < 250 else "stem" if k < 400 else "" for k in range(len(table)))
        cameras = tuple(f"camera-{k % 2}" for k in range(len(table)))
        write_predictions(file, replace(table, types=types, groups=cameras))
        return file

    def _write_files(self, folder: Path) -> None:
        """Put in what a checkout holds and the pages name, with tiny networks."""
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copyfile(REPOSITORY / name, folder / name)
        for source in [*REPOSITORY.glob("studies/**/*.yaml"), *REPOSITORY.glob("examples/*.yaml")]:
            write_small(source, folder / source.relative_to(REPOSITORY))
        for name in NAMES:  # a file of a preset's name comes before the preset
            shutil.copyfile(folder / "examples" / f"{name}.yaml", folder / name)
        shutil.copyfile(folder / "studies/offline.yaml", folder / "my.yaml")
        plain = merge(SMALL, {"model": {"architecture": "plain", "pretrained": False}})
        (folder / "plain.yaml").write_text(yaml.safe_dump(plain))
        (folder / "bin").mkdir()
        for name, text in {
            "drupe": f'#!/bin/sh\nexec "{sys.executable}" -m drupe "$@"\n',
            "next-program": "#!/bin/sh\nexec cat\n",
            "python3": PYTHON3.format(python=sys.executable),
        }.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)


def write_small(source: Path, target: Path) -> None:
    """Write an experiment or study file with tiny networks, few epochs and small crops."""
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    if "model" in document:
        # Half of the few crops certify, so that 99 % recall can be.
        document = merge(document, {**SMALL, "calibration": {"holdout": 0.5}})
    elif "study" in document:
        document["defaults"] = merge(document.get("defaults", {}), SMALL)
    for config in (
        document,
        document.get("defaults", {}),
        document.get("config", {}),
        *(one.get("config", {}) for one in document.get("experiments", [])),
    ):
        if "model" in config:
            config["model"] = TINY_NETWORK
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
