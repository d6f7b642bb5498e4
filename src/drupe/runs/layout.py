"""The files of a run directory, and the places of runs in a study's.

These names stand nowhere else in the package::

    STORE/runs/STUDY/EXPERIMENT/
      seed-N/                      a run directory, which :class:`RunFolder` knows
      seed-N-cross-fit-K/fold-I/   the runs of a cross-fit, which score what they have left out
      seed-N-cross-fit-K/fold-I-seed-M/   the same of further seeds
      seed-N-teachers/recipe-J/fold-I/   the runs whose scores of a fold of fit a student learns
      seed-N.yaml, seed-N.log      what a study asked of the run, and what it said
      bundle/                      what was exported of the experiment's first seed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RECORD_FILE = "run.json"
CONFIG_FILE = "config.yaml"
EPOCHS_FILE = "metrics.jsonl"
WEIGHTS_FILE = "model.safetensors"
GRAPH_FILE = "model.onnx"
TYPES_FILE = "types.safetensors"
EVALUATION_FILE = "evaluation.json"
LOCK_FILE = ".lock"
TEMPORARY_SUFFIX = ".tmp"


@dataclass(frozen=True)
class RunFolder:
    """The files of the run in ``path``, whether they exist or not."""

    path: Path

    @property
    def record(self) -> Path:
        """The run's own account: see :mod:`drupe.runs.record`."""
        return self.path / RECORD_FILE

    @property
    def config(self) -> Path:
        """The configuration, every default spelled out."""
        return self.path / CONFIG_FILE

    @property
    def epochs(self) -> Path:
        """A line per epoch: see :mod:`drupe.runs.epoch_log`."""
        return self.path / EPOCHS_FILE

    @property
    def weights(self) -> Path:
        """The network."""
        return self.path / WEIGHTS_FILE

    @property
    def graph(self) -> Path:
        """What decides in the place of weights, of a run that came as an ONNX file."""
        return self.path / GRAPH_FILE

    @property
    def types(self) -> Path:
        """The head that tells types of defects; only where the data has such."""
        return self.path / TYPES_FILE

    @property
    def evaluation(self) -> Path:
        """Counts, rates and the certificate: see :mod:`drupe.runs.evaluation_file`."""
        return self.path / EVALUATION_FILE

    @property
    def duplicates(self) -> Path:
        """The predicted items that are copies of each other."""
        return self.path / "predictions" / "duplicates.json"

    @property
    def checkpoint(self) -> Path:
        """The state that an unfinished run goes on from; its folder goes when the run is done."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def training_files(self) -> Path:
        """The SHA-256 (hex) of each file that the network has learnt from, one a line."""
        return self.path / "trained-on.txt"

    @property
    def items(self) -> Path:
        """The items that the run saw: see :mod:`drupe.runs.items`."""
        return self.path / "items.csv"

    @property
    def label_ranking(self) -> Path:
        """The items in the order in which a person should look at their labels."""
        return self.path / "labels.csv"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the run."""
        return self.path / LOCK_FILE

    @property
    def log(self) -> Path:
        """The messages of the run while a study did it, beside the run directory."""
        return self.path.parent / f"{self.path.name}.log"

    @property
    def order(self) -> Path:
        """The experiment file that a study gave the run; it lies beside the run directory."""
        return self.path.parent / f"{self.path.name}.yaml"

    def predictions(self, split: str) -> Path:
        """Return the table of a split's predictions."""
        return self.path / "predictions" / f"{split}.csv"

    def fold(self, number: int, folds: int, seed: int | None = None) -> Path:
        """Return the run directory that leaves fold ``number`` (from 0) of ``folds`` out.

        ``seed``: None for the seed of this run itself.
        """
        name = f"fold-{number}" + ("" if seed is None else f"-seed-{seed}")
        return self.path.parent / f"{self.path.name}-cross-fit-{folds}" / name

    def teacher(self, recipe: int, fold: int) -> Path:
        """Return the run directory of a teacher that hasn't seen ``fold`` (from 0) of fit."""
        folder = self.path.parent / f"{self.path.name}-teachers"
        return folder / f"recipe-{recipe}" / f"fold-{fold}"


def seed_folder(experiment: Path, seed: int) -> Path:
    """Return the run directory of a seed below its experiment's folder."""
    return experiment / f"seed-{seed}"


def bundle_folder(experiment: Path) -> Path:
    """Return where a study exports an experiment to."""
    return experiment / "bundle"


def runs_below(folder: Path, experiment: str | None = None) -> list[Path]:
    """Return the run directories of all seeds in ``folder``, sorted.

    ``experiment``: those of its subfolder of that name, ``*`` for all; None: its own.
    """
    seeds = f"seed-*/{RECORD_FILE}"
    pattern = seeds if experiment is None else f"{experiment}/{seeds}"
    return sorted(path.parent for path in folder.glob(pattern))


def is_leftover(name: str) -> bool:
    """Return whether a run that dies before its record is written leaves a file of this name."""
    is_temporary = name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)
    return name in {LOCK_FILE, f"{LOCK_FILE}.held", CONFIG_FILE} or is_temporary
