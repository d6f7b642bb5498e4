"""The data, packs and weights that a study's runs need, put into an object store once."""

from __future__ import annotations

from pathlib import Path

from drupe.data.file_digests import file_digests
from drupe.data.fixes import outside
from drupe.data.joined import description_files
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.table import is_table
from drupe.errors import InputError
from drupe.files import file_hash
from drupe.models.weights import find_in_folder
from drupe.study.execution.ray.file_chunks import Parcel, Put, content_key, files_below, pack
from drupe.study.execution.ray.messages import Data
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data, require_root


class Sender:
    """Puts what a run reads into the object store, each thing when it is first needed.

    Both the files and their pack travel: a node hashes the files, as everywhere, and so finds the
    pack (and the groups of duplicates in it) without decoding an image.
    """

    def __init__(self, store: Path, put: Put, weights_folder: Path | None = None) -> None:
        self.store, self.put, self.weights_folder = store, put, weights_folder
        self._files: tuple[str, Parcel] | None = None
        self._packs: dict[str, Parcel] = {}
        self._weights: dict[str, Parcel | None] = {}

    def data(self, config: ExperimentConfig) -> Data:
        """Return the data of a run; all runs have the same files, not always the same fixes."""
        root = require_root(config.data)
        dataset = prepare_data(config, self.store).dataset  # with the groups of duplicates
        fixes = dataset.fixed.all
        if self._files is None:
            self._files = self._send_files(root, config.data.naming)
        key, files = self._files
        # A store of its own for each state of the labels: a node may train on two at once.
        key = content_key([key, repr(fixes)])
        place = f"{key}/store/packed/{dataset.cache.name}"
        if place not in self._packs:
            self._packs[place] = pack(files_below(dataset.cache), self.put, place)
        table = root.name if is_table(root) else ""
        return Data(key, files, self._packs[place], fixes, table, dataset.fingerprint)

    def _send_files(self, root: Path, naming: Naming) -> tuple[str, Parcel]:
        listing = list_dataset(root, naming)
        elsewhere = outside(listing.paths)
        if elsewhere:
            raise InputError(
                f"{root}: must name files below its folder to be sent to a cluster, got "
                f"{len(elsewhere):,} that lie elsewhere, such as {min(elsewhere)}"
            )
        paths, folder = (*listing.paths, *description_files(root)), listing.root
        digests = file_digests(folder, listing.paths, store=self.store).digests
        described = [file_hash(folder / path) for path in description_files(root)]
        key = content_key([*paths, *digests, *described])
        return key, pack(((path, folder / path) for path in paths), self.put, f"{key}/data")

    def weights(self, config: ExperimentConfig) -> Parcel | None:
        """Return the pretrained weights in the driver's folder of them, None if it has none."""
        name = config.model.architecture
        if not config.model.pretrained:
            return None
        if name not in self._weights:
            self._weights[name] = self._send_weights(name)
        return self._weights[name]

    def _send_weights(self, architecture: str) -> Parcel | None:
        path = find_in_folder(architecture, self.weights_folder)
        if path is None or self.weights_folder is None:
            return None
        inside = path.relative_to(self.weights_folder).as_posix()
        key = content_key([inside, file_hash(path)])
        return pack([(inside, path)], self.put, f"weights/{key}")
