from __future__ import annotations

import pytest

from drupe.models.geometry import Geometry
from drupe.training.config import validate_experiment
from drupe.tuning.latency import latency_key, measure_latency, slowness

CONFIG = validate_experiment(
    {"model": {"architecture": "test_resnet", "pretrained": True}, "input": {"size": 64}}, "x.yaml"
)


@pytest.mark.thorough
def test_a_network_is_timed_without_weights_or_training() -> None:
    small, large = (measure_latency(CONFIG, Geometry(64, views=views)) for views in (1, 8))
    assert 0 < small < large < 10_000


def test_what_changes_a_latency_changes_its_key() -> None:
    other = CONFIG.model_copy(
        update={"model": CONFIG.model.model_copy(update={"architecture": "test_vit"})}
    )
    keys = {
        latency_key(CONFIG, Geometry(64)),
        latency_key(CONFIG, Geometry(64, views=2)),
        latency_key(CONFIG, Geometry(64, crop=48)),
        latency_key(CONFIG, Geometry(64, resolution=96)),
        latency_key(other, Geometry(64)),
    }
    assert len(keys) == 5
    rate = CONFIG.training.model_copy(update={"learning_rate": 0.5})
    same = CONFIG.model_copy(update={"training": rate})
    assert latency_key(same, Geometry(64)) in keys


def test_what_is_too_slow_says_so() -> None:
    assert slowness(5.0, 5.0) == ""
    assert slowness(5.0, 5.004) == "p95 5.00 ms, allowed 5 ms"
