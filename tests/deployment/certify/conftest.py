from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drupe.deployment.certify.certification import CertifyRequest, GraphCertification
from drupe.deployment.certify.options import GraphOptions
from drupe.evaluation.operating_point import Request

LOOSE = Request(min_recall=0.6, confidence=0.6)
"""What a dozen defects can certify."""


@pytest.fixture(scope="session")
def certify_store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("certify") / "store"


@pytest.fixture
def begin(small_synthetic, certify_store):
    """Read, wrap and score an ONNX file; options of the graph and of the request by name."""

    def build(model: Path, **given) -> GraphCertification:
        said = {key: given.pop(key) for key in [*given] if key in vars(GraphOptions())}
        settings = {"data": {"root": str(small_synthetic)}, **given.pop("settings", {})}
        request = CertifyRequest(
            model, GraphOptions(**said), settings=settings, unseen=True, asked=LOOSE
        )
        return GraphCertification.begin(replace(request, **given), certify_store)

    return build
