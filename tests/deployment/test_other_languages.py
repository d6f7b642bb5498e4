"""The samples in other languages, built here and run on the golden samples of a bundle."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import openvino
import pytest
from PIL import Image

from drupe.deployment.export import export_run
from drupe.deployment.familiarity import UnknownRequest
from drupe.deployment.manifest import read_manifest
from drupe.evaluation.operating_point import Request

pytestmark = pytest.mark.thorough

EXAMPLES = Path(__file__).parents[2] / "examples"
TO = 1e-5


def golden(bundle: Path, backend: str) -> list[tuple[str, float, str]]:
    with (bundle / "golden.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["backend"] == backend]
    return [
        (row["file"], float(row["score"]), row["lane"])
        for row in rows
        if row["precision"] == "fp32"
    ]


def require_same(printed: str, expected: list[tuple[str, float, str]]) -> None:
    said = [line.split() for line in printed.splitlines()]
    assert len(said) == len(expected) == 16
    for (file, score, lane), (wanted, right, right_lane) in zip(said, expected, strict=True):
        assert Path(file).stem == Path(wanted).stem
        assert float(score) == pytest.approx(right, abs=TO)
        assert lane == right_lane


@pytest.fixture(scope="module", params=["all known", "unknown"])
def bundle(request, deployed, tmp_path_factory) -> Path:
    """A bundle that takes everything for known, and one that calls golden samples unknown."""
    run, store, plain = deployed
    if request.param == "all known":
        return plain
    folder = tmp_path_factory.mktemp("unknown") / "bundle"
    asked = Request(min_recall=0.9, confidence=0.9)
    export_run(run, folder, store, request=asked, unknown=UnknownRequest(0.5), threads=1)
    return folder


def test_cpp_decides_as_python_does(bundle, tmp_path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: the C++ sample isn't built")
    folder = Path(openvino.__path__[0])
    library = next((folder / "libs").glob("libopenvino.so.*")).name
    libs = folder / "libs"
    program = tmp_path / "decide"
    subprocess.run(
        [
            *("g++", "-std=c++17", "-O1", EXAMPLES / "cpp" / "decide.cpp", "-o", program),
            *(f"-I{folder / 'include'}", f"-L{libs}", f"-l:{library}"),
            *(f"-Wl,-rpath,{libs}", f"-Wl,-rpath-link,{libs}"),
        ],
        check=True,
    )
    manifest = read_manifest(bundle)
    function = next(one for one in manifest.functions if one.name == "openvino fp32")
    expected = golden(bundle, "openvino")
    raws = []
    for file, _, _ in expected:
        with Image.open(bundle / file) as picture:
            raw = tmp_path / f"{Path(file).stem}.raw"
            raw.write_bytes(np.asarray(picture).tobytes())
        raws.append(raw)
    unknown = manifest.unknown
    limit = repr(unknown.functions[function.name].limit) if unknown else "-"
    start = [program, bundle / function.graph, repr(function.low), repr(function.high), limit]
    side = str(manifest.input.size)
    done = subprocess.run([*start, side, *raws], capture_output=True, text=True, check=True)
    require_same(done.stdout, expected)
    (tmp_path / "torn.raw").write_bytes(b"torn")
    faults = subprocess.run(
        [*start, side, tmp_path / "torn.raw", tmp_path / "absent.raw"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[1:] for line in faults.stdout.splitlines()] == [["-", "reject"]] * 2


def test_node_decides_as_python_does(bundle, tmp_path) -> None:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("no Node: its sample isn't run")
    shutil.copy(EXAMPLES / "node" / "decide.mjs", tmp_path)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "onnxruntime-node", "pngjs"]
    fetched = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False)
    if fetched.returncode:
        pytest.skip(f"npm can't fetch onnxruntime-node: {fetched.stderr.strip()[-200:]}")
    done = subprocess.run(
        ["node", "decide.mjs", bundle], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    require_same(done.stdout, golden(bundle, "onnxruntime"))
