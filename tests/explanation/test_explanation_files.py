import shutil

import numpy as np
import pytest
from PIL import Image

from pixpnet.errors import CheckpointError, DataError
from pixpnet.report import explain_images
from pixpnet.report.figures import crop
from pixpnet.training import load
from pixpnet.types import Box


def test_one_picture_of_each_class(tiny_run, tmp_path):
    pictures = explain_images(tiny_run, top_k=2, out=tmp_path)
    assert len(pictures) == load(tiny_run).network.num_classes
    for picture in pictures:
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        assert pixels.std() > 10  # there is something on it
        assert pixels.shape[1] > 800


def test_named_images_of_any_kind(tiny_run, birds, tmp_path):
    colour = next((birds / "images").rglob("*.png"))
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.open(colour).convert("L").resize((90, 70)).save(folder / "grey.png")
    Image.open(colour).convert("RGBA").save(folder / "alpha.png")
    pictures = explain_images(tiny_run, [folder / "grey.png", folder / "alpha.png"], out=tmp_path / "out")
    assert [picture.name for picture in pictures] == ["grey_explanation.png", "alpha_explanation.png"]


def test_same_names_do_not_overwrite_each_other(tiny_run, birds, tmp_path):
    image = next((birds / "images").rglob("*.png"))
    assert len({path.name for path in explain_images(tiny_run, [image, image], out=tmp_path)}) == 2


def test_pictures_beside_the_images_leave_them_alone(tiny_run, birds, tmp_path):
    image = tmp_path / "mine.png"
    image.write_bytes(next((birds / "images").rglob("*.png")).read_bytes())
    before = image.read_bytes()
    explain_images(tiny_run, [image], out=tmp_path)
    assert image.read_bytes() == before


def test_a_checkpoint_that_lies_alone(tiny_run, tmp_path):
    (file,) = (tiny_run / "csv/version_0/checkpoints").glob("*.ckpt")
    shutil.copy(file, tmp_path / "lone.ckpt")
    pictures = explain_images(tmp_path / "lone.ckpt", top_k=1)
    assert {picture.parent for picture in pictures} == {tmp_path / "explanations"}


def test_what_cannot_be_explained_is_named(tiny_run, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match=r"text\.png"):
        explain_images(tiny_run, [tmp_path / "text.png"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="not a run directory"):
        explain_images(tmp_path)


def test_a_source_that_changed_is_refused(tiny_arguments, birds, tmp_path):
    from pixpnet.config import parse_config
    from pixpnet.training import train

    copy = tmp_path / "birds"
    shutil.copytree(birds, copy)
    options = {"train__epochs": 1, "train__backbone_epochs": 0, "dataset__root": copy}
    run = train(parse_config(tiny_arguments(tmp_path / "logs", **options)), progress=False)
    source = load(run).sources[0]
    path = copy / source.path
    Image.open(path).convert("RGB").rotate(180).save(path)
    with pytest.raises(DataError, match=r"has changed since prototype \d+ was projected"):
        explain_images(run, out=tmp_path / "out")


def test_crop_takes_the_pixels_of_the_box():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    assert (crop(image, Box(1, 2, 4, 5)) == image[2:5, 1:4]).all()
