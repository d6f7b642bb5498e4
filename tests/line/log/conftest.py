from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drupe.line.log.writer import DecisionLog
from line_stand_in import images, stand_in

KEY = b"a key of more than 16 bytes"


@pytest.fixture
def written(tmp_path) -> Path:
    """A signed log of 60 decisions in several files, closed in order."""
    classifier = stand_in()
    with DecisionLog(classifier, tmp_path / "log", key=KEY, lines_per_file=20) as log:
        for number, score in enumerate(np.linspace(0, 1, 60)):
            classifier.decide(images(score)[0], items=f"piece {number}")
    assert log.lines > 60
    return tmp_path / "log"
