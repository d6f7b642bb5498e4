from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

ARGUMENTS = ("best.pt", "--architecture", "test_resnet", "--out", "run", "input.size=64")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    from drupe.models.geometry import Geometry
    from drupe.models.network import build_network

    torch.manual_seed(3)
    built = build_network(
        "test_resnet", input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
    )
    torch.save({"state_dict": built.network.backbone.state_dict()}, tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_from_a_checkpoint_to_a_refused_certificate(quick, checkpoint, small_synthetic) -> None:
    what = (*ARGUMENTS, "--trained-on", "unknown", "--picked-on-test", "--data", small_synthetic)
    first = quick("import", *what, "--json")
    assert first.code == 0, first.stderr
    document = json.loads(first.stdout)
    assert document["test"]["images"] == 50
    assert document["imported"]["seen"] == {"trained_on": None, "picked_on_test": True}
    assert len(document["caveats"]) == 2
    assert "1 file was not taken:\n  no images, by their suffix: 1 (truth.json)" in first.stderr
    assert document["passed_over"][0]["names"] == ["truth.json"]
    assert "unknown" in document["in_sample"]

    again = quick("import", *what)
    assert again.code == 0
    assert "Done before: run" in again.stdout
    assert "picked on the test split" in again.stdout

    evaluated = " ".join(quick("evaluate", "run").stdout.split())
    assert "its figures are optimistic" in evaluated
    assert "drupe threshold RUN --data NEW-CROPS" in evaluated

    refused = quick("threshold", "run")
    assert refused.code == 1
    assert "not certified" in refused.stdout
    assert "drupe threshold RUN --data DIR" in " ".join(refused.stdout.split())

    compared = quick("compare", "run", "--number", "0.94", "--json")
    assert "picked on the test split" in json.loads(compared.stdout)["caveats"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trained-on", "absent.txt"), "no such file: absent.txt"),
        (("--trained-on", "unknown", "--classes", "a"), "--classes: must be two names A,B"),
        (("--trained-on", "unknown", "training.epochs=3"), "training: an import takes keys of"),
        (("--trained-on", "unknown", "input.rnge=raw"), "input.rnge: unknown key"),
        ((), "--trained-on"),
    ],
)
def test_wrong_input_is_one_message(
    quick, checkpoint, small_synthetic, tmp_path, arguments, message
) -> None:
    result = quick("import", *ARGUMENTS, "--data", small_synthetic, *arguments)
    assert result.code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()
