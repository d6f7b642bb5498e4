from __future__ import annotations

import io
import shutil

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.training.preparation import prepare_data


def test_damaged_groups_are_found_anew(tiny, store):
    config = tiny()
    whole = prepare_data(config, store)
    (cached,) = whole.dataset.cache.glob("groups-*.npy")
    content = cached.read_bytes()

    def array(values) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, values)
        return buffer.getvalue()

    archive = io.BytesIO()
    np.savez(archive, whole.groups)
    damages = [b"", b"garbage", b"PK\x03\x04", content[:-8], archive.getvalue()]
    damages += [array(whole.groups[:-1]), array(whole.groups.astype(float)), array(np.int32(1))]
    for damaged in damages:
        cached.write_bytes(damaged)
        assert np.array_equal(prepare_data(config, store).groups, whole.groups), damaged[:20]
        assert cached.read_bytes() == content


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
