from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError

import pytest

from drupe import host
from drupe.deployment.bench import bench_bundle, bench_paths, circumstances
from drupe.errors import InputError

KEYS = {"name", "backend", "precision", "threads", "batch", "p50_ms", "p95_ms", "p99_ms", "samples"}


def test_a_bundle_from_python(bundle) -> None:
    timing = bench_bundle(bundle, backend="onnxruntime", threads=1, batch=2, samples=30)
    assert (timing.backend, timing.batch, timing.threads) == ("onnxruntime", 2, 1)
    p50, p95 = timing.quantile(0.5), timing.quantile(0.95)
    assert 0 < p50.value <= p95.value


def test_bundles_and_runs_side_by_side(deployed) -> None:
    run, _, bundle = deployed
    found = bench_paths([bundle, run], threads=1, samples=30, every_function=True)
    assert [(one.backend, one.threads) for one in found.timings[2:]] == [("pytorch", 1)]
    assert {one.backend for one in found.timings[:2]} == {"onnxruntime", "openvino"}
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    for row in document["results"]:
        assert set(row) >= KEYS
        assert len(row["samples_ms"]) == row["samples"] == 30
        low, high = row["p50_interval_ms"]
        assert low <= row["p50_ms"] <= high
    (decoded,) = document["decode"]
    assert decoded["name"] == "decode PNG 64 x 64"
    assert document["circumstances"]["processor"]
    assert document["circumstances"]["cores"] == 1


def test_what_is_neither_bundle_nor_run(tmp_path) -> None:
    with pytest.raises(InputError, match=r"must be a bundle, but holds no bundle\.json"):
        bench_paths([tmp_path])


def test_circumstances_name_the_packages_that_are_there(monkeypatch) -> None:
    def version(name: str) -> str:
        if name in {"openvino", "onnxruntime-gpu"}:
            raise PackageNotFoundError(name)
        return f"1.{len(name)}"

    monkeypatch.setattr(host, "version", version)
    found = circumstances()
    assert found["versions"] == {
        "python": platform.python_version(),
        **{name: f"1.{len(name)}" for name in ("drupe", "numpy", "onnxruntime", "pillow")},
        **{name: f"1.{len(name)}" for name in ("torch", "timm")},
    }
    assert found["machine"] == platform.machine()
