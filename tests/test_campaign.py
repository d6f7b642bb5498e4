from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from mutations import any_arrays, any_bytes, any_json, any_json_line, any_words

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize("mutate", [any_bytes, any_words, any_json, any_json_line])
def test_damage_is_the_same_for_the_same_seed_and_differs_otherwise(mutate) -> None:
    whole = b'{"path": "train/pit/1.png", "counts": [1, 2.5, null], "classes": {"clean": "a"}}\n'
    found = [mutate(whole, random.Random(seed)) for seed in range(40)]
    assert found == [mutate(whole, random.Random(seed)) for seed in range(40)]
    assert len(set(found)) > 15
    assert sum(one == whole for one in found) < 10


def test_arrays_are_damaged_in_every_way() -> None:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, a=np.float32([0.1, 0.2]), b=np.float32([0.5]))
    found = {any_arrays(buffer.getvalue(), random.Random(seed)) for seed in range(80)}
    assert len(found) > 30


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and RLIMIT_FSIZE")
def test_nothing_slips_through_a_small_campaign() -> None:
    """Every kind of damage, and every writer killed, asked to end and cut short once."""
    done = subprocess.run(
        [sys.executable, "campaign.py", "--cases", "1", "--stops", "12"],
        cwd=BENCHMARKS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, *_, last = [line for line in done.stdout.splitlines() if line]
    assert head.split()[:6] == ["kind", "cases", "tracebacks", "wrong", "hangs", "left"]
    assert last.split()[:6] == ["all", last.split()[1], "0", "0", "0", "0"]
