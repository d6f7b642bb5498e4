"""Batches of raw bytes from the packed images, from wherever they are fastest to read."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from drupe.data.image_contract import RawPixel

GPU_SHARE = 0.5
"""Share of a GPU's free memory that the packed images may take; larger sets stream from disk."""


class ImageSource:
    """The packed images of a dataset and their labels, on a device.

    On the CPU the memory map is read in place: the operating system's page cache is the cache.
    On a GPU the whole pack is uploaded once where it fits.

    images: uint8 or uint16 [N, H, W, C]; is_defect: bool [N].
    """

    def __init__(
        self, images: NDArray[RawPixel], is_defect: NDArray[np.bool_], device: torch.device
    ) -> None:
        self.images, self.is_defect, self.device = images, is_defect, device
        self._targets = torch.from_numpy(is_defect.astype(np.int64)).to(device)
        self._resident: torch.Tensor | None = None
        if device.type == "cuda" and images.nbytes < GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
            # Not every version of torch takes rows of uint16 on a GPU: as int16 they are the same.
            plain = images.view(np.int16) if images.dtype == np.uint16 else images
            self._resident = torch.from_numpy(np.ascontiguousarray(plain)).to(device)

    def batch(self, items: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images [n, H, W, C] and int64 [n] (1 = defect) on the device, for ``items``."""
        index = torch.from_numpy(items)
        targets = self._targets[index.to(self.device)]
        if self._resident is not None:
            rows = self._resident[index.to(self.device)]
            return (rows.view(torch.uint16) if rows.dtype == torch.int16 else rows), targets
        images = torch.from_numpy(self.images[items])
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True), targets
