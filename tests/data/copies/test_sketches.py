from __future__ import annotations

import errno
import mmap
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from drupe.data.copies import sketches as module
from drupe.data.copies.sketches import Sketches


def windows(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(40, 216, (count, 64, 64, 2), np.uint8)


def mapped_kb(sketches: Sketches) -> int:
    """Memory in which the process holds pages of the scratch file, as the kernel counts it."""
    inode = os.fstat(sketches._file.fileno()).st_ino
    maps = Path("/proc/self/smaps").read_text()
    (found,) = re.findall(
        rf"^\S+ \S+ \S+ \S+ {inode} .*\nSize:.*\n(?:.*\n)*?Rss: +(\d+)", maps, re.M
    )
    return int(found)


def test_spectra_stay_while_pages_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads draw and read while others give the mapped pages back."""
    given = windows(96)
    with Sketches(96) as whole:
        whole.draw(0, given)
        expected = whole.spectra(np.arange(96))
    monkeypatch.setattr(module, "MAPPED", 3)
    with Sketches(96) as sketches, ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda start: sketches.draw(start, given[start : start + 4]), range(0, 96, 4))
        )
        order = np.random.default_rng(1).integers(0, 96, (200, 5))
        for indices, found in zip(order, pool.map(sketches.spectra, order), strict=True):
            np.testing.assert_array_equal(found, expected[indices])


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists() or not hasattr(mmap, "MADV_DONTNEED"),
    reason="the kernel doesn't tell what is mapped",
)
def test_the_process_holds_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAPPED", 10**6)
    with Sketches(2000) as sketches:
        sketches.draw(0, windows(2000))
        assert mapped_kb(sketches) > 5000  # all of it
        monkeypatch.setattr(module, "MAPPED", 100)
        sketches.spectra(np.arange(100))
        assert mapped_kb(sketches) == 0
        sketches.spectra(np.arange(50))
        assert 0 < mapped_kb(sketches) < 50 * 64 + 64


@pytest.mark.parametrize("way", ["reserved", "unsupported", "missing"])
def test_the_scratch_file_takes_its_space_at_once(tmp_path, monkeypatch, way: str) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if way == "unsupported":
        monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    if way == "missing":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with Sketches(500, tmp_path) as sketches:
        found = os.fstat(sketches._file.fileno())
        assert sketches.polar is not None
        assert found.st_size == sketches.polar.nbytes > 1 << 20
        assert found.st_blocks * 512 >= found.st_size


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left on device") as caught:
        Sketches(500, tmp_path)
    assert caught.value.filename == str(tmp_path)
