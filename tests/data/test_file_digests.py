from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from drupe.data import file_digests as module
from drupe.data.file_digests import CHUNK, RACY_NS, Digests, file_digests
from drupe.derived import SEAL, write_arrays
from drupe.errors import InputError
from drupe.progress import Tracker, silent

CONTENTS = {"a.bin": b"", "deep/b.bin": b"cherry", "ä c.bin": bytes(range(256)) * 5000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, data in CONTENTS.items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    return tmp_path / "set"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files just written pass for old ones: a file's ctime can't be set back."""
    monkeypatch.setattr(module, "RACY_NS", -3_600_000_000_000)


class Reads:
    """Files that the progress reported as hashed, call by call."""

    def __init__(self) -> None:
        self.announced: list[tuple[str, int, str]] = []
        self.done = 0

    @contextmanager
    def __call__(self, what: str, total: int, unit: str) -> Iterator[Tracker]:
        self.announced.append((what, total, unit))
        yield self

    def advance(self, units: int = 1, note: str = "") -> None:
        del note
        self.done += units


def kept(store: Path) -> dict[str, np.ndarray]:
    with np.load(cache_of(store)) as file:
        return {name: array for name, array in file.items() if name != SEAL}


def keep(store: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write another content of the cache, sealed as Drupe would."""
    path = cache_of(store)
    write_arrays(path, {"version": module.MANIFEST_VERSION, "root": path.stem}, arrays)


def hashed(root: Path, store: Path, paths: tuple[str, ...] = tuple(CONTENTS)) -> int:
    """Check the digests against hashlib; return how many files were read for them."""
    reads = Reads()
    found = file_digests(root, paths, store=store, workers=2, progress=reads)
    expected = tuple(hashlib.sha256((root / path).read_bytes()).hexdigest() for path in paths)
    assert found == Digests(expected, {})
    assert reads.announced == ([("hash", reads.done, "files")] if reads.done else [])
    return reads.done


def cache_of(store: Path) -> Path:
    (cache,) = (store / "manifests").iterdir()
    return cache


def test_known_digests_in_the_order_asked_for(root: Path, store: Path) -> None:
    found = file_digests(root, ("deep/b.bin", "a.bin"), store=store)
    assert found.digests == (
        # printf cherry | sha256sum, and sha256sum of nothing
        "2daf0e6c79009f9234ed9baa5bb930898e2847810617e118518d88e4d3140a2e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )


@pytest.mark.usefixtures("settled")
def test_unchanged_files_are_not_read_again(root: Path, store: Path) -> None:
    assert hashed(root, store) == 3
    before = cache_of(store).stat()
    assert hashed(root, store) == 0
    assert cache_of(store).stat() == before  # nor is the cache written again
    assert hashed(root, store, tuple(reversed(CONTENTS))) == 0


@pytest.mark.usefixtures("settled")
def test_more_files_than_fit_one_task(root: Path, store: Path) -> None:
    paths = tuple(f"{number}.bin" for number in range(2 * CHUNK + 3))
    for number, path in enumerate(paths):
        (root / path).write_bytes(number.to_bytes(2))
    assert hashed(root, store, paths) == 2 * CHUNK + 3
    assert hashed(root, store, paths) == 0


@pytest.mark.usefixtures("settled")
def test_a_changed_byte_is_seen_though_size_and_mtime_are_the_old_ones(
    root: Path, store: Path
) -> None:
    hashed(root, store)
    path = root / "deep/b.bin"
    times = path.stat()
    time.sleep(0.02)  # more than a tick of the file system's clock
    path.write_bytes(b"cherrY")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert hashed(root, store) == 1
    assert hashed(root, store) == 0


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("column", range(4), ids=["size", "mtime", "ctime", "inode"])
def test_each_column_of_a_files_row_makes_it_read_again(
    root: Path, store: Path, column: int
) -> None:
    hashed(root, store)
    arrays = kept(store)
    arrays["rows"][1, column] += 1
    keep(store, arrays)
    assert hashed(root, store) == 1
    assert hashed(root, store) == 0


@pytest.mark.usefixtures("settled")
def test_another_digest_without_its_seal_is_not_believed(root: Path, store: Path, caplog) -> None:
    hashed(root, store)
    with np.load(cache_of(store)) as file:
        arrays = dict(file)
    arrays["digests"][32:64] = 0xAB
    np.savez(cache_of(store), **arrays)

    assert hashed(root, store) == 3
    assert caplog.messages == [f"{cache_of(store)}: damaged: it counts as absent and is made anew"]


@pytest.mark.usefixtures("settled")
def test_the_cache_holds_what_the_file_system_says(root: Path, store: Path) -> None:
    hashed(root, store)
    found = [(root / path).stat() for path in CONTENTS]
    with np.load(cache_of(store)) as file:
        assert file["rows"].tolist() == [
            [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for stat in found
        ]
        assert file["paths"].tobytes().decode().split("\0") == list(CONTENTS)


@pytest.mark.usefixtures("settled")
def test_a_digest_in_the_cache_is_what_is_returned(root: Path, store: Path) -> None:
    hashed(root, store)
    arrays = kept(store)
    arrays["digests"][32:64] = 0xAB
    keep(store, arrays)
    found = file_digests(root, tuple(CONTENTS), store=store).digests
    assert found[1] == "ab" * 32
    assert found[0] == hashlib.sha256(b"").hexdigest()


@pytest.mark.usefixtures("settled")
def test_files_come_and_go(root: Path, store: Path) -> None:
    assert hashed(root, store, ("a.bin",)) == 1
    assert hashed(root, store) == 2
    assert hashed(root, store, ("a.bin",)) == 0
    assert hashed(root, store) == 2  # what was not asked for was forgotten


@pytest.mark.usefixtures("settled")
def test_a_cache_of_files_that_are_all_gone_is_removed(root: Path, store: Path) -> None:
    hashed(root, store, ("a.bin",))
    (root / "a.bin").unlink()
    gone = {0: "no such file or directory"}
    assert file_digests(root, ("a.bin",), store=store) == Digests(("",), gone)
    assert list((store / "manifests").iterdir()) == []


@pytest.mark.usefixtures("settled")
def test_each_folder_has_a_cache_of_its_own(root: Path, store: Path, tmp_path: Path) -> None:
    hashed(root, store)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.bin").write_bytes(b"another")
    assert hashed(other, store, ("a.bin",)) == 1
    assert len(list((store / "manifests").iterdir())) == 2
    assert hashed(root, store) == 0
    link = tmp_path / "link"
    link.symlink_to(root)
    assert hashed(link, store) == 0  # the same folder by another name


def test_fresh_files_are_racy_and_read_again(root: Path, store: Path) -> None:
    assert hashed(root, store) == 3
    assert hashed(root, store) == 3
    assert list((store / "manifests").iterdir()) == []


@pytest.mark.parametrize("margin_ns", [0, 1])
def test_a_file_settles_once_it_is_older_than_the_racy_span(
    root: Path, store: Path, monkeypatch: pytest.MonkeyPatch, margin_ns: int
) -> None:
    found = (root / "a.bin").stat()
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    monkeypatch.setattr(time, "time_ns", lambda: changed + RACY_NS + margin_ns)
    assert hashed(root, store, ("a.bin",)) == 1
    assert hashed(root, store, ("a.bin",)) == 1 - margin_ns


def test_an_old_mtime_does_not_settle_a_file_whose_ctime_is_fresh(root: Path, store: Path) -> None:
    os.utime(root / "a.bin", (1_000_000_000, 1_000_000_000))
    assert hashed(root, store, ("a.bin",)) == 1
    assert hashed(root, store, ("a.bin",)) == 1


def test_the_racy_span_covers_the_two_second_clock_of_fat() -> None:
    assert RACY_NS >= 2 * 10**9


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kept", [0, 10, 300, -30], ids=["empty", "head", "part", "no-end"])
def test_a_cut_cache_is_an_empty_one(root: Path, store: Path, kept: int) -> None:
    hashed(root, store)
    cache = cache_of(store)
    cache.write_bytes(cache.read_bytes()[:kept])
    assert hashed(root, store) == 3
    assert hashed(root, store) == 0


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", ["paths", "rows", "digests"])
@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_cache_whose_columns_do_not_match_is_an_empty_one(
    root: Path, store: Path, name: str, damage: str
) -> None:
    hashed(root, store)
    with np.load(cache_of(store)) as file:
        arrays = dict(file)
    column = arrays.pop(name)
    if damage == "shorter":
        entry = {"paths": len("ä c.bin".encode()) + 1, "rows": 1, "digests": 32}[name]
        arrays[name] = column[:-entry]
    np.savez(cache_of(store), **arrays)
    assert hashed(root, store) == 3


@pytest.mark.usefixtures("settled")
def test_files_that_cannot_be_read_have_a_reason_and_are_tried_again(
    root: Path, store: Path
) -> None:
    (root / "loop.bin").symlink_to("loop.bin")
    paths = ("a.bin", "gone.bin", "deep", "loop.bin", "deep/b.bin")
    expected = Digests(
        digests=(
            hashlib.sha256(b"").hexdigest(),
            *("", "", ""),
            hashlib.sha256(b"cherry").hexdigest(),
        ),
        unreadable={
            1: "no such file or directory",
            2: "is a directory",
            3: "too many levels of symbolic links",
        },
    )
    reads = Reads()
    for read in (5, 5 + 3):
        assert file_digests(root, paths, store=store, progress=reads) == expected
        assert reads.done == read
    (root / "gone.bin").write_bytes(b"back")
    found = file_digests(root, paths, store=store)
    assert found.digests[1] == hashlib.sha256(b"back").hexdigest()
    assert sorted(found.unreadable) == [2, 3]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_without_permission_says_so(root: Path, store: Path) -> None:
    (root / "a.bin").chmod(0)
    assert file_digests(root, ("a.bin",), store=store).unreadable == {0: "permission denied"}


def test_no_files_no_digests(root: Path, store: Path) -> None:
    assert file_digests(root, (), store=store, progress=silent) == Digests((), {})


def test_a_store_that_cannot_be_made_is_refused(root: Path, store: Path) -> None:
    store.write_text("a file")
    with pytest.raises(InputError) as caught:
        file_digests(root, tuple(CONTENTS), store=store)
    assert str(caught.value).startswith(
        f"{store}: the store must be a folder that can be written to, got not a directory"
    )


@pytest.mark.usefixtures("settled")
def test_a_full_disk_is_said_and_leaves_the_old_cache(
    root: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed(root, store, ("a.bin",))
    before = cache_of(store).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(InputError, match="the disk is full"):
            file_digests(root, tuple(CONTENTS), store=store)
    assert cache_of(store).read_bytes() == before
