"""The check of frames: its false-alarm rate by simulation, and what it must not let through."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.frames import (
    FEWEST,
    MONO_NUMBERS,
    NUMBERS,
    SWAPPED,
    TORN,
    FrameCheck,
    equal_edge_rows,
    frame_numbers,
    read_frames,
)
from drupe.errors import InputError

SIDE = 48


def crops(count: int, seed: int) -> np.ndarray:
    """Return crops whose second lamp is dimmer, as lamps are."""
    random = np.random.default_rng(seed)
    images = render_crops(np.arange(count) % 2 == 1, SIDE, random)
    images[..., 2] = (0.4 * images[..., 2]).astype(np.uint8)
    return images


@pytest.fixture(scope="module")
def check() -> FrameCheck:
    found = FrameCheck.of(crops(600, 1), crops(600, 2))
    assert found is not None
    return found


def caught(check: FrameCheck, images: np.ndarray) -> float:
    return float(np.mean([fault is not None for fault in check.faults(images)]))


def test_wrong_channels_are_caught(check) -> None:
    images = crops(300, 3)
    swapped = check.faults(np.ascontiguousarray(images[..., ::-1]))
    assert np.mean([fault == SWAPPED for fault in swapped]) > 0.9
    grey = images.mean(-1, keepdims=True).astype(np.uint8).repeat(3, -1)
    assert caught(check, grey) > 0.99
    one_lamp = images[..., :1].repeat(3, -1)
    assert caught(check, one_lamp) > 0.99


@pytest.mark.parametrize("level", [0, 90, 255])
def test_empty_frames_are_caught(check, level) -> None:
    assert check.faults(np.full((1, SIDE, SIDE, 3), level, np.uint8)) == [TORN]


def test_noise_negatives_and_tiny_values_are_caught(check) -> None:
    images = crops(200, 4)
    random = np.random.default_rng(0)
    assert caught(check, random.integers(0, 256, images.shape, dtype=np.uint8)) == 1
    assert caught(check, 255 - images) == 1
    noisy = np.clip(images + random.normal(0, 12, images.shape), 0, 255).astype(np.uint8)
    assert caught(check, noisy) > 0.99
    assert caught(check, (images / 255).astype(np.uint8)) == 1, "a picture in [0, 1], cast"


@pytest.mark.parametrize("kept", [0.2, 0.4])
@pytest.mark.parametrize("level", [0, 128])
@pytest.mark.parametrize("is_bmp", [False, True])
def test_torn_pictures_are_caught(check, kept, level, is_bmp) -> None:
    images = crops(100, 11)
    images[:, int(kept * SIDE) :] = level
    if is_bmp:  # its first row is the lowest
        images = np.ascontiguousarray(images[:, ::-1])
    assert caught(check, images) == 1
    assert set(check.faults(images)) <= {TORN, SWAPPED}


def test_equal_edge_rows_are_counted() -> None:
    images = crops(3, 12)
    images[0, 30:] = images[0, -1:]
    images[0, 29, :, 0] = images[0, -1, :, 0] + 1
    images[1] = 7
    images[2, 1, :, 0] = images[2, 0, :, 0] + 1
    images[2, -2, :, 0] = images[2, -1, :, 0] + 1
    assert equal_edge_rows(images).tolist() == [18 / SIDE, 1.0, 1 / SIDE]


def test_good_frames_pass_at_the_stated_rate() -> None:
    """Over many draws of all three sets, good frames are called faults at most as often as said."""
    pool = crops(4000, 5)
    random = np.random.default_rng(6)
    alarms, rates = [], []
    for _ in range(60):
        drawn = random.permutation(len(pool))
        check = FrameCheck.of(pool[drawn[:300]], pool[drawn[300:500]])
        assert check is not None
        alarms.append(caught(check, pool[drawn[500:1000]]))
        rates.append(check.false_alarm_rate)
    error = np.std(alarms) / np.sqrt(len(alarms))
    assert np.mean(alarms) <= rates[0] + 3 * error
    assert rates[0] == pytest.approx(3 / 201)
    assert np.mean(alarms) > rates[0] / 10, "the limits are not far too wide"


def test_numbers_follow_their_channels() -> None:
    """A wrong order of the channels only moves numbers to other places."""
    from drupe.deployment.frames import _PLACES

    images = crops(5, 7)
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    numbers = frame_numbers(images)
    assert numbers.shape == (5, NUMBERS)
    for order, places in zip(orders, _PLACES[3], strict=True):
        moved = frame_numbers(np.ascontiguousarray(images[..., order]))
        assert moved == pytest.approx(numbers[:, places], rel=1e-4, abs=1e-4)


def test_too_few_images_give_no_check() -> None:
    few = crops(FEWEST - 1, 8)
    assert FrameCheck.of(few, crops(FEWEST, 9)) is None
    assert FrameCheck.of(crops(FEWEST, 9), few) is None


def test_written_and_read(check) -> None:
    content = check.model_dump_json().encode()
    again = read_frames(content, "frames.json")
    images = crops(50, 10)[..., ::-1].copy()
    assert again.faults(images) == check.faults(images)
    with pytest.raises(InputError, match=r"frames\.json: not a check of frames"):
        read_frames(b"\xff{", "frames.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("centre", [0.0] * 3),
        ("spread", [0.0] * NUMBERS),
        ("precision", [[1.0] * NUMBERS] * (NUMBERS - 1) + [[1.0]]),
        ("precision", [[1.0] * NUMBERS] * (NUMBERS - 1) + [["x"] * NUMBERS]),
        ("most_gain", float("nan")),
    ],
)
def test_a_check_of_another_shape_is_refused(check, key: str, value: object) -> None:
    document = json.loads(check.model_dump_json()) | {key: value}
    with pytest.raises(InputError, match=r"frames\.json"):
        read_frames(json.dumps(document).encode(), "frames.json")


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        read_frames(b"[" * 200_000, "frames.json")


def test_deep_pictures_have_the_numbers_of_their_bytes() -> None:
    grey = crops(20, 13)[..., :1]
    numbers = frame_numbers(grey)
    assert numbers.shape == (20, MONO_NUMBERS)
    deep = grey.astype(np.uint16) * 257
    assert frame_numbers(deep, 65_535) == pytest.approx(numbers, rel=1e-4, abs=1e-4)
    wide = np.concatenate((grey, grey), axis=2)  # looks the same, in a frame that isn't square
    assert frame_numbers(wide)[:, 0] == pytest.approx(numbers[:, 0], abs=0.02)


def test_mono_frames_are_checked() -> None:
    fit, held_out, others = (crops(600, seed)[..., :1].astype(np.uint16) * 16 for seed in (1, 2, 3))
    check = FrameCheck.of(fit, held_out, 4080)
    assert check is not None
    assert caught(check, others) <= 2 * check.false_alarm_rate
    random = np.random.default_rng(0)
    assert caught(check, random.integers(0, 4081, others.shape, dtype=np.uint16)) == 1
    assert caught(check, 4080 - others) == 1
    assert caught(check, others // 16) == 1, "bytes in a deep array"
    again = read_frames(check.model_dump_json().encode(), "frames.json")
    assert again.faults(others) == check.faults(others)
