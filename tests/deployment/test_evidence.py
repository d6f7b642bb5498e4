"""Exports that are certified on newly collected crops."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from drupe.data.decode import decode
from drupe.data.synthetic.generation import synthesise
from drupe.deployment import functions
from drupe.deployment.backends import open_session
from drupe.deployment.drift import read_calibration
from drupe.deployment.evidence import OWN_CALIBRATION, gather_evidence
from drupe.deployment.export import Exported, export_run
from drupe.deployment.gate import GateError
from drupe.deployment.model_card import CARD_FILE
from drupe.errors import InputError
from drupe.evaluation.certificate import certify_threshold
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.progress import silent
from drupe.runs.evaluation_file import record_certificate
from drupe.training.fresh import calibrate_on_fresh

pytestmark = pytest.mark.thorough

LOOSE = Request(min_recall=0.8, confidence=0.8)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """160 crops of the line as it is now, with a copy and a pair of contradictory labels."""
    folder = tmp_path_factory.mktemp("line") / "fresh"
    synthesise(folder, images=160, size=64, seed=47, duplicates=1, contradictions=1)
    return folder


@pytest.fixture(scope="module")
def renewed(deployed, fresh, tmp_path_factory) -> Exported:
    run, store, _ = deployed
    bundle = tmp_path_factory.mktemp("renewed") / "bundle"
    return export_run(run, bundle, store, fresh=fresh, precision="auto", request=LOOSE, threads=1)


@pytest.fixture
def own_run(deployed, tmp_path) -> Path:
    """A copy of the run, to be changed."""
    return shutil.copytree(deployed[0], tmp_path / "run")


def distinct_images(fresh: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return one image of each file's content, a defect where any copy is labelled as one."""
    is_defect: dict[str, bool] = {}
    images = {}
    for path in fresh.glob("*/*/*.png"):
        digest = sha256(path.read_bytes()).hexdigest()
        images[digest] = decode(path)
        is_defect[digest] = is_defect.get(digest, False) or path.parent.name == "cherry_pit"
    return np.stack(list(images.values())), np.array(list(is_defect.values()))


def test_every_function_is_certified_by_its_scores_of_the_new_crops(renewed, fresh) -> None:
    images, is_defect = distinct_images(fresh)
    assert len(images) == 158
    precisions = {one.precision for one in renewed.manifest.functions}
    assert precisions >= {"fp32", "int8"}
    for function in renewed.manifest.functions:
        graph = (renewed.bundle / function.graph).read_bytes()
        scores = open_session(graph, function.backend, function.precision, 1)(images)
        expected = certify_threshold(
            scores,
            is_defect,
            min_recall=0.8,
            confidence=0.8,
            candidates=renewed.evaluation.alternatives,
        )
        certificate = function.certificate
        assert certificate is not None
        assert function.is_certified
        assert (certificate["defects"], certificate["clean"]) == (expected.defects, expected.clean)
        assert certificate["confidence"] == expected.confidence
        assert function.low == pytest.approx(expected.threshold, abs=2e-3)
        calibration = renewed.manifest.provenance["calibration"]
        assert certificate["data_fingerprint"] == calibration["data_fingerprint"]


def test_the_bundle_says_which_crops_certify_it(renewed, deployed, fresh) -> None:
    run, store, _ = deployed
    provenance = renewed.manifest.provenance
    model = calibrate_on_fresh(read_run_predictions(run), run, fresh, store)
    assert provenance["calibration"] == {
        "is_new": True,
        "data_fingerprint": model.data_fingerprint,
        "images": 160,
        "defects": int(distinct_images(fresh)[1].sum()),
        "clean": int((~distinct_images(fresh)[1]).sum()),
    }
    assert provenance["data_fingerprint"] == read_run_predictions(run).data_fingerprint
    assert renewed.to_json()["calibration"] == provenance["calibration"]
    card = (renewed.bundle / CARD_FILE).read_text()
    own = len(read_run_predictions(run).calibration.table)
    assert "| new images for certificates (calibration) | 160 |" in card
    assert f"| `{model.data_fingerprint}` |" in card
    assert f"On all images of calibration (160), {OWN_CALIBRATION} ({own}), test (100)." in card


def test_a_line_is_compared_with_the_new_crops(renewed, fresh) -> None:
    images, is_defect = distinct_images(fresh)
    content = (renewed.bundle / "calibration.npz").read_bytes()
    for function in renewed.manifest.functions:
        graph = (renewed.bundle / function.graph).read_bytes()
        scores = open_session(graph, function.backend, function.precision, 1)(images)
        kept = read_calibration(content, function.name)
        assert kept is not None
        tolerance = 2e-2 if function.precision == "bf16" else 2e-3
        np.testing.assert_allclose(kept.clean, np.sort(scores[~is_defect]), atol=tolerance)
        np.testing.assert_allclose(kept.defect, np.sort(scores[is_defect]), atol=tolerance)


@pytest.mark.parametrize("split", ["calibration", OWN_CALIBRATION, "test"])
def test_one_turned_decision_on_any_crops_stops_the_export(
    deployed, fresh, tmp_path, monkeypatch, split
) -> None:
    run, store, _ = deployed
    splits = gather_evidence(run, fresh, store, silent).splits
    (crops,) = [one for one in splits if one.name == split]
    rejected = crops.images[crops.expected.argmax()]
    honest = functions.open_session

    def lying(*arguments):
        session = honest(*arguments)
        return lambda images: np.where(
            (images == rejected).all(axis=(1, 2, 3)), np.float32(0), session(images)
        )

    monkeypatch.setattr(functions, "open_session", lying)
    with pytest.raises(GateError, match="decisions differ from those of the tested network"):
        export_run(run, tmp_path / "bundle", store, fresh=fresh, request=LOOSE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "compared"),
    [
        ({"approximate": "from 5 networks"}, ["calibration", "test"]),
        ({"calibration": 0}, ["calibration", "test"]),
    ],
)
def test_new_crops_make_the_certificate_of_a_cross_fitted_run_exact(
    own_run, deployed, fresh, tmp_path, changes, compared
) -> None:
    record = json.loads((own_run / "run.json").read_text())
    record["data"] |= changes
    (own_run / "run.json").write_text(json.dumps(record))
    splits = gather_evidence(own_run, fresh, deployed[1], silent).splits
    assert [one.name for one in splits] == compared
    done = export_run(own_run, tmp_path / "bundle", deployed[1], fresh=fresh, request=LOOSE)
    for function in done.manifest.functions:
        assert function.is_certified
        assert function.certificate["approximate"] is None
        assert function.gate.images == 260


def test_too_few_new_defects_export_nothing(deployed, fresh, tmp_path) -> None:
    run, store, _ = deployed
    defects = int(distinct_images(fresh)[1].sum())
    message = f"at least 299 distinct defects in calibration, got {defects}: nothing was exported"
    with pytest.raises(GateError, match=message):
        export_run(run, tmp_path / "bundle", store, fresh=fresh)  # 99 % takes 299 defects
    assert list(tmp_path.iterdir()) == []


def test_crops_that_the_run_has_seen_export_nothing(deployed, fresh, tmp_path) -> None:
    run, store, _ = deployed
    mixed = shutil.copytree(fresh, tmp_path / "mixed")
    old = next((run.parent / "crops" / "train" / "cherry_pit").iterdir())
    shutil.copy(old, mixed / "train" / "cherry_pit" / "again.png")
    with pytest.raises(InputError, match=r"must hold new crops, got 1 that .*/again\.png"):
        export_run(run, tmp_path / "bundle", store, fresh=mixed, request=LOOSE)
    assert not (tmp_path / "bundle").exists()


def test_a_run_certified_on_new_crops_is_exported_with_them(
    own_run, deployed, fresh, tmp_path
) -> None:
    store = deployed[1]
    model = calibrate_on_fresh(read_run_predictions(own_run), own_run, fresh, store)
    request = Request(min_recall=0.8, confidence=0.8, review_budget=0.2)
    point = operating_point(model, request)
    record_certificate(own_run, point.certified_figures())
    with pytest.raises(InputError, match=r"was certified on new crops .* give --data DIR"):
        export_run(own_run, tmp_path / "bundle", store)
    done = export_run(own_run, tmp_path / "bundle", store, fresh=fresh)
    assert point.thresholds is not None
    assert point.thresholds.high > point.thresholds.low
    for function in done.manifest.functions:
        assert (function.low, function.high) == (point.thresholds.low, point.thresholds.high)


def test_other_data_than_the_run_s_is_refused(own_run, deployed, tmp_path) -> None:
    record = json.loads((own_run / "run.json").read_text())
    theirs = record["data"]["fingerprint"]
    record["data"]["fingerprint"] = "0" * 64
    del record["results"]  # else config.yaml is refused first, as another run's
    (own_run / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError) as caught:
        gather_evidence(own_run, None, deployed[1], silent)
    assert str(caught.value) == (
        f"{deployed[0].parent / 'crops'}: must be the data of the run (000000000000), "
        f"got other images, labels or fixes ({theirs[:12]})"
    )
