"""Nothing but an error that a person can mend comes out of files that anybody may have written.

Hypothesis draws the damage; the same each time (derandomised), a few seconds per kind.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drupe.configuration import parse_overrides
from drupe.data.fixes import read_fix_list
from drupe.deployment.drift import CalibrationScores, calibration_file, read_calibration
from drupe.deployment.frames import FrameCheck, read_frames
from drupe.deployment.manifest import read_manifest, sealed
from drupe.errors import InputError
from drupe.evaluation.grouping import read_duplicates
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import read_json
from drupe.line.station.configuration import load_line
from drupe.runs.epoch_log import read_epochs
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.record import read_record
from drupe.study.definition.loading import load_study
from drupe.study.definition.protocol import read_deviations, read_protocol
from drupe.study.execution.journal import JOURNAL, Journal
from drupe.study.verdict.document import read_verdict
from drupe.training.config import load_experiment
from drupe.yaml_document import read_document
from mutations import any_arrays, any_bytes, any_json, any_json_line, any_words
from run_files import predictions, write_run
from study_folder import write_study_run, write_verdict

SEEDS = st.integers(0, 2**32 - 1)
CASES = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
Mutate = Callable[[bytes, random.Random], bytes]


def only_mendable(read: Callable[[], object], allowed: tuple[type[Exception], ...] = ()) -> None:
    """Run ``read``; anything but success and errors that a person can mend fails the test."""
    with contextlib.suppress(InputError, *allowed):
        read()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each kind, whole."""
    folder = tmp_path_factory.mktemp("fuzz")
    examples = Path(__file__).parents[1] / "examples"
    studies = Path(__file__).parents[1] / "studies"
    (folder / "experiment.yaml").write_bytes((examples / "lite0.yaml").read_bytes())
    (folder / "line.yaml").write_bytes((examples / "line.yaml").read_bytes())
    (folder / "study.yaml").write_bytes((studies / "quickstart.yaml").read_bytes())
    write_run(folder / "run", test=predictions(60, 2), calibration=predictions(60, 1))
    (folder / "test.csv").write_bytes((folder / "run/predictions/test.csv").read_bytes())
    (folder / "fixes.csv").write_text(
        "path,action,value,reason,sha256\n"
        f"train/clean/a.png,exclude,,identical to another,{'a' * 64}\n"
        'train/pit/b.png,relabel,clean,"looks clean, to me",\n'
    )
    epochs = [{"epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 0.1, "images": 9}]
    (folder / "run/metrics.jsonl").write_text(json.dumps({**epochs[0], "seconds": 1.0}) + "\n")
    for name in ("A", "B"):
        write_study_run(folder / "store/runs/x", name, 1)
    verdict = write_verdict(folder / "store/runs/x", {"A": (1,), "B": (1,)})
    (folder / "verdict.json").write_bytes(verdict.read_bytes())
    (folder / "study").mkdir()
    protocol = {"study": "x", "data_fingerprint": "f", "training_version": 2}
    protocol |= {"spec": {"experiments": [{"id": "A", "kind": "train"}]}}
    protocol |= {"configs": {}, "versions": {}, "frozen": "2026-01-01T00:00:00+00:00"}
    (folder / "study/protocol.lock.json").write_text(json.dumps(protocol))
    (folder / "study/deviations.json").write_text('[{"seen": "2026-01-01", "what": "seeds"}]')
    event = {"at": "2026-01-01", "task": "A", "state": "done", "reason": ""}
    (folder / "study" / JOURNAL).write_text(json.dumps(event) + "\n")
    scores = np.linspace(0, 1, 30, dtype=np.float32)
    packed = calibration_file({"a": CalibrationScores.of(scores, scores > 0.5)})
    (folder / "calibration.npz").write_bytes(packed)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (120, 8, 8, 3), dtype=np.uint8)
    frames = FrameCheck.of(images, images)
    assert frames is not None
    (folder / "frames.json").write_text(frames.model_dump_json())
    return folder


READERS: dict[str, tuple[str, Mutate, Callable[[Path], object]]] = {
    "experiment": ("experiment.yaml", any_words, load_experiment),
    "study": ("study.yaml", any_words, load_study),
    "line": ("line.yaml", any_words, load_line),
    "predictions": ("test.csv", any_words, read_predictions),
    "fix list": ("fixes.csv", any_words, read_fix_list),
    "run": ("run/run.json", any_json, lambda path: read_record(path.parent)),
    "evaluation": ("run/evaluation.json", any_json, lambda path: read_evaluation(path.parent)),
    "epochs": ("run/metrics.jsonl", any_json_line, lambda path: read_epochs(path.parent)),
    "copies": (
        "run/predictions/duplicates.json",
        any_json,
        lambda path: read_duplicates(path, "test", predictions(60, 2).paths),
    ),
    "verdict": ("verdict.json", any_json, read_verdict),
    "protocol": ("study/protocol.lock.json", any_json, lambda path: read_protocol(path.parent)),
    "deviations": ("study/deviations.json", any_json, lambda path: read_deviations(path.parent)),
    "journal": (
        f"study/{JOURNAL}",
        any_json_line,
        lambda path: Journal(path.parent).outcomes(),
    ),
    "frames": ("frames.json", any_json, lambda path: read_frames(path.read_bytes(), str(path))),
    "any JSON": ("verdict.json", any_bytes, read_json),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_read_or_refused(place: Path, tmp_path: Path, kind: str) -> None:
    name, mutate, read = READERS[kind]
    content = (place / name).read_bytes()
    read(place / name)  # whole, it is read

    @CASES
    @given(SEEDS)
    def check(seed: int) -> None:
        chance = random.Random(seed)
        damaged = mutate(content, chance)
        if chance.random() < 0.3:
            damaged = any_bytes(damaged, chance)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(damaged)
        only_mendable(lambda: read(tmp_path / name))

    check()


@CASES
@given(st.one_of(st.text(), st.binary().map(lambda some: some.decode("latin-1"))))
def test_any_text_as_yaml(text: str) -> None:
    only_mendable(lambda: read_document(text), (ValueError,))


TAGS = (
    "!!int ",
    "!!float ",
    "!!bool ",
    "!!null ",
    "!!timestamp ",
    "!!binary ",
    "!!set ",
    "!!omap ",
)


@CASES
@given(
    st.sampled_from(("seeds", "training.epochs", "a.b", "", "x")),
    st.sampled_from(("", *TAGS, "!!python/object:os.system ", "&a ", "*a", "? ")),
    st.text(max_size=20),
)
def test_any_value_of_an_override(key: str, tag: str, value: str) -> None:
    only_mendable(lambda: parse_overrides([f"{key}={tag}{value}"]))


@CASES
@given(SEEDS)
def test_any_arrays_of_a_bundle(place: Path, seed: int) -> None:
    content = any_arrays((place / "calibration.npz").read_bytes(), random.Random(seed))
    only_mendable(lambda: read_calibration(content, "a"), (ValueError,))


MANIFEST: dict[str, Any] = {
    "schema_version": 2,
    "name": "A seed 1",
    "classes": ["clean", "pit"],
    "input": {"size": 8},
    "functions": [
        {
            "graph": "fp32.onnx",
            "backend": "onnxruntime",
            "precision": "fp32",
            "low": 0.2,
            "high": 0.4,
            "certificate": None,
            "gate": {
                "images": 3,
                "max_score_difference": 0.0,
                "mean_score_difference": 0.0,
                "flips": 0,
            },
        }
    ],
    "golden": "golden.npz",
    "files": {"fp32.onnx": "a" * 64, "golden.npz": "b" * 64},
    "provenance": {},
}


@CASES
@given(SEEDS)
def test_any_manifest_of_a_bundle(tmp_path_factory, seed: int) -> None:
    bundle = tmp_path_factory.mktemp("bundle")
    whole = json.dumps(sealed(MANIFEST)).encode()
    (bundle / "bundle.json").write_bytes(whole)
    assert read_manifest(bundle).name == "A seed 1"
    damaged = any_json(json.dumps(MANIFEST).encode(), random.Random(seed))
    with contextlib.suppress(ValueError, AttributeError):  # no document that anybody could seal
        damaged = json.dumps(sealed(json.loads(damaged))).encode()
    (bundle / "bundle.json").write_bytes(damaged)
    only_mendable(lambda: read_manifest(bundle))
