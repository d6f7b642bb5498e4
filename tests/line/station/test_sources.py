"""Videos, by the real OpenCV, and generators."""

from __future__ import annotations

import sys
import threading
import types

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.line.station.answers import LineAnswer
from drupe.line.station.configuration import GeneratorSettings, VideoSettings
from drupe.line.station.sources.generator import GeneratorSource
from drupe.line.station.sources.source import LineItem, SourceError
from drupe.line.station.sources.video import VideoSource


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    cv2 = pytest.importorskip("cv2", reason="needs drupe[video]")
    file = tmp_path_factory.mktemp("video") / "belt.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(6):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[:, :, 0] = 40 * number  # blue, as OpenCV has it
        frame[:24, :, 2] = 200
        writer.write(frame)
    writer.release()
    return file


def frames(video, **settings) -> list:
    source = VideoSource(VideoSettings(path=str(video), **settings), "now")
    return [one for one in source.items(threading.Event()) if one is not None]


def test_each_frame_is_an_item_in_bgr(video) -> None:
    found = frames(video)
    assert [one.name for one in found] == [f"belt-now-{n:08}" for n in range(1, 7)]
    assert found[5].image.shape == (48, 64, 3)
    assert abs(int(found[5].image[40, 10, 0]) - 200) < 12
    source = VideoSource(VideoSettings(path=str(video)), "now")
    assert (source.order, source.waits, source.keeps) == ("bgr", True, False)
    source.done(found[0], LineAnswer(1, found[0].name, "accept", "now"))
    source.close()


def test_every_third_frame_and_a_part_of_it(video) -> None:
    found = frames(video, every=3, box=(10, 0, 32, 16))
    assert [one.name[-1] for one in found] == ["3", "6"]
    assert found[0].image.shape == (16, 32, 3)
    assert abs(int(found[0].image[5, 5, 2]) - 200) < 12


def test_a_box_outside_the_frame_is_refused(video) -> None:
    source = VideoSource(VideoSettings(path=str(video), box=(40, 0, 32, 16)), "now")
    with pytest.raises(SourceError, match=r"video.box: must lie in frames of 64 x 48"):
        source.probe()


def test_a_video_is_tried_out(video, tmp_path) -> None:
    source = VideoSource(VideoSettings(path=str(video), box=(0, 0, 32, 16)), "now")
    assert source.probe() == "gives frames of 64 x 48, 32 x 16 of them decided"
    (tmp_path / "no.avi").write_bytes(b"no video")
    broken = VideoSource(VideoSettings(path=str(tmp_path / "no.avi")), "now")
    with pytest.raises(SourceError, match="can't be opened by OpenCV"):
        broken.probe()


class Camera:
    """OpenCV with a camera that gives so many frames, then none."""

    def __init__(self, count: int) -> None:
        self.left, self.released = count, 0

    def VideoCapture(self, path):
        return self

    def isOpened(self) -> bool:
        return True

    def release(self) -> None:
        self.released += 1

    def read(self):
        self.left -= 1
        return (True, np.zeros((4, 4, 3), np.uint8)) if self.left >= 0 else (False, None)


def test_a_camera_without_frames_is_dead(video) -> None:
    source = VideoSource(VideoSettings(path=0), "now")
    assert not source.waits
    source._cv2 = camera = Camera(2)
    with pytest.raises(SourceError, match="gives no more frames after 2"):
        list(source.items(threading.Event()))
    with pytest.raises(SourceError, match="gives no frame"):
        source.probe()
    assert camera.released == 2


def test_a_camera_stops_when_it_is_asked_to(video) -> None:
    source, stop = VideoSource(VideoSettings(path=0), "now"), threading.Event()
    source._cv2 = Camera(10)
    items = source.items(stop)
    assert next(items).name == "frame-now-00000001"
    stop.set()
    assert list(items) == []


@pytest.fixture
def my_camera(monkeypatch):
    module = types.ModuleType("my_camera")
    module.frames = lambda: iter([np.zeros(3), ("piece-9", "a.png"), None, ("piece-10", None)])
    module.number = 5
    monkeypatch.setitem(sys.modules, "my_camera", module)


def test_a_generator_gives_images_with_or_without_names(my_camera) -> None:
    source = GeneratorSource(GeneratorSettings(function="my_camera:frames"), "now")
    first, *others = source.items(threading.Event())
    assert (first.name, first.fault) == ("item-now-00000001", None)
    assert others == [
        LineItem("piece-9", "a.png"),
        LineItem("item-now-00000003", None, "the source gave no image"),
        LineItem("piece-10", None, "the source gave no image"),
    ]
    assert source.probe() == "was found; not called"
    stop = threading.Event()
    items = source.items(stop)
    next(items)
    stop.set()
    assert list(items) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:frames", "must name a module in"),
        ("my_camera:gone", "must name a function of my_camera, got 'gone'"),
        ("my_camera:number", "must be a function, got 5"),
    ],
)
def test_a_function_that_is_not_there(my_camera, name, said) -> None:
    with pytest.raises(InputError, match=f"source.generator.function: {said}"):
        GeneratorSource(GeneratorSettings(function=name), "now")


def test_a_module_that_lacks_a_package_says_which(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "their_camera.py").write_text("import no_such_package\n")
    with pytest.raises(InputError, match="their_camera needs no_such_package"):
        GeneratorSource(GeneratorSettings(function="their_camera:frames"), "now")
