"""Is this a picture of the line at all? A check of each frame before its score counts.

A network gives a score to anything: an array in OpenCV's channel order, one channel copied into
three, a black or flat frame, noise. What a frame looks like is summed up by twenty-odd numbers per
picture (means, deviations, sharpness and third moments of its channels, their correlations, the
share of white pixels; five of a mono picture), and three questions are asked:

- *implausible*: is it further from the fit split's pictures (Mahalanobis distance) than those of
  the calibration split are?
- *swapped*: does it fit the fit split's pictures better once its channels change places, by more
  than calibration's do? (Twice a log-likelihood ratio of normal distributions.) Mono pictures have
  no channels to change places.
- *torn*: are more rows at its upper or lower edge equal than in calibration's pictures? So looks a
  file that was left half written (BMP begins below); formats without a checksum (BMP, TIFF, JPEG)
  decode it without an error.

Location and shape come from fit, limits from calibration, whose pictures the former have never
seen. So a picture like theirs lies beyond a limit that is the k-th largest of n with a probability
of at most k / (n + 1), whatever the distributions (split conformal prediction: Vovk, Gammerman &
Shafer 2005, *Algorithmic Learning in a Random World*; Lei et al. 2018, JASA 113).

What it can't see: pictures that look alike in these numbers, such as a shifted or partly black one
on a black background.

Letters: N images of H × W pixels and C channels, F numbers per image, n calibration images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations, permutations
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import validate
from drupe.data.decode import BYTE, DEEPEST
from drupe.data.image_contract import RawPixel
from drupe.errors import InputError
from drupe.files import parse_json

FRAMES_FILE = "frames.json"

FALSE_ALARMS = 0.005
"""Share of good frames that may be called a fault: a third of it for each question."""

SURPRISE = 0.001
"""Probability under which faults among good images are no longer put down to false alarms."""

QUESTIONS = 3
"""Asked of each frame."""

FEWEST = 100
"""With fewer images in fit or in calibration, nothing is checked."""

SAMPLED_SIDE = 32
"""Pixels a side that are looked at, evenly spaced: more would tell little and take time."""

WHITE = 250 / 255
"""Share of the white level from which on a pixel is white: close to overexposed."""

SOME_WHITE = 0.05
"""Share of white pixels that counts as much as having none: highlights come and go."""

RIDGE = 0.01
"""Added to the correlations' diagonal: numbers that follow from one another don't explode."""

TAIL = 0.005
"""Share of fit pictures, at each end of each number, that are moved to its edge: odd ones."""

REACH = 3.0
"""Standard deviations beyond the edges at which a number is cut off to ask for swapped channels."""

SMALL = 1e-3
"""Added before a logarithm is taken, so that there is one of zero."""

LEAST_SPREAD = 0.02
"""Of a number that hardly varies: 2 % of full scale, or of the value behind a logarithm.

Without it one speck in a channel that is otherwise empty would lie further off than any fault.
"""

Vector = NDArray[np.float64]

IMPLAUSIBLE = "doesn't look like the pictures that the certificate rests on"
TORN = "many rows at an edge are all alike, as in a file that was torn in writing"
SWAPPED = "its channels look swapped (red and blue?)"


def frame_numbers(images: NDArray[RawPixel], white_level: int = BYTE) -> Vector:
    """Return what images [N, H, W, C] look like, float64 [N, F]; see :func:`_places`."""
    down, across = (max(1, side // SAMPLED_SIDE) for side in images.shape[1:3])
    rows, channels = images[:, ::down], images.shape[3]
    pixels = rows[:, :, ::across].reshape(len(images), -1, channels).astype(np.float32)
    pixels *= np.float32(1 / white_level)
    ones = np.full((1, pixels.shape[1]), 1 / pixels.shape[1], np.float32)
    mean = ones @ pixels
    centred = pixels - mean
    covariance = centred.transpose(0, 2, 1) @ centred / np.float32(pixels.shape[1])
    third = np.square(pixels).transpose(0, 2, 1) @ pixels / np.float32(pixels.shape[1])
    deviation = np.sqrt(np.einsum("nii->ni", covariance)) + np.float32(SMALL)
    correlation = covariance / (deviation[:, :, None] * deviation[:, None, :])
    # Neighbours, not samples: sharpness and noise live between adjacent pixels.
    wide = rows[:, ::2].astype(np.int16 if images.dtype == np.uint8 else np.int32)
    edges = np.abs(np.diff(wide, axis=2)).reshape(len(images), -1, channels).astype(np.float32)
    edge = np.full((1, edges.shape[1]), 1 / (white_level * edges.shape[1]), np.float32) @ edges
    white = ones @ (pixels >= np.float32(WHITE)).astype(np.float32)
    white += np.float32(SOME_WHITE - SMALL)
    logs = np.log(np.concatenate((deviation[:, None], edge, white), axis=1) + np.float32(SMALL))
    thirds = np.log(np.abs(third) + np.float32(SMALL)).reshape(len(images), -1)
    pairs = correlation[:, *np.triu_indices(channels, 1)]
    parts = (mean[:, 0], logs.reshape(len(images), -1), thirds, pairs)
    return np.concatenate(parts, axis=1).astype(np.float64)


def equal_edge_rows(images: NDArray[RawPixel]) -> Vector:
    """Return the larger share of rows, float64 [N], that equal the first or the last one."""
    step = max(1, images.shape[2] // SAMPLED_SIDE)
    columns = images[:, :, ::step]
    return np.maximum(_equal_first_rows(columns), _equal_first_rows(columns[:, ::-1]))


def _equal_first_rows(images: NDArray[RawPixel]) -> Vector:
    differs = (images != images[:, :1]).any((2, 3))
    rows = images.shape[1]
    equal: Vector = np.where(differs.any(1), differs.argmax(1), rows) / rows
    return equal


def _places(order: Sequence[int]) -> list[int]:
    """Return which number takes each number's place when channels come in another ``order``.

    Of three channels twelve numbers are means, deviations, edges and white; nine the third moments
    E[a² b] of channels a and b; three the correlations of channels 0-1, 0-2 and 1-2. Of one channel
    there are four and one.
    """
    count = len(order)
    single = [count * kind + one for kind in range(4) for one in order]
    thirds = [4 * count + count * a + b for a in order for b in order]
    places = list(combinations(range(count), 2))
    pair = {frozenset(two): 4 * count + count**2 + place for place, two in enumerate(places)}
    return single + thirds + [pair[frozenset((order[a], order[b]))] for a, b in places]


_PLACES = {
    channels: np.array([_places(order) for order in permutations(range(channels))])
    for channels in (1, 3)
}
"""By number of channels: a row per order of them, [C!, F]; the first is the one that they are given
in."""

NUMBERS, MONO_NUMBERS = 24, 5


class FrameCheck(BaseModel):
    """What the pictures behind a certificate look like, and how far a frame may lie off.

    Vectors have F numbers. ``low`` and ``high`` are the edges of what fit shows; ``centre``,
    ``spread`` and ``precision`` ([F, F], the inverse of the correlations) its location and shape;
    ``most_distance``, ``most_gain`` and ``most_equal_rows`` the limits of the three questions.
    ``images``: n; ``white_level``: the value of a white pixel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    images: int = Field(ge=1)
    low: tuple[float, ...]
    high: tuple[float, ...]
    centre: tuple[float, ...]
    spread: tuple[Annotated[float, Field(gt=0)], ...]
    precision: tuple[tuple[float, ...], ...]
    most_distance: float
    most_gain: float
    most_equal_rows: float
    white_level: int = Field(BYTE, ge=BYTE, le=DEEPEST)

    @model_validator(mode="after")
    def _vectors_have_one_length(self) -> Self:
        length = len(self.low)
        if length not in (NUMBERS, MONO_NUMBERS):
            raise ValueError(f"low must have {NUMBERS} or {MONO_NUMBERS} numbers, got {length}")
        for name in ("high", "centre", "spread", "precision"):
            if len(getattr(self, name)) != length:
                got = len(getattr(self, name))
                raise ValueError(f"{name} must have {length} numbers as low has, got {got}")
        if any(len(row) != length for row in self.precision):
            raise ValueError(f"precision must have rows of {length} numbers")
        return self

    @classmethod
    def of(
        cls,
        fit: NDArray[RawPixel],
        calibration: NDArray[RawPixel],
        white_level: int = BYTE,
    ) -> Self | None:
        """Learn from images [*, H, W, C] of both splits; None where either has too few."""
        if min(len(fit), len(calibration)) < FEWEST:
            return None
        found = _in_parts(fit, white_level)
        low, high = np.quantile(found, (TAIL, 1 - TAIL), axis=0)
        inner = np.clip(found, low, high)
        centre, spread = inner.mean(0), np.maximum(inner.std(0), LEAST_SPREAD)
        scaled = (inner - centre) / spread
        shape = np.cov(scaled.T)
        # Below the least spread a number varies less than it counts for.
        shape += np.diag(np.maximum(0, 1 - np.diag(shape)) + RIDGE)
        check = cls(
            images=len(calibration),
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            centre=tuple(centre.tolist()),
            spread=tuple(spread.tolist()),
            precision=tuple(map(tuple, np.linalg.inv(shape).tolist())),
            most_distance=0,
            most_gain=0,
            most_equal_rows=0,
            white_level=white_level,
        )
        numbers = _in_parts(calibration, white_level)
        return check.model_copy(
            update={
                "most_distance": _limit(check._distance(numbers)),
                "most_gain": _limit(check._gain(numbers)),
                "most_equal_rows": _limit(equal_edge_rows(calibration)),
            }
        )

    @property
    def false_alarm_rate(self) -> float:
        """The probability that a picture like calibration's is called a fault: at most this."""
        return QUESTIONS * _rank(self.images) / (self.images + 1)

    def faults(self, images: NDArray[RawPixel]) -> list[str | None]:
        """Return what is wrong with each of images [N, H, W, C]; None where nothing."""
        numbers = frame_numbers(images, self.white_level)
        distance, gain = self._distance(numbers), self._gain(numbers)
        torn = equal_edge_rows(images) > self.most_equal_rows
        swapped, odd = gain > self.most_gain, distance > self.most_distance
        if not (torn.any() or swapped.any() or odd.any()):
            return [None] * len(images)
        faults = np.full(len(images), None, object)
        faults[odd | swapped] = IMPLAUSIBLE
        faults[torn] = TORN
        faults[swapped & (distance - gain <= self.most_distance)] = SWAPPED
        found: list[str | None] = faults.tolist()
        return found

    def explains(self, faults: int, images: int) -> bool:
        """Return whether so many faults among ``images`` good ones are no surprise.

        They are one where at least as many come in under :data:`SURPRISE` of all cases (Poisson).
        """
        mean = self.false_alarm_rate * images
        terms = [math.exp(-mean)]
        for count in range(1, faults):
            terms.append(terms[-1] * mean / count)
        return faults == 0 or 1 - math.fsum(terms) >= SURPRISE

    @cached_property
    def _arrays(self) -> tuple[Vector, Vector, Vector, Vector]:
        """Centre, 1 / spread and the cut-off edges, [F]; the precision, [F, F]."""
        centre, spread = np.array(self.centre), np.array(self.spread)
        edges = np.array((self.low - REACH * spread, self.high + REACH * spread))
        return centre, 1 / spread, edges, np.array(self.precision)

    def _distance(self, numbers: Vector) -> Vector:
        """Return squared distances from the centre, float64 [...], of numbers [..., F]."""
        centre, scale, _, precision = self._arrays
        away = (numbers - centre) * scale
        squared: Vector = ((away @ precision) * away).sum(-1)
        return squared

    def _gain(self, numbers: Vector) -> Vector:
        """Return by how much the best wrong order of channels fits better, float64 [N]."""
        places = _PLACES[3 if len(self.low) == NUMBERS else 1]
        if len(places) == 1:  # one channel
            return np.zeros(len(numbers))
        low, high = self._arrays[2]
        orders = self._distance(np.minimum(np.maximum(numbers[:, places], low), high))
        gain: Vector = orders[:, 0] - orders[:, 1:].min(1)
        return gain


def read_frames(content: bytes, source: str) -> FrameCheck:
    """Return the check that a bundle's file holds; ``source`` names it in messages.

    Raises:
        InputError: a damaged file.
    """
    try:
        document = parse_json(content)
    except ValueError as error:  # no JSON, or no UTF-8
        raise InputError(f"{source}: not a check of frames ({error})") from None
    return validate(FrameCheck, document, source)


def _rank(images: int) -> int:
    """Return k: the limit is the k-th largest of what ``images`` calibration images show."""
    return max(1, int(FALSE_ALARMS / QUESTIONS * (images + 1)))


def _limit(values: Vector) -> float:
    return float(np.partition(values, -_rank(len(values)))[-_rank(len(values))])


def _in_parts(images: NDArray[RawPixel], white_level: int, part: int = 256) -> Vector:
    starts = range(0, len(images), part)
    parts = (images[start : start + part] for start in starts)
    return np.concatenate([frame_numbers(images, white_level) for images in parts])
