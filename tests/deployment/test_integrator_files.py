from __future__ import annotations

import csv
import json

import numpy as np
import onnx
from PIL import Image

from drupe.deployment.bundle import verify_bundle
from drupe.deployment.manifest import file_digest, read_manifest


def test_the_graph_states_what_a_program_needs(bundle) -> None:
    manifest = read_manifest(bundle)
    model = onnx.load(bundle / "fp32.onnx")
    facts = {one.key: json.loads(one.value) for one in model.metadata_props if "drupe." in one.key}
    assert facts["drupe.classes"] == ["cherry_clean", "cherry_pit"]
    assert facts["drupe.input"] == manifest.input.model_dump(mode="json")
    assert facts["drupe.output"]["accept"] == "score < low"
    stated = {(one["backend"], one["precision"]): one for one in facts["drupe.functions"]}
    assert len(stated) == len(manifest.functions)
    digest = file_digest((bundle / "fp32.onnx").read_bytes())
    for function in manifest.functions:
        one = stated[function.backend, function.precision]
        assert (one["low"], one["high"]) == (function.low, function.high)
        assert one["certificate_id"] == function.certificate_id
        assert function.certificate["measured_on"]["graph"] == digest


def test_golden_samples_are_pictures_and_a_table_too(bundle) -> None:
    with np.load(bundle / "golden.npz") as golden:
        expected = {name: golden[name] for name in golden.files}
    with (bundle / "golden.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    manifest = read_manifest(bundle)
    assert len(rows) == 16 * len(manifest.functions)
    for function in manifest.functions:
        mine = [row for row in rows if row["backend"] == function.backend]
        scores = np.array([row["score"] for row in mine], np.float32)
        assert np.array_equal(scores, expected[function.name.replace(" ", "_")])
        lanes = np.where(scores < np.float32(function.low), "accept", "review")
        lanes = np.where(scores >= np.float32(function.high), "reject", lanes)
        assert [row["lane"] for row in mine] == lanes.tolist()
    for place in range(16):
        with Image.open(bundle / f"golden-{place:02}.png") as picture:
            assert np.array_equal(np.asarray(picture), expected["images"][place])
    assert all(one.passed for one in verify_bundle(bundle))
