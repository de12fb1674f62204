"""The one object: a trained network, and what one asks of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from pixpnet import runs
from pixpnet.data import PictureSource
from pixpnet.errors import ConfigError, DataError
from pixpnet.explanation import Atlas, Explanation, Prediction, explain, find_class, outputs_of, predict
from pixpnet.exporting import export
from pixpnet.hub import fetch_model, send_model
from pixpnet.prototypes import PrototypeNetwork
from pixpnet.runs import Run

Pictures = PictureSource | Tensor | Iterable[PictureSource | Tensor]
"""One picture, or several: of a list, an iterator, or a batch (an array [b H W 3] or a tensor [b 3 H W])."""


class LogitsModule(nn.Module):
    """A network that says its logits and nothing else."""

    def __init__(self, network: PrototypeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b c"]:
        return self.network(images).logits


class Model(Run):
    """A trained network with all that is needed to use it; `pixpnet.fit` and `pixpnet.load` give it.

    Pictures are files (str or Path), their bytes, opened files, Pillow images, arrays of RGB or grey, and
    tensors with their channels first, of whole numbers or of floats in [0, 1]. All are read as the run's own
    files are: turned, brought to 8-bit RGB, resized and cropped. Floats beyond [0, 1] are the network's
    input, normalised already.

    >>> model = pixpnet.load(RUN_DIR)
    >>> [one.class_name in model.class_names for one in model.predict([PHOTO, PHOTO])]
    [True, True]
    """

    @classmethod
    def load(cls, path: str | Path, *, dataset_root: str | Path | None = None) -> Model:
        """A run directory's best (else last) network, that of a ``.ckpt`` file, or a model that stands alone.

        Args:
            path: The folder of the run or of `pixpnet export`, or the file.
            dataset_root: Where the run's data lies now, if it has moved (``dataset.root`` of the training).

        >>> model = pixpnet.load(RUN_DIR)
        >>> len(model.sources) == model.network.num_prototypes
        True

        Raises:
            CheckpointError: There is no such file or folder, or it isn't what it should be.
            DataError: The dataset_root is no folder.
        """
        run = runs.load(path, dataset_root=dataset_root)
        return cls(**{one.name: getattr(run, one.name) for one in fields(run)})

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        dataset_root: str | Path | None = None,
    ) -> Model:
        """A model of `save_pretrained` or `push_to_hub`; nothing of it is run or unpickled.

        Args:
            model: Its folder, or its name on the hub (USER/NAME), which needs the extra ``hub``.
            revision: On the hub: a branch, a tag or a commit; None: the newest of the main branch.
            token: Of a private model; None: that of `hf auth login`, False: none.
            cache_dir: Where it is kept; None: where ``huggingface_hub`` keeps all.
            local_files_only: Ask nobody: take what is there already.
            dataset_root: As of `load`.

        Raises:
            CheckpointError: It is not there, can't be fetched, or isn't what it should be.
            ConfigError: A revision is asked of a folder, or the extra is missing.
            DataError: The dataset_root is no folder.
        """
        folder = Path(model)
        if not folder.is_dir():
            folder = fetch_model(
                str(model),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        elif revision is not None:
            raise ConfigError(f"{model} is a folder here, which has no revision {revision!r}.")
        return cls.load(folder, dataset_root=dataset_root)

    def save_pretrained(
        self, folder: str | Path, *, thumbnails: bool = True, licence: str = "unknown"
    ) -> Path:
        """Write a folder that stands alone, as `pixpnet.export` does, with its arguments and errors."""
        return export(self, folder, thumbnails=thumbnails, licence=licence)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | bool | None = None,
        thumbnails: bool = True,
        licence: str = "unknown",
    ) -> str:
        """Send what `save_pretrained` writes to a hub (extra ``hub``), and give the address of the commit.

        Args:
            repo_id: Its name there (USER/NAME); made if it isn't there, else its model is replaced.
            private: Of a new one: only its owners see it, also the training pictures.
            token: None: that of `hf auth login`.
            thumbnails: As of `pixpnet.export`.
            licence: As of `pixpnet.export`.

        Raises:
            CheckpointError: The hub doesn't take it; or as of `pixpnet.export`.
            ConfigError: The extra is missing.
            DataError: A prototype's picture is gone.
        """
        with TemporaryDirectory(prefix="pixpnet-") as place:
            folder = self.save_pretrained(Path(place) / "model", thumbnails=thumbnails, licence=licence)
            return send_model(folder, repo_id, private=private, token=token)

    def as_module(self) -> nn.Module:
        """The network as other libraries want one: from [b 3 H W], as `input_of` gives them, to logits [b c].

        It shares the network's parameters, and can be differentiated.
        """
        return LogitsModule(self.network).eval()

    def predict(self, pictures: Pictures, *, top_k: int = 3) -> list[Prediction]:
        """A prediction for each picture; one that can't be read has its error in it.

        `pixpnet.predict` gives them one by one, for more than memory holds.

        Args:
            pictures: One or many.
            top_k: Prototypes of each picture's evidence.

        Raises:
            ConfigError: top_k is below 0.
        """
        return list(predict(self, pictures, top_k=top_k))

    def explain(self, picture: PictureSource | Tensor) -> Explanation:
        """Why it decides about a picture as it does; shows itself in a notebook.

        Raises:
            DataError: The picture can't be read.
        """
        return explain(self, picture)

    def prototypes(self, target: SupportsIndex | str | None = None) -> Atlas:
        """The training patches of a class, largest weight first (None: of all); shows itself in a notebook.

        Raises:
            ConfigError: There is no such class.
            CheckpointError: Prototypes are no training patches.
        """
        self.require_sources()
        return Atlas(self, None if target is None else find_class(self.class_names, target))

    def score(self, pictures: Pictures, labels: Iterable[SupportsIndex | str] | str) -> float:
        """The share of pictures whose most likely class is their label, a class's name or index.

        Raises:
            ConfigError: There is no such class.
            DataError: A picture can't be read, there is none, or not one for each label.
        """
        given = [labels] if isinstance(labels, str) else labels
        wanted = [find_class(self.class_names, label) for label in given]
        found = outputs_of(self, pictures).logits.argmax(dim=1).tolist()
        if len(found) != len(wanted) or not found:
            raise DataError(
                f"score: {len(found)} pictures and {len(wanted)} labels came; wanted one for each."
            )
        return float(np.mean(np.equal(found, wanted)))

    def transform(self, pictures: Pictures) -> Float32[np.ndarray, "n p"]:
        """How similar each picture's nearest patch is to each prototype.

        Raises:
            DataError: A picture can't be read.
        """
        return outputs_of(self, pictures).similarities.numpy()

    def to(self, device: str | torch.device) -> Model:
        """Move the network to a device ("cpu", "cuda"), in place; all that is asked is computed there.

        Raises:
            ConfigError: There is no such device.
        """
        try:
            self.network.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"the network can't go to the device {str(device)!r}: {reason}") from error
        return self


load = Model.load
