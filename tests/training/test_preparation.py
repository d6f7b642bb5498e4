from __future__ import annotations

import io
import shutil

import numpy as np
import pytest

from drupe.derived import write_arrays
from drupe.errors import InputError
from drupe.training.preparation import prepare_data


def test_damaged_groups_are_found_anew_and_that_said(tiny, store, caplog):
    """An array of the right form with other groups would let copies cross into test."""
    config = tiny()
    whole = prepare_data(config, store)
    cached = whole.dataset.cache / "groups.npz"
    content = cached.read_bytes()

    def array(values) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, values)
        return buffer.getvalue()

    archive = io.BytesIO()
    np.savez(archive, groups=np.arange(len(whole.groups), dtype=np.int32))
    flipped = bytearray(content)
    flipped[content.index(whole.groups.tobytes()) + 8] ^= 1
    damages = [b"", b"garbage", b"PK\x03\x04", content[:-8], archive.getvalue(), bytes(flipped)]
    damages += [array(whole.groups[:-1]), array(whole.groups.astype(float)), array(np.int32(1))]
    for damaged in damages:
        cached.write_bytes(damaged)
        caplog.clear()
        assert np.array_equal(prepare_data(config, store).groups, whole.groups), damaged[:20]
        assert [line.startswith(f"{cached}: ") for line in caplog.messages] == [True]
    caplog.clear()
    assert np.array_equal(prepare_data(config, store).groups, whole.groups)
    assert caplog.messages == []


def test_groups_of_other_items_are_found_anew(tiny, store):
    config = tiny()
    whole = prepare_data(config, store)
    cached = whole.dataset.cache / "groups.npz"
    other = np.zeros_like(whole.groups)
    write_arrays(cached, {"version": 1, "items": "of another pack"}, {"groups": other})

    assert np.array_equal(prepare_data(config, store).groups, whole.groups)


def test_groups_that_an_earlier_version_kept_are_removed(tiny, store):
    config = tiny()
    cache = prepare_data(config, store).dataset.cache
    (cache / "groups.npz").unlink()
    np.save(cache / "groups-v1.npy", np.zeros(3, np.int32))

    prepare_data(config, store)
    assert [path.name for path in cache.glob("groups*")] == ["groups.npz"]


def test_groups_are_kept_together_and_said_to_be(tiny, crops, store, tmp_path) -> None:
    shutil.copytree(crops / "train", tmp_path / "set")
    data = {"root": str(tmp_path / "set"), "group": r"/(\d+)\d\.png$", "split_seed": 1}
    plain, split = (
        prepare_data(tiny(data={**data, "split_by": by}), store) for by in ("item", "group")
    )
    assert plain.record.notes == []
    (note,) = split.record.notes
    assert note.startswith("split by group: fit: ")
    found = {
        side: {split.dataset.origins[index] for index in getattr(split.split, side)}
        for side in ("fit", "calibration", "test")
    }
    assert sum(map(len, found.values())) == len(set(split.dataset.origins))
    names, items = ", ".join(sorted(found["test"])), len(split.split.test)
    assert note.endswith(f"test: {names} ({items} items)")


def test_to_keep_groups_together_they_must_be_known(tiny, store) -> None:
    with pytest.raises(InputError, match=r"data\.split_by: group needs to know the groups"):
        prepare_data(tiny(data={"split_by": "group"}), store)
