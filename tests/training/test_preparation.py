from __future__ import annotations

import io

import numpy as np

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
