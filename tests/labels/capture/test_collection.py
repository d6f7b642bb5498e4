from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from PIL import Image

from drupe.data.image_contract import ImageContract
from drupe.deployment.capture.segments import COUNTS, segment_folders
from drupe.deployment.capture.writer import Capture
from drupe.errors import InputError
from drupe.labels.capture import collection
from drupe.labels.capture.collection import collect, read_collection
from line_stand_in import SIDE, images, stand_in


def line(folder, sample=0.5, digest=None, **options):
    """Return a capture in ``folder`` and the classifier that it watches."""
    classifier = stand_in()
    if digest:
        classifier.digest = digest
    return Capture(
        classifier, folder, sample=sample, seed=2, flush_seconds=1000, **options
    ), classifier


def captured(folder, rounds=10, **options):
    kept, classifier = line(folder, **options)
    for _ in range(rounds):
        classifier.decide(images(*[0.1] * 20, *[0.5] * 2, *[0.9] * 4))
    kept.close()


def test_pictures_move_to_a_folder_of_crops(tmp_path) -> None:
    captured(tmp_path / "captured")
    found = collect(tmp_path / "captured", tmp_path / "week")
    lanes = {lane: (one.seen, one.kept, one.rate) for lane, one in found.lanes.items()}
    assert lanes["review"] == (20, 20, 1.0)
    assert lanes["accept"][::2] == (200, 0.5)
    crops = tmp_path / "week/crops"
    assert len(list((crops / "clean").iterdir())) == lanes["accept"][1]
    assert len(list((crops / "pit").iterdir())) == 20 + lanes["reject"][1]
    assert list((tmp_path / "captured").glob("*/*.npy")) == []
    assert read_collection(tmp_path / "week") == found


def test_the_ranking_names_lane_score_and_label(tmp_path) -> None:
    captured(tmp_path / "captured", rounds=1, sample=1)
    collect(tmp_path / "captured", tmp_path / "week")
    rows = list(csv.DictReader((tmp_path / "week/labels.csv").open()))
    assert len(rows) == 26
    assert [float(row["score"]) for row in rows] == sorted(
        (float(row["score"]) for row in rows), reverse=True
    )
    by_split = {row["split"]: row for row in rows}
    assert set(by_split) == {"accepted", "reviewed", "rejected"}
    assert by_split["accepted"]["label"] == "clean"
    assert by_split["reviewed"]["label"] == by_split["rejected"]["label"] == "pit"


def test_the_sample_is_drawn_alike_from_every_lane(tmp_path) -> None:
    captured(tmp_path / "captured", rounds=200, sample=0.25)
    found = collect(tmp_path / "captured", tmp_path / "week")
    assert found.sample_rate == 0.25
    splits = {
        row["path"]: row["split"] for row in csv.DictReader((tmp_path / "week/labels.csv").open())
    }
    sampled = [splits[path] for path in found.sample]
    for split, seen in (("accepted", 4000), ("reviewed", 400), ("rejected", 800)):
        assert abs(sampled.count(split) - seen / 4) < 4 * (seen * 0.25 * 0.75) ** 0.5


def test_segments_of_other_rates_are_thinned_to_the_lowest(tmp_path) -> None:
    captured(tmp_path / "captured", sample=0.8)
    captured(tmp_path / "captured", sample=0.2)
    found = collect(tmp_path / "captured", tmp_path / "week")
    assert found.lanes["accept"].rate == 0.2
    assert found.lanes["accept"].seen == 400
    assert abs(found.lanes["accept"].kept - 80) < 32


def test_the_line_runs_on_meanwhile(tmp_path) -> None:
    now = [1000.0]
    kept, classifier = line(tmp_path / "captured", sample=1, clock=lambda: now[0])
    classifier.decide(images(0.1, 0.5))
    now[0] += 700
    kept.flush()  # the first segment is over
    classifier.decide(images(0.9))
    found = collect(tmp_path / "captured", tmp_path / "week")
    assert {lane: one.seen for lane, one in found.lanes.items()} == {
        "accept": 1,
        "review": 1,
        "reject": 0,
    }
    with pytest.raises(InputError, match="holds nothing to collect"):
        collect(tmp_path / "captured", tmp_path / "next")
    kept.close()
    assert collect(tmp_path / "captured", tmp_path / "next").lanes["reject"].seen == 1


def test_what_another_bundle_decided_is_a_collection_of_its_own(tmp_path) -> None:
    captured(tmp_path / "captured", rounds=1, digest="a" * 64)
    captured(tmp_path / "captured", rounds=2, digest="b" * 64)
    first = collect(tmp_path / "captured", tmp_path / "first")
    second = collect(tmp_path / "captured", tmp_path / "second")
    assert (first.source.bundle[0], first.lanes["review"].seen) == ("a", 2)
    assert (second.source.bundle[0], second.lanes["review"].seen) == ("b", 4)


def test_torn_pictures_are_counted_as_lost(tmp_path) -> None:
    captured(tmp_path / "captured", rounds=1, sample=1)
    one, other, *_ = sorted((tmp_path / "captured").glob("*/*.npy"))
    one.write_bytes(one.read_bytes()[:-5])
    pixels = np.load(other)
    pixels[3, 3] += 1
    np.save(other, pixels)
    found = collect(tmp_path / "captured", tmp_path / "week")
    assert sum(lane.lost for lane in found.lanes.values()) == 2
    assert sum(lane.kept for lane in found.lanes.values()) == 24


def test_killed_the_same_command_goes_on(tmp_path, monkeypatch) -> None:
    captured(tmp_path / "captured", rounds=1, sample=1)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(collection, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            collect(tmp_path / "captured", tmp_path / "week")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **more: killed() if not more else None)
        with pytest.raises(KeyboardInterrupt):
            collect(tmp_path / "captured", tmp_path / "week")
    assert segment_folders(tmp_path / "captured")
    found = collect(tmp_path / "captured", tmp_path / "week")
    assert found.lanes["review"].seen == 2
    assert segment_folders(tmp_path / "captured") == []
    with pytest.raises(InputError, match="holds a collection already"):
        collect(tmp_path / "captured", tmp_path / "week")


def test_folders_that_are_something_else(tmp_path) -> None:
    with pytest.raises(InputError, match="must be the folder of a capture, got none there"):
        collect(tmp_path / "none", tmp_path / "week")
    captured(tmp_path / "captured", rounds=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="must be a new or empty folder"):
        collect(tmp_path / "captured", tmp_path / "other")
    with pytest.raises(InputError, match=r"got none with capture\.json"):
        read_collection(tmp_path / "other")
    collect(tmp_path / "captured", tmp_path / "week")
    counts = tmp_path / "week/capture.json"
    counts.write_text(counts.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(InputError, match="schema_version must be 1, got 9"):
        read_collection(tmp_path / "week")


def test_a_thinning_that_never_ends_is_named(tmp_path, monkeypatch) -> None:
    captured(tmp_path / "captured", rounds=1)
    monkeypatch.setattr(collection, "PATIENCE_SECONDS", 0.1)
    handle = collection.hold(tmp_path / "captured" / collection.THINNING_LOCK, "")
    with pytest.raises(InputError, match="is being collected or thinned by another process"):
        collect(tmp_path / "captured", tmp_path / "week")
    collection.os.close(handle)


@pytest.mark.parametrize(
    ("channels", "white_level"), [("rgb", 255), ("bgr", 255), ("mono", 255), ("mono", 4095)]
)
def test_a_collected_picture_has_the_pixels_that_were_decided(
    tmp_path, channels, white_level
) -> None:
    contract = ImageContract(SIDE, channels=channels, white_level=white_level)
    random = np.random.default_rng(0)
    pixels = random.integers(0, white_level + 1, contract.shape).astype(contract.dtype)
    captured(tmp_path / "captured", rounds=1)
    counts = collection.read_segment(segment_folders(tmp_path / "captured")[0]).counts
    source = counts.source.model_copy(update={"channels": channels, "white_level": white_level})
    collection._save(pixels, tmp_path / "one.png", source)
    assert np.array_equal(contract.of_file(tmp_path / "one.png"), pixels)
    assert Image.open(tmp_path / "one.png").size == (SIDE, SIDE)
    assert (segment_folders(tmp_path / "captured")[0] / COUNTS).exists()
