from __future__ import annotations

import json
from pathlib import Path

import pytest

EXPERIMENT = """
model: {architecture: test_efficientnet, pretrained: false}
input: {size: 64}
training: {epochs: 1, batch_size: 16, precision: fp32, layout: contiguous, threads: 1}
"""


@pytest.fixture
def trained(quick, small_synthetic, tmp_path) -> list[Path]:
    """Two seeds of one experiment."""
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    for seed in (1, 2):
        words = ("--seed", str(seed), "--out", f"tiny/seed-{seed}", "--data", small_synthetic)
        assert quick("train", "tiny.yaml", *words).code == 0
    return [Path("tiny") / f"seed-{seed}" for seed in (1, 2)]


def test_from_the_seeds_of_an_experiment_to_a_bundle(quick, trained, tmp_path) -> None:
    first = quick("ensemble", *trained, "--out", "AB", "--json")
    assert first.code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["run"] == "AB"
    assert "1 file was not taken:\n  no images, by their suffix: 1 (truth.json)" in first.stderr
    assert document["test"]["images"] == 50

    again = quick("ensemble", "tiny", "--out", "AB")
    assert again.code == 0
    assert "Done before: AB" in again.stdout
    assert "Ensemble of tiny/seed-1, tiny/seed-2" in again.stdout

    asked = ("--min-recall", "0.8", "--confidence", "0.8")
    assert quick("threshold", "AB", *asked).code == 0
    evaluated = quick("evaluate", "AB", "--json")
    assert json.loads(evaluated.stdout)["test"] == document["test"]
    compared = quick("compare", "tiny", "AB", "--json")
    pairs = json.loads(compared.stdout)["pairs"]
    assert {(pair["a"], pair["b"]) for pair in pairs} == {("AB", "tiny")}

    bundled = quick("export", "AB", "bundle", *asked, "--json")
    assert bundled.code == 0, bundled.stderr
    functions = json.loads(bundled.stdout)["functions"]
    assert {(one["precision"], one["flips"]) for one in functions} == {("fp32", 0)}
    timed = quick("bench", "bundle", "AB", "--samples", "5", "--json")
    assert [one["backend"] for one in json.loads(timed.stdout)["results"]][1] == "pytorch"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tiny/seed-1", "--out", "AB"), "needs at least two runs, got 1"),
        (("tiny/seed-1", "absent", "--out", "AB"), "absent: must be a run directory"),
        (("tiny", "--out", "tiny/seed-1"), "already holds another run (tiny seed 1, no ensemble)"),
        (("tiny", "--out", "AB", "--name", "a b"), "name: must hold letters, digits"),
        (("tiny", "other", "--out", "AB"), "other differs in data ("),
    ],
)
def test_wrong_input_is_one_message_and_nothing_is_lost(
    quick, trained, small_synthetic, tmp_path, words, message
) -> None:
    record = json.loads((tmp_path / "tiny/seed-1/run.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    record["data"]["fingerprint"] = "0" * 64
    for path in (tmp_path / "tiny/seed-1").rglob("*"):
        if path.is_file():
            copy = other / path.relative_to(tmp_path / "tiny/seed-1")
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (other / "run.json").write_text(json.dumps(record))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    result = quick("ensemble", *words)

    assert (result.code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert result.stderr.count("error: ") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
