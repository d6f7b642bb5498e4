from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from drupe.data import fetch as fetch_module
from drupe.data.fetch import COUNTS, RECORD, fetch
from drupe.errors import InputError

PER_FOLDER = 3


@dataclass(frozen=True)
class Repository:
    path: Path
    revision: str

    @property
    def source(self) -> str:
        return str(self.path)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of the same shape, whose latest commit differs from the pinned one."""
    root = tmp_path / "origin"
    for name in COUNTS:
        folder = root / "data" / name
        folder.mkdir(parents=True)
        for index in range(PER_FOLDER):
            folder.joinpath(f"cherry_{index}.png").write_bytes(f"{name} {index}".encode())
    (root / "train.py").write_text("not wanted")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "images")
    revision = git(root, "rev-parse", "HEAD")
    (root / "data/train/cherry_pit/cherry_0.png").write_bytes(b"changed later")
    git(root, "commit", "--quiet", "-am", "later")
    return Repository(root, revision)


def tree(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def expected(number: int) -> dict[str, int]:
    return dict.fromkeys(COUNTS, number)


def test_the_pinned_revision_is_put_down_whole(tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "deep" / "cherries"
    fetched = fetch(
        folder,
        source=repository.source,
        revision=repository.revision[:8],
        expected=expected(PER_FOLDER),
    )
    images = [f"{name}/cherry_{index}.png" for name in COUNTS for index in range(PER_FOLDER)]
    assert tree(folder) == sorted([*images, RECORD])
    assert (folder / "train/cherry_pit/cherry_0.png").read_bytes() == b"train/cherry_pit 0"
    assert fetched.revision == repository.revision
    assert json.loads((folder / RECORD).read_text()) == fetched.to_json()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cherries"]


def test_a_second_fetch_needs_no_source(tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "cherries"
    first = fetch(folder, source=repository.source, revision=repository.revision)
    repository.path.rename(tmp_path / "gone")
    assert fetch(folder, source=repository.source, revision=repository.revision) == first


def test_a_changed_set_is_not_called_whole(tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "cherries"
    fetch(folder, source=repository.source, revision=repository.revision)
    (folder / "val/cherry_pit/cherry_0.png").unlink()
    with pytest.raises(InputError, match="added, removed or changed"):
        fetch(folder, source=repository.source, revision=repository.revision)


def test_a_changed_byte_is_found_without_the_source(tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "cherries"
    fetch(folder, source=repository.source, revision=repository.revision)
    repository.path.rename(tmp_path / "gone")
    (folder / "val/cherry_pit/cherry_0.png").write_bytes(b"val/cherry_pit X")
    with pytest.raises(InputError, match="removed or changed"):
        fetch(folder, source=repository.source, revision=repository.revision)


def test_an_interrupted_fetch_goes_on_where_it_stopped(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cherries"
    monkeypatch.setattr(fetch_module, "BATCH", 2)
    honest, batches = fetch_module._git, []

    def broken(arguments, failure, given=""):
        batches.append(given.split())
        if len(batches) == 4:  # the clone, two batches, then the connection is lost
            raise InputError(f"{failure}: fatal: unable to access")
        honest(arguments, failure, given)

    monkeypatch.setattr(fetch_module, "_git", broken)
    with pytest.raises(InputError, match="4 of 12 are kept, and the same command goes on"):
        fetch(folder, source=repository.source, revision=repository.revision)
    assert not folder.exists()
    before = len(batches)
    fetched = fetch(folder, source=repository.source, revision=repository.revision)
    assert set(fetched.counts.values()) == {PER_FOLDER}
    assert [len(batch) for batch in batches[before:]] == [2, 2, 2, 2], "no clone, 8 images"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cherries", "origin"]


def test_what_a_first_try_left_damaged_is_fetched_again(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cherries"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fetch_module, "_verified", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(folder, source=repository.source, revision=repository.revision)
    half = tmp_path / ".cherries.fetch/clone/data/train/cherry_pit/cherry_0.png"
    half.write_bytes(b"tr")
    fetch(folder, source=repository.source, revision=repository.revision)
    assert (folder / "train/cherry_pit/cherry_0.png").read_bytes() == b"train/cherry_pit 0"


def test_bytes_that_are_not_the_revision_s_are_refused(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = fetch_module._git

    def meddling(arguments, failure, given=""):
        honest(arguments, failure, given)
        for path in tmp_path.glob(".cherries.fetch/clone/data/val/cherry_pit/cherry_1.png"):
            path.write_bytes(b"other")

    monkeypatch.setattr(fetch_module, "_git", meddling)
    with pytest.raises(InputError, match="val/cherry_pit: 2 files are not what the revision says"):
        fetch(tmp_path / "cherries", source=repository.source, revision=repository.revision)
    assert not (tmp_path / "cherries").exists()


def test_a_line_ending_that_git_changes_is_found(tmp_path: Path, repository: Repository) -> None:
    (repository.path / "data/val/cherry_pit/.gitattributes").write_text("*.png eol=crlf\n")
    (repository.path / "data/val/cherry_pit/cherry_1.png").write_bytes(b"one\ntwo\n")
    git(repository.path, "add", ".")
    git(repository.path, "commit", "--quiet", "-m", "attributes")
    with pytest.raises(InputError, match="val/cherry_pit: 2 files are not what the revision says"):
        fetch(
            tmp_path / "cherries",
            source=repository.source,
            revision=git(repository.path, "rev-parse", "HEAD"),
        )


def test_nothing_that_is_set_up_for_other_repositories_runs(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, ran = tmp_path / "hooks", tmp_path / "ran"
    hooks.mkdir()
    for name in ("post-checkout", "monitor"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "settings"
    settings.write_text(f"[core]\nhooksPath = {hooks}\nfsmonitor = {hooks}/monitor\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    fetch(tmp_path / "cherries", source=repository.source, revision=repository.revision)
    assert not ran.exists()


def test_a_set_inside_a_repository_of_another_format_is_still_whole(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = tmp_path / "around"
    around.mkdir()
    git(around, "init", "--quiet", "--object-format=sha256")
    (around / ".gitattributes").write_text("* text eol=crlf\n")
    monkeypatch.chdir(around)
    folder = around / "cherries"
    first = fetch(folder, source=repository.source, revision=repository.revision)
    assert fetch(folder, source=repository.source, revision=repository.revision) == first


def test_a_link_is_no_image(tmp_path: Path, repository: Repository) -> None:
    (repository.path / "data/val/cherry_pit/link.png").symlink_to("/etc/hosts")
    git(repository.path, "add", ".")
    git(repository.path, "commit", "--quiet", "-m", "link")
    with pytest.raises(InputError, match=r"link\.png must be a file, got a link"):
        fetch(
            tmp_path / "cherries",
            source=repository.source,
            revision=git(repository.path, "rev-parse", "HEAD"),
        )


def test_an_empty_folder_is_filled(tmp_path: Path, repository: Repository) -> None:
    folder = tmp_path / "cherries"
    folder.mkdir()
    fetch(folder, source=repository.source, revision=repository.revision)
    assert (folder / RECORD).is_file()


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, repository: Repository
) -> None:
    folder = tmp_path / "cherries"
    folder.mkdir()
    (folder / "mine.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="must be empty or missing"):
        fetch(folder, source=repository.source, revision=repository.revision)
    assert tree(folder) == ["mine.png"]


def test_every_wrong_count_is_named_and_nothing_is_left(
    tmp_path: Path, repository: Repository
) -> None:
    folder = tmp_path / "cherries"
    with pytest.raises(InputError, match="must hold 4 images, got 3") as caught:
        fetch(folder, source=repository.source, revision=repository.revision, expected=expected(4))
    assert len(caught.value.problems) == 4
    assert not folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["origin"]


def test_the_default_revision_is_counted_by_default(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "REVISION", repository.revision)
    with pytest.raises(InputError, match="must hold 1,978 images, got 3"):
        fetch(tmp_path / "cherries", source=repository.source, revision=repository.revision)


@pytest.mark.parametrize("revision", ["main", "HEAD", "a02855", "--help", "A02855F"])
def test_a_name_that_can_move_is_no_revision(tmp_path: Path, revision: str) -> None:
    with pytest.raises(InputError, match="hexadecimal"):
        fetch(tmp_path / "cherries", source="anywhere", revision=revision)


def test_an_unknown_revision_is_named(tmp_path: Path, repository: Repository) -> None:
    with pytest.raises(InputError, match="has no revision 0123456789"):
        fetch(tmp_path / "cherries", source=repository.source, revision="0123456789")


def test_a_source_out_of_reach_is_named_with_git_s_reason(tmp_path: Path) -> None:
    source = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"nowhere: could not be fetched: .*fatal"):
        fetch(tmp_path / "cherries", source=source, revision="0123456789")
    assert list(tmp_path.iterdir()) == []


def test_a_repository_of_another_shape_is_refused(tmp_path: Path, repository: Repository) -> None:
    git(repository.path, "rm", "-rq", "data/val")
    git(repository.path, "commit", "--quiet", "-m", "no val")
    with pytest.raises(InputError, match="lacks the folders data/val/cherry_clean"):
        fetch(
            tmp_path / "cherries",
            source=repository.source,
            revision=git(repository.path, "rev-parse", "HEAD"),
        )


def test_pointers_are_not_images(tmp_path: Path, repository: Repository) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (repository.path / "data/train/cherry_pit/cherry_1.png").write_bytes(pointer)
    git(repository.path, "commit", "--quiet", "-am", "pointers")
    with pytest.raises(InputError, match="train/cherry_pit holds pointers of Git LFS"):
        fetch(
            tmp_path / "cherries",
            source=repository.source,
            revision=git(repository.path, "rev-parse", "HEAD"),
        )


def test_without_git_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install git"):
        fetch(tmp_path / "cherries", source="anywhere", revision="0123456789")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "--upload-pack=touch stolen",
        "-u",
        "ext::sh -c 'touch stolen'",
        "fd::17",
        "http://example.org/cherries",
        "git://example.org/cherries",
        "ftp://example.org/cherries",
        "HTTPS+ext://x",
    ],
)
def test_what_git_would_run_or_wait_for_is_refused(tmp_path, monkeypatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("git was asked"))
    with pytest.raises(InputError, match="--source: must begin with https://, ssh://, file://"):
        fetch(tmp_path / "set", source=source)
    assert tree(tmp_path) == []


def test_an_address_of_a_file_is_a_source(tmp_path: Path, repository: Repository) -> None:
    source = repository.path.as_uri()
    fetched = fetch(
        tmp_path / "set", source=source, revision=repository.revision, expected=expected(PER_FOLDER)
    )
    assert fetched.source == source


@pytest.mark.parametrize("name", [b"a\nb.png", b"\x1b[2J.png", b"\xff.png"])
def test_a_name_that_cannot_be_shown_ends_it_at_once(
    tmp_path: Path, repository: Repository, name: bytes
) -> None:
    """Not after the transfer, and without the promise that the same command goes on."""
    (
        Path(os.fsdecode(os.fsencode(repository.path / "data/train/cherry_pit") + b"/" + name))
    ).touch()
    git(repository.path, "add", ".")
    git(repository.path, "commit", "--quiet", "-m", "odd")
    with pytest.raises(InputError, match="must have a name of characters that are shown") as odd:
        fetch(
            tmp_path / "set",
            source=repository.source,
            revision=git(repository.path, "rev-parse", "HEAD"),
        )
    assert "goes on from there" not in str(odd.value)
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / ".set.fetch").exists()
