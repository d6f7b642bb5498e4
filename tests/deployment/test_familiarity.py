"""A run's bundle tells what its network doesn't know: exported, gated, verified, decided."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from bundle_files import change
from drupe.cli.app import app
from drupe.deployment import familiarity
from drupe.deployment.backends import open_session
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.export import Exported, export_run
from drupe.deployment.familiarity import UnknownRequest, learn_familiarity
from drupe.deployment.gate import GateError
from drupe.deployment.graph import export_graph
from drupe.deployment.manifest import read_manifest
from drupe.deployment.predict import predict
from drupe.deployment.runtime import load
from drupe.deployment.unknown import UNKNOWN
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from drupe.line.log.writer import DecisionLog
from drupe.line.watch.monitor import LineMonitor
from drupe.models.early_features import DistanceLayer, early_features
from drupe.models.ensemble import Ensemble
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.models.type_head import TypeHead, linear_layer
from drupe.progress import silent

pytestmark = pytest.mark.thorough

RATE = 0.05
REQUEST = Request(min_recall=0.8, confidence=0.8)


@pytest.fixture(scope="module")
def exported(deployed, tmp_path_factory) -> Exported:
    run, store, _ = deployed
    return export_run(
        run,
        tmp_path_factory.mktemp("unknown") / "bundle",
        store,
        precision="auto",
        request=REQUEST,
        unknown=UnknownRequest(RATE),
        threads=1,
    )


@pytest.fixture(scope="module")
def wary(exported) -> Path:
    return exported.bundle


@pytest.fixture(scope="module")
def strange() -> np.ndarray:
    """Noise, which the line has never shown."""
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def good(deployed) -> np.ndarray:
    folder = deployed[0].parent / "crops"
    files = sorted((folder / "val").rglob("*.png"))[:30]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


@pytest.fixture
def copy(wary, tmp_path) -> Path:
    return shutil.copytree(wary, tmp_path / "copy")


def test_each_function_has_a_limit_of_its_own_and_none_turns(exported, deployed) -> None:
    unknown = exported.manifest.unknown
    assert set(unknown.functions) == {one.name for one in exported.manifest.functions}
    assert (exported.manifest.schema_version, unknown.rate, unknown.lane) == (4, RATE, "review")
    for name, one in unknown.functions.items():
        assert max(one.clean_rate, one.defect_rate) <= RATE
        assert one.test_clean <= one.of_test_clean / 4
        if name.endswith("fp32"):
            assert one.turned == 0
            assert one.max_difference < 1e-3
    assert exported.to_json()["unknown"]["rate"] == RATE
    limits = {one.limit for one in unknown.functions.values()}
    assert len(limits) > 1


def test_what_is_unlike_all_that_was_learnt_is_reviewed(wary, strange, good) -> None:
    classifier = load(wary, order="rgb", threads=1)
    assert classifier.frames is None  # so nothing else can notice
    found = classifier.examine(np.concatenate((strange, good)))
    assert found.faults[:3] == [UNKNOWN] * 3
    assert found.decisions[:3].tolist() == ["review"] * 3
    assert np.isfinite(found.scores).all()
    assert found.faults[3:].count(None) >= 24
    known = np.array([fault is None for fault in found.faults])
    assert (found.p_values[:3] <= RATE).all()
    assert (found.p_values[known] > 1 / 60).all()
    assert classifier.decide(strange[0]) == "review"
    assert classifier.decide(np.concatenate((strange, good))).tolist() == found.decisions.tolist()
    assert [classifier.decide(one) for one in good] == found.decisions[3:].tolist()
    assert np.isfinite(classifier.scores(strange)).all()


def test_the_line_may_reject_what_is_unknown(copy, strange) -> None:
    document = json.loads((copy / "bundle.json").read_text())
    change(copy, unknown=document["unknown"] | {"lane": "reject"})
    classifier = load(copy, order="rgb")
    assert classifier.decide(strange[0]) == "reject"
    assert classifier.examine(strange).decisions.tolist() == ["reject"] * 3
    change(copy, unknown=document["unknown"] | {"lane": "accept"})
    with pytest.raises(InputError, match="lane"):
        load(copy)


def test_logs_and_monitors_are_told_why(wary, strange, tmp_path) -> None:
    classifier = load(wary, order="rgb")
    with DecisionLog(classifier, tmp_path / "log"), LineMonitor(classifier) as monitor:
        classifier.decide(strange)
    lines = (tmp_path / "log" / "decisions-00000001.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    decisions = [one for one in told if one["kind"] == "decision"]
    assert [(one["lane"], one["fault"]) for one in decisions] == [("review", UNKNOWN)] * 3
    p_values = load(wary, order="rgb").examine(strange).p_values
    assert [one["p_value"] for one in decisions] == p_values.tolist()
    assert monitor.faults[UNKNOWN] == 3
    assert monitor.lanes["review"] == 3


def test_predict_counts_and_lists_them(wary, strange, tmp_path) -> None:
    picture = tmp_path / "strange.png"
    Image.fromarray(strange[0]).save(picture)
    (one,) = predict(load(wary), [str(picture)], workers=1)
    assert (one.decision, one.error, one.is_unknown, one.is_unlike) == (
        *("review", UNKNOWN),
        *(True, False),
    )
    assert one.score is not None
    assert one.p_value <= RATE
    table, lines = tmp_path / "one.csv", tmp_path / "one.jsonl"
    arguments = ["predict", str(wary), str(picture), "--csv", str(table), "--jsonl", str(lines)]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["unknown"] == [{"path": str(picture), "reason": UNKNOWN}]
    with table.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["decision"], row["error"], float(row["p"])) == ("review", UNKNOWN, one.p_value)
    line = json.loads(lines.read_text())
    assert (line["is_unknown"], line["p_value"]) == (True, one.p_value)
    said = CliRunner().invoke(app, ["predict", str(wary), str(picture)])
    assert "review, unknown" in said.output
    assert UNKNOWN in said.output
    assert "warning" not in said.output


def test_predict_warns_of_more_than_chance_explains(wary, strange, tmp_path) -> None:
    for number, image in enumerate(np.concatenate((strange, 255 - strange))):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    said = CliRunner().invoke(app, ["predict", str(wary), str(tmp_path)])
    assert said.exit_code == 0
    assert "warning: 6 of 6 images (100.0 %) are unlike anything that was learnt" in said.output
    assert "where 5 % of good ones may be (p = " in said.output


def test_the_bundle_verifies_and_notices_other_distances(copy, monkeypatch) -> None:
    found = verify_bundle(copy)
    assert all(one.passed for one in found)
    assert all(one.max_distance_difference < 1e-5 for one in found)
    graph = onnx.load(copy / "fp32.onnx")
    assert [one.name for one in graph.graph.output] == ["score", "distance"]
    facts = {one.key: one.value for one in graph.metadata_props}
    assert json.loads(facts["drupe.unknown"])["lane"] == "review"
    told = {one["backend"]: one["limit"] for one in json.loads(facts["drupe.functions"])}
    functions = read_manifest(copy).unknown.functions
    assert told["onnxruntime"] == functions["onnxruntime fp32"].limit
    rows = list(csv.DictReader((copy / "golden.csv").open(newline="")))
    name = f"{rows[0]['backend']} {rows[0]['precision']}"
    for row in (one for one in rows if f"{one['backend']} {one['precision']}" == name):
        if not np.float32(row["distance"]) <= np.float32(functions[name].limit):
            assert row["lane"] == "review"
    document = json.loads((copy / "bundle.json").read_text())
    for one in document["unknown"]["functions"].values():
        one["limit"] = 1e-9
    change(copy, unknown=document["unknown"])
    assert load(copy, order="rgb").examine(np.zeros((1, 64, 64, 3), np.uint8)).faults == [UNKNOWN]


def test_another_distance_does_not_pass_verification(copy, monkeypatch) -> None:
    from drupe.deployment import bundle as bundles

    opened = bundles.open_function

    class Off:
        def __init__(self, *arguments) -> None:
            self.session = opened(*arguments)

        def outputs(self, images):
            score, distance = self.session.outputs(images)
            return score, distance * np.float32(self.factor)

    for factor in (2, np.nan):
        monkeypatch.setattr(Off, "factor", factor, raising=False)
        monkeypatch.setattr(bundles, "open_function", Off)
        for one in verify_bundle(copy):
            assert one.passed is False
            json.dumps(one.to_json(), allow_nan=False)


def test_figures_count_what_is_unknown(exported, deployed) -> None:
    run, store, _ = deployed
    plain = export_run(
        run,
        exported.bundle.parent / "plain",
        store,
        request=REQUEST,
        unknown=UnknownRequest(is_wanted=False),
        threads=1,
    )
    assert plain.all_known == "switched off"
    assert plain.manifest.schema_version == 3
    assert "unknown" not in json.loads((plain.bundle / "bundle.json").read_text())
    without = {one.function.name: one for one in plain.evaluation.functions}
    card = (exported.bundle / "model_card.md").read_text()
    assert "What it doesn't know" in card
    assert "takes everything for known" in (plain.bundle / "model_card.md").read_text()
    for one in exported.evaluation.functions:
        other = without.get(one.function.name)
        if other is None or one.function.low != other.function.low:
            continue
        counts, before = one.test.at_thresholds.counts, other.test.at_thresholds.counts
        assert counts.clean_accepted <= before.clean_accepted
        assert counts.defects_accepted <= before.defects_accepted
        assert counts.clean == before.clean
        if one.function.certificate and other.function.certificate:
            found = one.function.certificate["clean_yield"]["successes"]
            assert found <= other.function.certificate["clean_yield"]["successes"]
            assert one.function.certificate["recall"] == other.function.certificate["recall"]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (0.005, r"takes 199 distinct calibration items of each class, got .* is the least"),
    ],
)
def test_a_rate_that_calibration_does_not_allow(deployed, tmp_path, rate, message) -> None:
    run, store, bundle = deployed
    with pytest.raises(GateError, match=message):
        export_run(run, tmp_path / "b", store, request=REQUEST, unknown=UnknownRequest(rate))
    assert not (tmp_path / "b").exists()
    assert read_manifest(bundle).unknown is None  # nobody asked, so it only says so


def test_the_command_says_what_is_unknown(deployed, tmp_path) -> None:
    run, store, _ = deployed
    arguments = ["export", str(run), str(tmp_path / "b"), "--store", str(store)]
    recall = ["--min-recall", "0.8", "--confidence", "0.8"]
    both = CliRunner().invoke(app, [*arguments, "--no-unknown", "--unknown-rate", "0.1"])
    assert "only one of them can be given" in str(both.exception)
    refused = CliRunner().invoke(app, [*arguments, *recall, "--unknown-rate", "0.001"])
    assert refused.exit_code == 1
    done = CliRunner().invoke(app, [*arguments, *recall, "--unknown-rate", str(RATE)])
    assert done.exit_code == 0, done.output
    assert "Unknown, whose lane is review: at most" in done.output


def test_who_can_not_tell_says_why(deployed, monkeypatch) -> None:
    from drupe.deployment.evidence import gather_evidence
    from drupe.training.saved import load_network

    run, store, _ = deployed
    evidence, (network, _) = gather_evidence(run, None, store, silent), load_network(run)
    asked = UnknownRequest()
    small = learn_familiarity(network, evidence, asked, silent)
    assert small.layer is None
    assert "--unknown-rate" in small.reason
    learnt = replace(evidence, model=replace(evidence.model, in_sample="of these crops"))
    assert "learnt from calibration" in learn_familiarity(network, learnt, asked, silent).reason
    together = Ensemble([network, network], [1.0, 1.0])
    assert "ensemble" in learn_familiarity(together, evidence, asked, silent).reason
    monkeypatch.setattr(familiarity, "FEWEST_FIT", 10_000)
    assert "items to learn from" in learn_familiarity(network, evidence, asked, silent).reason
    monkeypatch.undo()
    monkeypatch.setattr(familiarity, "MOST_ITEMS", 50)
    wide = replace(asked, rate=RATE)
    assert learn_familiarity(network, evidence, wide, silent).fit == 50
    monkeypatch.setattr(network.backbone, "feature_info", None)
    with pytest.raises(GateError, match="doesn't name its stages"):
        learn_familiarity(network, evidence, wide, silent)


def test_a_runtime_that_calls_others_unknown_is_refused(deployed, tmp_path, monkeypatch) -> None:
    run, store, _ = deployed
    measure = familiarity._distances

    def shuffled(session, images, progress, what):
        return measure(session, images, progress, what)[::-1].copy()

    monkeypatch.setattr(familiarity, "_distances", shuffled)
    with pytest.raises(GateError, match="unknown or known otherwise than the tested network"):
        export_run(run, tmp_path / "b", store, request=REQUEST, unknown=UnknownRequest(RATE))


def test_a_bundle_without_its_distances_is_refused(copy) -> None:
    document = json.loads((copy / "bundle.json").read_text())
    change(copy, calibration=None)
    with pytest.raises(InputError, match="unknown: must hold a limit of"):
        load(copy)
    change(copy, **document | {"unknown": document["unknown"] | {"functions": {}}})
    with pytest.raises(InputError, match="unknown: must hold a limit of"):
        load(copy)


@pytest.mark.parametrize(
    ("architecture", "channels", "order", "keys"),
    [
        ("test_resnet", 3, "rgb", {"views": 8, "crop": 48}),
        ("test_efficientnet", 3, "bgr", {"crop": 40, "resolution": 64, "views": 2}),
        ("test_efficientnet", 1, "mono", {}),
    ],
)
def test_the_graph_measures_what_pytorch_measures(architecture, channels, order, keys) -> None:
    torch.manual_seed(0)
    network = build_network(
        architecture,
        input_range="imagenet",
        geometry=Geometry(64, **keys),
        pretrained=False,
        frozen=False,
        channels=channels,
    ).network.eval()
    images = np.random.default_rng(0).integers(0, 256, (60, 64, 64, channels), dtype=np.uint8)
    features = early_features(network, images)
    layer = DistanceLayer.of(features)
    expected = layer(torch.from_numpy(features)).numpy()
    width = network.backbone.get_classifier().in_features
    head = TypeHead(("a", "b"), [linear_layer(torch.randn(2, width), torch.zeros(2))])
    plain = export_graph(network, 1.7, order, head).content
    content = export_graph(network, 1.7, order, head, layer).content
    given = np.ascontiguousarray(images[..., ::-1]) if order == "bgr" else images
    for backend in ("onnxruntime", "openvino"):
        bare, full = (open_session(graph, backend, "fp32", 1) for graph in (plain, content))
        scores, types, distances = full.outputs(given)
        np.testing.assert_allclose(distances, expected, rtol=1e-3)
        for found, before in zip((scores, types), bare.outputs(given), strict=True):
            np.testing.assert_allclose(found, before, atol=1e-6)
