"""A classifier of pictures for scikit-learn's tools: cross-validation, searches (extra `sklearn`)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Shaped

from pixpnet.config import Config, parse_config
from pixpnet.data import file_pictures
from pixpnet.errors import ConfigError
from pixpnet.explanation import outputs_of
from pixpnet.files import real_path
from pixpnet.model import Model, load
from pixpnet.runs import RunDirectory, calibrate, read_manifest
from pixpnet.training import train

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import Tags
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
except ImportError as error:
    raise ConfigError("pixpnet.sklearn needs scikit-learn: pip install 'pixpnet[sklearn]'.") from error


class PixPNetClassifier(ClassifierMixin, BaseEstimator):
    """Prototypes that are patches of the training pictures, as a scikit-learn estimator.

    X is a list or an array of pictures, of all kinds that `pixpnet.Model` takes: paths, Pillow images, arrays
    [H W 3], or a batch of them [n H W 3]. One picture of the largest class is not trained on, as a run has
    some test.

    Args:
        config: A shipped configuration (`pixpnet configs`) or a YAML file to begin with.
        backbone: Network (``model.feature-extractor``); None: the configuration's.
        tile: Side of its tiles in pixels (``model.tile``); None: the configuration's.
        size: Side of the network's input (``dataset.size``); None: 224.
        prototypes: Of each class.
        epochs: ``train.epochs``, with which the projections move; None: the configuration's.
        validation: Share of the pictures that calibrates the probabilities, and is not trained on.
        seed: Draws validation pictures, prototypes and order.
        options: Any other options of `pixpnet train`, by their names: ``{"train.batch-size": 8}``.
        out: Folder that keeps pictures and run; None: one that goes when the estimator does. Copies and
            pickles predict without it, but can't draw the prototypes' training pictures.

    Attributes:
        classes_: The labels, sorted.
        model_: The trained network (`pixpnet.Model`), which explains.
        temperature_: What logits are divided by.
    """

    def __init__(
        self,
        config: str | Path = "tiles80",
        *,
        backbone: str | None = None,
        tile: float | None = None,
        size: int | None = None,
        prototypes: int = 10,
        epochs: int | None = None,
        validation: float = 0.15,
        seed: int = 42,
        options: Mapping[str, Any] | None = None,
        out: str | Path | None = None,
    ) -> None:
        self.config = config
        self.backbone = backbone
        self.tile = tile
        self.size = size
        self.prototypes = prototypes
        self.epochs = epochs
        self.validation = validation
        self.seed = seed
        self.options = options
        self.out = out

    def fit(self, X: Sequence[Any] | np.ndarray, y: Sequence[Any] | np.ndarray | None) -> PixPNetClassifier:
        """Train, project and calibrate.

        Raises:
            ValueError: There are not as many labels as pictures, or fewer than two classes or two pictures
                of any class.
            ConfigError: An option that can't be.
            DataError: A picture can't be read.
        """
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None: the class of each picture.")
        check_consistent_length(X, y)
        y = np.asarray(column_or_1d(y, warn=True))
        check_classification_targets(y)
        self.classes_, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
        if len(self.classes_) < 2 or counts.max() < 2:
            classes, most = len(self.classes_), int(counts.max(initial=0))
            raise ValueError(
                f"{classes} class{'es' * (classes != 1)} with {most} picture{'s' * (most != 1)} at most; "
                "wanted two classes or more, and two pictures or more of one of them."
            )
        tested = int(np.flatnonzero(labels == counts.argmax())[-1])
        self._passing = TemporaryDirectory(prefix="pixpnet-") if self.out is None else None
        place = real_path(self.out or self._passing.name)  # pyright: ignore[reportOptionalMemberAccess]
        _lay_out(place / "pictures", X, labels, names=[str(name) for name in self.classes_], tested=tested)
        self.model_: Model = load(train(self._config(place), progress=False))
        directory = RunDirectory.of_checkpoint(self.model_.checkpoint)
        assert directory is not None
        images = read_manifest(directory.images_file).values()
        has_validation = any(image.split == "val" for image in images)
        self.temperature_ = calibrate(self.model_).temperature if has_validation else 1.0
        return self

    def predict_proba(self, X: Sequence[Any] | np.ndarray) -> Float64[np.ndarray, "n c"]:
        """The calibrated probability of each of `classes_`; raises as `predict`."""
        check_is_fitted(self)
        logits = outputs_of(self.model_, X).logits.double()
        return (logits / self.temperature_).softmax(dim=1).numpy()

    def predict(self, X: Sequence[Any] | np.ndarray) -> Shaped[np.ndarray, "n"]:
        """The most likely class of each picture.

        Raises:
            NotFittedError: It has not been fitted.
            DataError: A picture can't be read.
        """
        most_likely = self.predict_proba(X).argmax(axis=1)  # first: it says what is not fitted
        return self.classes_[most_likely]

    def _config(self, place: Path) -> Config:
        """The options of the run."""
        given = {
            "dataset.name": "folder",
            "dataset.root": place / "pictures",
            "dataset.size": self.size,
            "dataset.val-size": self.validation,
            "model.feature-extractor": self.backbone,
            "model.tile": self.tile,
            "model.num-prototypes": self.prototypes * len(self.classes_),
            "seed": self.seed,
            "log-dir": place,
            **(self.options or {}),
        }
        values = ([f"--{name}", str(value)] for name, value in given.items() if value is not None)
        config = parse_config(["-c", str(self.config), *(part for pair in values for part in pair)])
        if self.epochs is None:
            return config
        backbone_epochs = math.ceil(config.train.backbone_epochs * self.epochs / config.train.epochs)
        train_config = replace(config.train, epochs=self.epochs, backbone_epochs=backbone_epochs)
        return replace(config, train=train_config)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_passing": None}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


def _lay_out(
    folder: Path,
    pictures: Iterable[Any],
    labels: Int[np.ndarray, "n"],
    *,
    names: Sequence[str],
    tested: int,
) -> None:
    """Put all pictures but one into train/ and that one into test/."""
    file_pictures(zip(pictures, labels.tolist(), strict=True), folder / "train", class_names=names)
    (test,) = (folder / "train").glob(f"*/{tested:06}*")
    shutil.rmtree(folder / "test", ignore_errors=True)
    (folder / "test" / test.parent.name).mkdir(parents=True)
    test.rename(folder / "test" / test.parent.name / test.name)
