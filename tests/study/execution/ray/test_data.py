from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.overlay import active_fixes, apply_fixes
from drupe.errors import InputError
from drupe.study.execution.ray.data import Sender
from drupe.study.execution.ray.file_chunks import Parcel, unpack
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data


class ObjectStore:
    """Keeps chunks; a reference is the number of one."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def put(self, chunk: bytes) -> int:
        self.chunks.append(chunk)
        return len(self.chunks) - 1

    def files(self, parcel: Parcel, folder: Path) -> dict[str, bytes]:
        """Return what a parcel holds, by name."""
        unpack(parcel, folder, self.chunks.__getitem__)
        found = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture
def objects() -> ObjectStore:
    return ObjectStore()


def config_for(root: Path | None, size: int = 64, **model: object) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "model": {"architecture": "test_resnet", **model},
            "input": {"size": size},
            "data": {"root": root, "sizes": "resize"},
        }
    )


def test_data_is_sent_once_for_all_runs_and_packs_of_another_size_beside_it(
    small_synthetic, tmp_path, objects
) -> None:
    sender = Sender(tmp_path / "store", objects.put)
    config = config_for(small_synthetic)
    first = sender.data(config)
    assert sender.data(config.model_copy(update={"seed": 7})) == first
    assert len(objects.chunks) == 2

    other = sender.data(config_for(small_synthetic, size=32))

    assert len(objects.chunks) == 3
    assert other.files == first.files
    assert other.pack.place != first.pack.place


def test_what_is_sent_are_the_images_and_their_pack(small_synthetic, tmp_path, objects) -> None:
    store = tmp_path / "store"
    sender = Sender(store, objects.put)

    sent = sender.data(config_for(small_synthetic))

    images = objects.files(sent.files, tmp_path / "files")
    assert images == {
        path.relative_to(small_synthetic).as_posix(): path.read_bytes()
        for path in small_synthetic.rglob("*.png")
    }
    dataset = prepare_data(config_for(small_synthetic), store).dataset
    assert sent.fingerprint == dataset.fingerprint
    pack = objects.files(sent.pack, tmp_path / "pack")
    assert pack["images.npy"] == (dataset.cache / "images.npy").read_bytes()
    assert "groups.npz" in pack
    assert sent.fixes == ()
    assert sent.files.place.endswith("/data")
    assert sent.pack.place == f"{sent.key}/store/packed/{dataset.cache.name}"


def test_fixes_travel_and_make_other_data_of_the_same_files(
    small_synthetic, tmp_path, objects
) -> None:
    store, fixes = tmp_path / "store", tmp_path / "fixes.csv"
    sender = Sender(store, objects.put)
    plain = sender.data(config_for(small_synthetic))
    names = sorted(
        path.relative_to(small_synthetic).as_posix() for path in small_synthetic.rglob("*.png")
    )
    label = names[1].split("/")[1]
    other = next(name.split("/")[1] for name in names if name.split("/")[1] != label)
    fixes.write_text(f"path,action,value\n{names[0]},exclude,\n{names[1]},relabel,{other}\n")
    apply_fixes(small_synthetic, store, fixes)
    assert active_fixes(small_synthetic, store) is not None

    fixed = sender.data(config_for(small_synthetic))

    assert [(fix.path, fix.change) for fix in fixed.fixes] == [
        (names[0], "exclude"),
        (names[1], f"relabel {other}"),
    ]
    assert fixed.key != plain.key
    assert fixed.files == plain.files
    assert fixed.fingerprint != plain.fingerprint
    original = {"data": config_for(small_synthetic).data.model_copy(update={"labels": "original"})}
    assert sender.data(config_for(small_synthetic).model_copy(update=original)) == plain


def test_weights_of_the_folder_travel_once_and_others_are_the_nodes_own(
    small_synthetic, tmp_path, objects
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "test_resnet.safetensors").write_bytes(b"weights")
    sender = Sender(tmp_path / "store", objects.put, folder)

    sent = sender.weights(config_for(small_synthetic, pretrained=True))

    assert sent is not None
    assert objects.files(sent, tmp_path / "there") == {"test_resnet.safetensors": b"weights"}
    assert sender.weights(config_for(small_synthetic, pretrained=True)) is sent
    assert len(objects.chunks) == 1
    assert sender.weights(config_for(small_synthetic, pretrained=False)) is None
    other = config_for(small_synthetic, architecture="resnet18", pretrained=True)
    assert sender.weights(other) is None
    without = Sender(tmp_path / "store", objects.put)
    assert without.weights(config_for(small_synthetic, pretrained=True)) is None
    assert len(objects.chunks) == 1


def test_an_experiment_without_data_is_refused(tmp_path, objects) -> None:
    with pytest.raises(InputError, match=r"data\.root: required"):
        Sender(tmp_path / "store", objects.put).data(config_for(None))
