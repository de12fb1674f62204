"""The scikit-learn estimator: on lists of paths, by scikit-learn's own tools, and held against its checks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sklearn.utils.validation import validate_data

from pixpnet import ConfigError, DataError, Model
from pixpnet.sklearn import PixPNetClassifier

QUICK = {
    "config": "proto-synthbirds",
    "size": 32,
    "prototypes": 1,
    "epochs": 2,
    "options": {
        "train.batch-size": 8,
        "train.readout-push-epochs": 1,
        "model.prototype-dim": 8,
        "dataset.workers": 0,
    },
}


def stripes(label: int, seed: int) -> np.ndarray:
    """Lying or standing."""
    pixels = np.random.default_rng(seed).integers(0, 60, (32, 32, 3), np.uint8)
    (pixels, pixels.swapaxes(0, 1))[label][::4] += 150
    return pixels


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[str]]:
    """Paths, and names of classes whose order is not that of the pictures."""
    folder = tmp_path_factory.mktemp("stripes")
    paths = [folder / f"{number}.png" for number in range(24)]
    for number, path in enumerate(paths):
        Image.fromarray(stripes(number % 2, number)).save(path)
    return paths, ["wide/lying", "upright"] * 12


@pytest.fixture(scope="module")
def fitted(pictures: tuple[list[Path], list[str]]) -> PixPNetClassifier:
    return PixPNetClassifier(**QUICK).fit(*pictures)


def test_it_learns_from_paths(fitted: PixPNetClassifier, pictures: tuple[list[Path], list[str]]) -> None:
    paths, names = pictures
    assert fitted.classes_.tolist() == ["upright", "wide/lying"]
    assert isinstance(fitted.model_, Model)
    assert fitted.model_.class_names == ("upright", "wide_lying")
    assert fitted.score(paths, names) > 0.9
    probabilities = fitted.predict_proba(paths)
    assert probabilities.shape == (24, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert fitted.predict(paths).tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    calibrated = [one.probability for one in fitted.model_.predict(paths)]
    np.testing.assert_allclose(probabilities.max(axis=1), calibrated, rtol=1e-4)
    assert fitted.temperature_ != 1
    assert fitted.model_.prototypes("upright")._repr_png_()


def test_all_pictures_but_one_are_trained_on_or_calibrate(fitted: PixPNetClassifier) -> None:
    assert len(fitted.model_.image_set.train) == 23
    assert len(fitted.model_.image_set.test) == 1
    assert {Path(one.path).stem[:6] for one in fitted.model_.sources} <= {f"{n:06}" for n in range(24)}


@pytest.mark.parametrize(
    "kind", [list, np.array, lambda paths: [np.asarray(Image.open(one)) for one in paths]]
)
def test_pictures_come_in_any_form(fitted: PixPNetClassifier, pictures, kind) -> None:
    paths = [str(path) for path in pictures[0][:3]]
    np.testing.assert_array_equal(fitted.predict_proba(kind(paths)), fitted.predict_proba(paths))
    batch = np.stack([np.asarray(Image.open(one)) for one in paths])
    np.testing.assert_array_equal(fitted.predict_proba(batch), fitted.predict_proba(paths))


def test_it_is_cloned_cross_validated_and_pickled(fitted: PixPNetClassifier, pictures) -> None:
    paths, names = pictures
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(paths)
    scores = cross_val_score(clone(fitted), paths, names, cv=2)
    assert scores.min() > 0.6
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(paths[:2]), fitted.predict_proba(paths[:2]))


def test_labels_are_numbers_and_the_run_is_kept_where_it_is_asked_to(pictures, tmp_path: Path) -> None:
    labels = [(9, 10)[number % 2] for number in range(24)]  # sorted as text, 10 comes first
    kept = PixPNetClassifier(**QUICK, validation=0, out=tmp_path / "kept").fit(pictures[0], labels)
    assert kept.classes_.tolist() == [9, 10]
    assert kept.model_.class_names == ("0.9", "1.10")
    assert kept.temperature_ == 1
    assert kept.score(pictures[0], labels) > 0.9
    assert kept.model_.checkpoint.is_relative_to(tmp_path / "kept")
    link = next((tmp_path / "kept" / "pictures" / "train").rglob("*_3.png"))
    assert link.resolve() == pictures[0][3].resolve()


@pytest.mark.parametrize(
    ("change", "labels", "error", "said"),
    [
        ({}, [0, 1, 0], ValueError, "inconsistent numbers of samples"),
        ({}, None, ValueError, "requires y to be passed"),
        ({}, [0, 0, 0, 0], ValueError, "1 class with 4 pictures"),
        ({}, [0, 1, 2, 3], ValueError, "4 classes with 1 picture"),
        ({}, [0.5, 1.5, 0.25, 1.5], ValueError, "continuous"),
        ({"options": {"train.epocs": 3}}, [0, 1, 0, 1], ConfigError, "did you mean"),
        ({"config": "tils80"}, [0, 1, 0, 1], Exception, "tils80"),
    ],
)
def test_what_can_not_be_is_said(pictures, change, labels, error, said) -> None:
    classifier = PixPNetClassifier(**(QUICK | change))
    with pytest.raises(error, match=said):
        classifier.fit(pictures[0][:4], labels)


def test_a_picture_that_can_not_be_read_is_named(fitted: PixPNetClassifier, pictures, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"picture 1: .*none\.png is missing"):
        clone(fitted).fit([pictures[0][0], tmp_path / "none.png", *pictures[0][2:5]], [0, 1, 0, 1, 0])
    with pytest.raises(DataError, match=r"none\.png is missing"):
        fitted.predict([tmp_path / "none.png"])


class OfRows(PixPNetClassifier):
    """Takes rows of numbers, what scikit-learn's checks give, each as a picture of stripes so bright."""

    def __init__(self, config="proto-synthbirds", size=32, prototypes=1, epochs=2, seed=42):
        super().__init__(
            config, size=size, prototypes=prototypes, epochs=epochs, seed=seed, options=QUICK["options"]
        )

    def fit(self, X, y):
        X, y = validate_data(self, X, y)
        return super().fit(_as_pictures(X), y)

    def predict_proba(self, X):
        pixels = _as_pictures(validate_data(self, X, reset=False)) if hasattr(self, "classes_") else X
        return super().predict_proba(pixels)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def _as_pictures(rows: np.ndarray) -> np.ndarray:
    levels = (255 / (1 + np.exp(-np.asarray(rows, float)))).astype(np.uint8)
    return np.tile(levels.repeat(8, axis=1)[:, None, :, None], (1, 8, 1, 3))


EXPECTED = {
    "check_methods_subset_invariance": (
        "in a batch and alone, float32 convolutions round otherwise: probabilities differ by 1e-6, not 1e-7"
    ),
    "check_classifiers_train": "in two epochs (for more, tests have no time) it learns less than 83 %",
}
"""Checks of scikit-learn that fail, with the reason."""

LONG = {
    "check_do_not_raise_errors_in_init_or_set_params",  # its odd types are refused by the tests' own checker
    "check_array_api_input",  # it takes no tables, and so none of other libraries
    "check_readonly_memmap_input",
    "check_fit_score_takes_y",
    "check_dont_overwrite_parameters",
    "check_classifiers_train",
    "check_positive_only_tag_during_fit",
    "check_estimators_dtypes",
    "check_dtype_object",
    "check_pipeline_consistency",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_supervised_y_2d",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_dict_unchanged",
}
"""Checks that train for seconds, several of them more than once: `python tests/test_sklearn.py` runs all."""


def _name(check) -> str:
    return getattr(check, "func", check).__name__


@pytest.mark.parametrize(
    "check",
    [one for _, one in estimator_checks_generator(OfRows(), legacy=True) if _name(one) not in LONG],
    ids=_name,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(check) -> None:
    check(OfRows())


def test_defaults_are_plain_and_tags_say_that_pictures_are_no_table() -> None:
    classifier = PixPNetClassifier()
    assert classifier.get_params()["config"] == "tiles80"
    tags = classifier.__sklearn_tags__()
    assert (tags.input_tags.two_d_array, tags.input_tags.string) == (False, True)
    assert tags.estimator_type == "classifier"
    assert isinstance(classifier.set_params(epochs=3).epochs, int)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for told in check_estimator(OfRows(), expected_failed_checks=EXPECTED):
        print(told["check_name"], told["status"])
