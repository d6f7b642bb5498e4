"""Does ONNX Runtime's waiting thread pay? Latency and processor time between frames, both ways.

    python benchmarks/spinning.py                # about 2 minutes
    python benchmarks/spinning.py --frames 50

Prints a JSON row per setting: an untrained EfficientNet-Lite0 at a centre crop of 96, one crop a
frame, with ``session.intra_op.allow_spinning`` 1 (ONNX Runtime's default) and 0, 1 and 2 threads,
frames 20 and 100 ms apart. ``cpu_share`` is the processor time of the whole process by the time
that went by: 1 is a core kept busy. Settings take turns of 25 frames.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from provenance import circumstances
from untrained import untrained_bundle

TURN = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=100)
    options = parser.parse_args()
    head = circumstances("spinning.py", "onnxruntime")
    image = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), np.uint8)
    with tempfile.TemporaryDirectory(prefix="drupe-spinning-") as scratch:
        bundle = untrained_bundle(Path(scratch) / "bundle", "efficientnet_lite0", 128, 96)
        graph = (bundle / "fp32.onnx").read_bytes()
    for pause_ms in (20, 100):
        found: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
        for _ in range(max(1, options.frames // TURN)):
            for threads in (1, 2):
                for spins in (1, 0):
                    turn = frames(graph, threads, spins, pause_ms, image)
                    found.setdefault((threads, spins), []).extend(turn)
        for (threads, spins), times in found.items():
            latency, cpu, passed = np.array(times).T
            row = {"pause_ms": pause_ms, "threads": threads, "allow_spinning": spins}
            row |= {f"p{q}_ms": round(1000 * float(np.percentile(latency, q)), 2) for q in (50, 99)}
            row["cpu_share"] = round(float(cpu.sum() / passed.sum()), 3)
            print(json.dumps({**head, **row, "frames": len(times)}), flush=True)


def frames(
    graph: bytes, threads: int, spins: int, pause_ms: float, image: np.ndarray
) -> list[tuple[float, float, float]]:
    """Return latency, processor time and time that went by, in seconds, of ``TURN`` frames."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(spins))
    settings.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(TURN + 3):
        cpu, started = time.process_time(), time.perf_counter()
        session.run(None, {"images": image})
        latency = time.perf_counter() - started
        time.sleep(pause_ms / 1000)
        times.append((latency, time.process_time() - cpu, time.perf_counter() - started))
    return times[3:]


if __name__ == "__main__":
    main()
