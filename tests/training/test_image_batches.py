from __future__ import annotations

import numpy as np
import pytest
import torch

from drupe.training.image_batches import ImageSource

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
IS_DEFECT = np.array([True, False, False, True, True, False, False, True, False])


@pytest.mark.parametrize("items", [[0], [8, 3, 3, 5], []])
def test_a_batch_is_the_bytes_and_labels_of_its_items_in_their_order(items) -> None:
    source = ImageSource(IMAGES, IS_DEFECT, torch.device("cpu"))

    images, targets = source.batch(np.array(items, np.intp))

    assert (images.dtype, targets.dtype) == (torch.uint8, torch.int64)
    assert images.shape == (len(items), 4, 4, 3)
    assert np.array_equal(images.numpy(), IMAGES[items])
    assert targets.tolist() == [int(IS_DEFECT[item]) for item in items]


def test_a_memory_map_is_read_and_never_written(tmp_path) -> None:
    IMAGES.tofile(tmp_path / "images.u8")
    packed = np.memmap(tmp_path / "images.u8", np.uint8, "r", shape=IMAGES.shape)

    images, _ = ImageSource(packed, IS_DEFECT, torch.device("cpu")).batch(np.array([2, 1]))
    images.zero_()

    assert np.array_equal(packed, IMAGES)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("free", [10**9, 1])
def test_on_a_gpu_the_pack_is_resident_where_it_fits(monkeypatch, free) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9))

    source = ImageSource(IMAGES, IS_DEFECT, torch.device("cuda"))
    images, targets = source.batch(np.array([4, 1]))

    assert (source._resident is not None) == (free > 1)
    assert (images.device.type, targets.device.type) == ("cuda", "cuda")
    assert np.array_equal(images.cpu().numpy(), IMAGES[[4, 1]])
    assert targets.tolist() == [1, 0]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_deep_images_keep_their_values(device) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    deep = np.random.default_rng(0).integers(0, 65_536, (9, 4, 6, 1), dtype=np.uint16)
    source = ImageSource(deep, IS_DEFECT, torch.device(device))
    images, _ = source.batch(np.array([8, 3, 3], np.intp))
    assert images.dtype == torch.uint16
    assert np.array_equal(images.cpu().numpy(), deep[[8, 3, 3]])
    assert images.float().max() > 40_000
