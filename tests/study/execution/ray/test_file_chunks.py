from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from drupe.study.execution.ray import file_chunks as parcel
from drupe.study.execution.ray.file_chunks import Parcel, files_below, pack, receive, unpack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "sent"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "a.bin").write_bytes(bytes(range(256)) * 40)
    (root / "deep" / "er" / "ü.txt").write_text("text")
    (root / "empty").write_bytes(b"")
    (root / ".lock").write_bytes(b"")
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files_below(root)}


def same(chunk: bytes) -> bytes:
    return chunk


def test_files_arrive_as_they_were_sent_in_chunks(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parcel, "CHUNK_BYTES", 1000)

    sent = pack(files_below(folder), same)
    unpack(sent, tmp_path / "arrived", same)

    assert sent.count == 3  # not the lock
    assert len(sent.chunks) > 10
    assert max(map(len, sent.chunks)) == 1000
    assert contents(tmp_path / "arrived") == contents(folder)


def test_a_link_travels_as_the_file_that_it_names(folder, tmp_path) -> None:
    (folder / "link").symlink_to(folder / "a.bin")

    unpack(pack(files_below(folder), same), tmp_path / "arrived", same)

    assert not (tmp_path / "arrived" / "link").is_symlink()
    assert (tmp_path / "arrived" / "link").read_bytes() == (folder / "a.bin").read_bytes()


def test_a_file_that_is_gone_is_left_out(folder, tmp_path) -> None:
    sent = pack([("gone", folder / "gone"), ("a", folder / "a.bin")], same)

    assert sent.count == 1


def test_a_parcel_is_unpacked_once_and_again_where_a_file_was_cleaned_away(
    folder, tmp_path
) -> None:
    asked: list[bytes] = []

    def get(chunk: bytes) -> bytes:
        asked.append(chunk)
        return chunk

    sent = pack(files_below(folder), same, "key/data")
    place = receive(sent, tmp_path / "cache", get)
    once = len(asked)
    receive(sent, tmp_path / "cache", get)
    assert len(asked) == once

    (place / "a.bin").unlink()
    receive(sent, tmp_path / "cache", get)

    assert place == tmp_path / "cache" / "key" / "data"
    assert contents(place) == contents(folder)


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))

    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(Parcel("", 1, (stream.getvalue(),)), tmp_path / "in", same)

    assert not (tmp_path / "outside").exists()
