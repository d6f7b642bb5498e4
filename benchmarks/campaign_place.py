"""A small workplace that a campaign damages: crops, a run, a bundle, a study, tables."""

from __future__ import annotations

import shutil
from pathlib import Path

from drupe.data.synthetic.generation import synthesise
from forked import run

EXPERIMENT = """name: tiny
model: {architecture: test_resnet, pretrained: false}
input: {size: 64}
training: {epochs: 2, batch_size: 16, learning_rate: 1.0e-3, threads: 1, checkpoint_every: 1,
  precision: fp32, layout: contiguous}
"""

STUDY = """study: small
question: Does smoothing help?
seeds: [1]
criteria: {accuracy: 0.5, recall: 0.8}
baseline: {experiment: BASE}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 2, batch_size: 16, learning_rate: 1.0e-3, threads: 1, checkpoint_every: 1,
    precision: fp32, layout: contiguous}
experiments:
  - {id: BASE}
  - id: NEW
    hypothesis: Smoothing the labels helps.
    config: {training: {label_smoothing: 0.1}}
comparisons: [{a: NEW, b: BASE}]
"""

SETUP: tuple[tuple[str, ...], ...] = (
    ("data", "audit", "crops", "--fix-list", "fixes.csv"),
    ("data", "audit", "crops", "--apply", "fixes.csv"),
    ("train", "tiny.yaml", "--data", "crops", "--out", "run"),
    ("export", "run", "bundle", "--min-recall", "0.8"),
    ("study", "run", "small.yaml", "--data", "crops"),
)


def build(folder: Path, images: int) -> Path:
    """Fill ``folder`` as people do: a set, an audit, a run, a bundle, a study. Keep a copy."""
    folder.mkdir(parents=True)
    synthesise(folder / "crops", images=images, size=64, seed=3, leaks=2)
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    (folder / "small.yaml").write_text(STUDY)
    for words in SETUP:
        done = run(words, folder)
        if done.code not in (0, 1):
            raise SystemExit(f"drupe {' '.join(words)}: {done.code}: {done.stderr}")
    shutil.copy(folder / "run" / "predictions" / "test.csv", folder / "test.csv")
    reasons = folder / "fixes.csv"
    if reasons.read_text().count("\n") < 3:
        raise SystemExit("the audit proposes too few fixes to damage them")
    shutil.copytree(folder, folder.with_name("snapshot"), symlinks=True)
    return folder


def reset(place: Path, *, crops: bool = False) -> None:
    """Put a workplace back as it was kept; the crops, which no command changes, where asked."""
    kept = place.with_name("snapshot")
    for item in place.iterdir():
        if item.name == "crops" and not crops:
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
    for item in kept.iterdir():
        if (place / item.name).exists():
            continue
        if item.is_dir():
            shutil.copytree(item, place / item.name, symlinks=True)
        else:
            shutil.copy2(item, place / item.name)
