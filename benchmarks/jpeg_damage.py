"""Damage JPEG crops in every way, and count who notices: the decoder, the frames, or nobody.

    python benchmarks/jpeg_damage.py                  # 36 × 200 holes: about 2 minutes

Prints a JSON row per side, quality, restart interval and kind of hole: of ``holes`` (1 to 200 bytes
of the entropy-coded data, anywhere) those that ``refused`` counts are refused as unreadable, those
of ``frames`` are reviewed by the check of frames, ``unseen`` change pixels and nobody notices,
``harmless`` change none. A bundle's check of frames is learnt from crops of the same quality.
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import PIL
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from drupe.data.decode import UnreadableImageError, decode_bytes
from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.frames import FrameCheck
from provenance import commit

SIDES, QUALITIES = (64, 128), (75, 90, 95)
INTERVALS = (0, 8)
"""Blocks between restart markers; 0: none, as most encoders write."""

KINDS = ("zeros", "random", "dropped")
FIT, HELD_OUT = 500, 400
LONGEST = 200

Crops = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--holes", type=int, default=200, help="of each kind")
    for row in measure(parser.parse_args().holes):
        print(json.dumps(row), flush=True)


def measure(holes: int) -> Iterator[dict[str, Any]]:
    versions = {"pillow": PIL.__version__, "simplejpeg": simplejpeg.__version__}
    for side in SIDES:
        is_defect = np.arange(FIT + HELD_OUT + holes) % 2 == 1
        crops = render_crops(is_defect, side, np.random.default_rng(1))
        for quality in QUALITIES:
            check = learn(crops[: FIT + HELD_OUT], quality)
            for interval in INTERVALS:
                for kind in KINDS:
                    random = np.random.default_rng(0)
                    sound = [encode(one, quality, interval) for one in crops[FIT + HELD_OUT :]]
                    found = Counter(fate(one, hurt(one, kind, random), check) for one in sound)
                    row = {"side": side, "quality": quality, "restart_interval": interval}
                    row |= {"kind": kind, "holes": holes, **found}
                    yield {"benchmark": "jpeg_damage", **row, "commit": commit(), **versions}


def learn(crops: Crops, quality: int) -> FrameCheck:
    decoded = np.stack([decode_bytes(encode(one, quality)) for one in crops])
    check = FrameCheck.of(decoded[:FIT], decoded[FIT:])
    assert check is not None
    return check


def encode(crop: Crops, quality: int, interval: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "JPEG", quality=quality, restart_marker_blocks=interval)
    return stream.getvalue()


def hurt(jpeg: bytes, kind: str, random: np.random.Generator) -> bytes:
    """Put a hole into the only scan."""
    header = jpeg.index(b"\xff\xda") + 2
    start = header + int.from_bytes(jpeg[header : header + 2], "big")
    end = jpeg.rindex(b"\xff\xd9")
    length = min(int(random.integers(1, LONGEST + 1)), end - start - 1)
    place = int(random.integers(start, end - length))
    filling = {"zeros": bytes(length), "random": random.bytes(length), "dropped": b""}[kind]
    return jpeg[:place] + filling + jpeg[place + length :]


def fate(sound: bytes, hurt: bytes, check: FrameCheck) -> str:
    try:
        pixels = decode_bytes(hurt)
    except UnreadableImageError:
        return "refused"
    if np.array_equal(pixels, decode_bytes(sound)):
        return "harmless"
    return "unseen" if check.faults(pixels[np.newaxis]) == [None] else "frames"


if __name__ == "__main__":
    main()
