from __future__ import annotations

import errno
import threading

import numpy as np
import pytest

from drupe.deployment.capture import writer
from drupe.deployment.capture.segments import COUNTS, ITEMS, read_segment, segment_folders
from drupe.deployment.capture.writer import Capture
from drupe.errors import InputError
from line_stand_in import images, stand_in

RATES = {"accept": 1.0, "review": 1.0, "reject": 1.0}


def capture(folder, **options):
    """Return a capture that writes counts only when asked, and the classifier that it watches."""
    classifier = stand_in()
    return Capture(classifier, folder, seed=1, flush_seconds=1000, **options), classifier


def segments(folder):
    return [read_segment(one) for one in segment_folders(folder)]


def test_every_review_and_a_share_of_all_else_is_kept(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=0.1)
    for _ in range(20):
        classifier.decide(images(*[0.1] * 90, *[0.5] * 5, *[0.9] * 5))
    kept.close()
    (one,) = segments(tmp_path)
    assert one.counts.seen == {"accept": 1800, "review": 100, "reject": 100}
    lanes = [item.lane for item in one.items]
    assert lanes.count("review") == 100
    assert 140 < lanes.count("accept") < 225  # 180 ± 3.5 standard deviations
    assert all(item.u < one.counts.rates[item.lane] for item in one.items)


def test_a_picture_is_kept_as_it_was_with_its_name_score_and_fault(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=1)
    (picture,) = images(0.5)
    classifier.decide(picture, items="belt-7")
    classifier.decide(images(0.9))
    kept.close()
    (one,) = segments(tmp_path)
    first, second = one.items
    assert (first.item, first.lane, first.fault) == ("belt-7", "review", None)
    assert first.score == pytest.approx(0.5, abs=0.003)
    assert second.item is None
    assert np.array_equal(np.load(one.folder / first.file), picture)


def test_images_without_pixels_are_counted(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=1)
    with pytest.raises(InputError):
        classifier.decide(np.zeros((2, 2), np.uint8))
    kept.close()
    (one,) = segments(tmp_path)
    assert one.counts.refused == 1
    assert sum(one.counts.seen.values()) == 0


def test_a_full_folder_is_thinned_to_a_sample_of_known_probability(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=1, limit=200)
    for _ in range(10):
        classifier.decide(images(*[0.1] * 100, *[0.5] * 3))
        kept.flush()
    kept.close()
    (one,) = segments(tmp_path)
    assert len(list(tmp_path.glob("*/*.npy"))) <= 200
    assert one.counts.rates["review"] == 1
    assert one.counts.rates["accept"] in (1 / 8, 1 / 16)
    remaining = {path.name for path in one.folder.glob("*.npy")}
    belonging = {item.file for item in one.kept(one.counts.rates)}
    assert belonging == remaining
    assert one.counts.seen == {"accept": 1000, "review": 30, "reject": 0}


def test_thinning_leaves_each_item_with_the_same_chance(tmp_path) -> None:
    early = late = 0
    for seed in range(40):
        folder = tmp_path / str(seed)
        classifier = stand_in()
        kept = Capture(classifier, folder, sample=1, limit=40, seed=seed, flush_seconds=1000)
        for _ in range(4):
            classifier.decide(images(*[0.1] * 50))
            kept.flush()
        kept.close()
        (one,) = segments(folder)
        numbers = [int(item.file[:9]) for item in one.kept(one.counts.rates)]
        early += sum(number <= 100 for number in numbers)
        late += sum(number > 100 for number in numbers)
    assert abs(early - late) < 4 * (early + late) ** 0.5


def test_segments_end_after_a_while_and_rates_recover_once_all_is_collected(tmp_path) -> None:
    now = [1000.0]
    classifier = stand_in()
    kept = Capture(
        classifier, tmp_path, sample=1, limit=10, flush_seconds=1000, clock=lambda: now[0]
    )
    classifier.decide(images(*[0.1] * 100))
    kept.flush()
    for path in tmp_path.glob("*/*.npy"):
        path.unlink()  # as if collected
    now[0] += 601
    kept.flush()
    classifier.decide(images(0.1))
    kept.close()
    before, after = segments(tmp_path)
    assert before.counts.rates["accept"] < 1
    assert after.counts.rates["accept"] == 1
    assert after.counts.seen["accept"] == 1


def test_a_full_disk_stops_the_capture_for_a_minute_and_never_the_line(
    tmp_path, monkeypatch, caplog
) -> None:
    now = [0.0]
    classifier = stand_in()
    kept = Capture(classifier, tmp_path, sample=1, flush_seconds=1000, clock=lambda: now[0])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer.np, "save", full)
        assert classifier.decide(images(0.1, 0.9)).tolist() == ["accept", "reject"]
    assert "nothing is kept for 60 s" in caplog.text
    classifier.decide(images(0.5))
    now[0] += 61
    classifier.decide(images(0.5))
    kept.close()
    (one,) = segments(tmp_path)
    assert one.counts.lost == {"accept": 1, "review": 0, "reject": 1}
    assert one.counts.unseen == 1
    assert [item.lane for item in one.items] == ["review"]


def test_half_a_line_is_taken_back(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=1)

    class Half:
        def __init__(self, file):
            self.file = file

        def write(self, line):
            return self.file.write(line[: len(line) // 2])

        def __getattr__(self, name):
            return getattr(self.file, name)

    kept._items = Half(kept._items)
    classifier.decide(images(0.1))
    kept.close()
    (one,) = segments(tmp_path)
    assert (one.folder / ITEMS).read_bytes() == b""
    assert one.counts.lost["accept"] == 1
    assert list(one.folder.glob("*.npy")) == []


def test_what_a_killed_writer_left_is_a_sample_too(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=0.5)
    classifier.decide(images(*[0.1] * 50, *[0.5] * 5))
    kept.flush()
    classifier.decide(images(*[0.1] * 50, *[0.5] * 5))  # and killed: these counts aren't written
    (folder,) = segment_folders(tmp_path)
    lines = (folder / ITEMS).read_bytes()
    (folder / ITEMS).write_bytes(lines + b'{"file":"half')
    one = read_segment(folder)
    assert one.counts.seen == {"accept": 50, "review": 10, "reject": 0}
    assert sum(item.lane == "review" for item in one.items) == 10
    assert all(int(item.file[:9]) <= 55 for item in one.items if item.lane == "accept")
    kept.close()


def test_damaged_segments_are_named(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=1)
    classifier.decide(images(0.1, 0.5))
    kept.close()
    (folder,) = segment_folders(tmp_path)
    whole = (folder / ITEMS).read_text()
    (folder / ITEMS).write_text(whole.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"must have the 2 lines that counts.json counts, got 1"):
        read_segment(folder)
    (folder / ITEMS).write_text("{\n" + whole.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"items.jsonl, line 1: not valid JSON"):
        read_segment(folder)
    (folder / ITEMS).write_text(whole)
    counts = (folder / COUNTS).read_text()
    (folder / COUNTS).write_text(counts.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(InputError, match="schema_version must be 1, got 2"):
        read_segment(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "sample: must be a probability above 0, up to 1, got 0"),
        ({"sample": 1.5}, "sample: must be a probability"),
        ({"limit": 0}, "limit: must be at least 1 picture, got 0"),
    ],
)
def test_options_that_cannot_be(tmp_path, options, message) -> None:
    with pytest.raises(InputError, match=message):
        Capture(stand_in(), tmp_path, **options)


def test_one_process_at_a_time(tmp_path) -> None:
    kept, _ = capture(tmp_path)
    with pytest.raises(InputError, match="another process captures here"):
        capture(tmp_path)
    kept.close()
    kept.close()
    again, _ = capture(tmp_path)
    again.close()


def test_a_closed_capture_keeps_nothing_more(tmp_path) -> None:
    with Capture(stand_in(), tmp_path, sample=1, flush_seconds=1000) as kept:
        pass
    classifier = stand_in()
    classifier.watch(kept)
    classifier.decide(images(0.5))
    assert list(tmp_path.glob("*/*.npy")) == []


def test_many_threads_lose_no_count(tmp_path) -> None:
    kept, classifier = capture(tmp_path, sample=0.2)

    def decide() -> None:
        for _ in range(100):
            classifier.decide(images(0.1, 0.5))

    threads = [threading.Thread(target=decide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.close()
    (one,) = segments(tmp_path)
    assert one.counts.seen == {"accept": 800, "review": 800, "reject": 0}
    assert len({item.file for item in one.items}) == len(one.items) == one.counts.lines


def test_a_process_that_goes_elsewhere_keeps_pictures_where_it_began(tmp_path, monkeypatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    kept, classifier = capture("captured", sample=1)
    monkeypatch.chdir(tmp_path / "there")
    classifier.decide(images(0.5))
    kept.close()
    assert list((tmp_path / "there").iterdir()) == []
    (one,) = segments(tmp_path / "here" / "captured")
    assert one.counts.seen["review"] == len(one.items) == 1
