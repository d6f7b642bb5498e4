"""A camera, a video file or a stream, by OpenCV (``drupe[video]``): each frame is an item."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

from drupe.data.image_contract import Channels
from drupe.line.station.configuration import VideoSettings
from drupe.line.station.sources.source import LineItem, SourceError, Unremembered


class VideoSource(Unremembered):
    """Reads frames, in BGR as OpenCV gives them; ``started`` makes their names this start's own."""

    order: Channels | None = "bgr"

    def __init__(self, settings: VideoSettings, started: str) -> None:
        import cv2

        self._cv2: Any = cv2
        self._settings = settings
        self._is_file = isinstance(settings.path, str) and Path(settings.path).is_file()
        self.name = f"video {settings.path}"
        self.waits, self.silent_after_s = self._is_file, settings.silent_after_s
        what = Path(str(settings.path)).stem if self._is_file else "frame"
        self._names = f"{what}-{started}-"

    def probe(self) -> str:
        """Read one frame."""
        capture = self._open()
        try:
            is_read, frame = capture.read()
            if not is_read:
                raise SourceError("gives no frame")
            part = self._part(frame)
        finally:
            capture.release()
        height, width = part.shape[:2]
        whole = f"{frame.shape[1]} x {frame.shape[0]}"
        return f"gives frames of {whole}, {width} x {height} of them decided"

    def items(self, stop: Event) -> Iterator[LineItem | None]:
        """Yield frames; a file has an end, a camera or a stream that ends is dead."""
        capture = self._open()
        number = 0
        try:
            while not stop.is_set():
                is_read, frame = capture.read()
                if not is_read:
                    break
                number += 1
                if number % self._settings.every:
                    yield None
                    continue
                yield LineItem(f"{self._names}{number:08}", self._part(frame))
        finally:
            capture.release()
        if not stop.is_set() and (number == 0 or not self._is_file):
            raise SourceError(f"gives no more frames after {number:,}")

    def _open(self) -> Any:
        capture = self._cv2.VideoCapture(self._settings.path)
        if not capture.isOpened():
            raise SourceError("can't be opened by OpenCV")
        return capture

    def _part(self, frame: Any) -> Any:
        if self._settings.box is None:
            return frame
        x, y, width, height = self._settings.box
        if y + height > frame.shape[0] or x + width > frame.shape[1]:
            raise SourceError(
                f"source.video.box: must lie in frames of {frame.shape[1]} x {frame.shape[0]}, got "
                f"{list(self._settings.box)}"
            )
        return frame[y : y + height, x : x + width]
