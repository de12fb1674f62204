"""Networks for others: what is exported says the same as the run, and stands alone."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from starlette.testclient import TestClient
from torchvision.models import VisionTransformer

import pixpnet
from pixpnet import (
    CheckpointError,
    ConfigError,
    DataError,
    FileError,
    UnsupportedOperationError,
    explain,
    export,
    load,
    predict,
    verify,
)
from pixpnet.backbones import FAMILIES, NETWORKS, TiledBackbone, backbone_of
from pixpnet.certificate import find_certificate, write_certificate
from pixpnet.cli import main
from pixpnet.files import read_json, write_json
from pixpnet.prototypes import build_network
from pixpnet.runs import Run, RunDirectory
from pixpnet.serving import create_app
from pixpnet.words import percent

DOCS = Path(__file__).parents[1] / "docs" / "howto" / "export.md"

CUT = {"feature_extractor": "small_resnet", "feature_layer": "layer2"}
TILES = {"feature_extractor": "small_resnet", "tile": 32.0, "feature_layer": None, "tile_input": 48}
PROTOTYPE_NETWORKS = {
    "cut, L2, log, linear head, 2 × 2 cells": CUT
    | {"distance": "l2", "prototype_activation": "log", "readout_type": "linear", "prototype_kernel_size": 2},
    "cut, cosine, linear, sparse head": CUT
    | {"distance": "cosine", "prototype_activation": "linear", "readout_type": "sparse"},
    "tiles, cosine, linear, mean head": TILES
    | {"distance": "cosine", "prototype_activation": "linear", "readout_type": "mean"},
    "a layer in tiles, L2, linear, sum head": TILES
    | {
        "distance": "l2",
        "prototype_activation": "linear",
        "readout_type": "proto",
        "feature_layer": "layer1",
    },
}


@pytest.fixture(scope="module")
def run(tiny_run) -> Run:
    return load(tiny_run)


def another(run: Run, **options) -> Run:
    """The run with another, untrained network."""
    model = replace(run.config.model, **options)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = backbone_of(model, with_weights=False)
        network = build_network(model, num_classes=len(run.class_names), backbone=backbone).eval()
    return replace(run, network=network, config=replace(run.config, model=model))


def images(run: Run, count: int):
    return torch.rand(count, 3, *run.image_size, generator=torch.Generator().manual_seed(count))


def wanted(run: Run, given):
    """Logits, similarities and similarity maps as the run itself has them, and its boxes."""
    mean, std = (torch.tensor(values)[:, None, None] for values in run.normalization)
    with torch.no_grad():
        z = run.network.features((given - mean) / std)
        output = run.network.from_features(z)
        maps = run.network.similarity_maps(z).flatten(2)
    return (
        output.logits,
        output.similarities,
        maps,
        torch.as_tensor(run.receptive_field().boxes).flatten(0, 1),
    )


def in_torch(path: Path):
    extra = {"pixpnet": ""}
    module = torch.export.load(path, extra_files=extra).module()
    return module, json.loads(extra["pixpnet"])


def compiled(path: Path):
    package = torch._inductor.aoti_load_package(str(path))
    return package, json.loads(package.get_metadata()["pixpnet"])


def in_onnxruntime(path: Path):
    session = onnxruntime.InferenceSession(path)
    about = json.loads(session.get_modelmeta().custom_metadata_map["pixpnet"])
    return lambda given: [*map(torch.as_tensor, session.run(None, {"images": given.numpy()}))], about


READERS = {"torch": in_torch, "compiled": compiled, "onnx": in_onnxruntime, "onnx-int8": in_onnxruntime}


@pytest.mark.parametrize("format", ["torch", "compiled"])
def test_a_file_of_torch_says_the_same_of_any_number_of_pictures(run, format, tmp_path):
    own = another(run, **next(iter(PROTOTYPE_NETWORKS.values())))
    says_the_same(own, *READERS[format](export(own, tmp_path / "file", format=format)))


BACKBONES = {
    "resnet": {"feature_extractor": "resnet18", "feature_layer": "layer2"},
    "vgg": {"feature_extractor": "vgg11_bn", "feature_layer": "maxpool3"},
    "densenet": {"feature_extractor": "densenet121", "feature_layer": "transition1"},
    "inception": {"feature_extractor": "inception_v3", "feature_layer": "Mixed_5b"},
    "squeezenet": {"feature_extractor": "squeezenet1_1", "feature_layer": "fire5"},
    "small_resnet": {"feature_extractor": "small_resnet", "feature_layer": "layer3"},
    "other": {"feature_extractor": "timm/tf_efficientnet_lite0", "feature_layer": "blocks.2"},
}
"""One of each family."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_backbones_runs_in_onnxruntime(run, family, tmp_path):
    own = another(run, **BACKBONES[family])
    says_the_same(own, *in_onnxruntime(export(own, tmp_path / "file", format="onnx")))


TRANSFORMERS = {
    "torchvision": lambda: VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32
    ),
    "timm": lambda: timm.models.VisionTransformer(
        img_size=32, patch_size=16, depth=2, num_heads=2, embed_dim=16, num_classes=0
    ),
}
"""As their published ones, but small."""


@pytest.mark.parametrize("library", TRANSFORMERS)
def test_a_transformer_on_tiles_runs_in_onnxruntime(run, library, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "small_vit", TRANSFORMERS[library])
    own = another(run, **TILES | {"feature_extractor": "small_vit", "tile_input": 32})
    says_the_same(own, *in_onnxruntime(export(own, tmp_path / "file", format="onnx")))


def says_the_same(own, call, about):
    for count in (1, 3):
        given = images(own, count)
        logits, similarities, cells, boxes = call(given)
        own_logits, own_similarities, maps, own_boxes = wanted(own, given)
        torch.testing.assert_close(logits, own_logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(similarities, own_similarities, atol=1e-4, rtol=1e-4)
        # Where two tiles see the same pixels, rounding tells which cell is best.
        there = maps.gather(2, cells[..., None])[..., 0]
        torch.testing.assert_close(there, own_similarities, atol=1e-4, rtol=1e-4)
        assert torch.equal(boxes, own_boxes[cells])
    assert about["class_names"] == list(own.class_names)
    assert [tuple(one["box"]) for one in about["prototypes"]] == [tuple(one.box) for one in own.sources]
    contributed = similarities.double() @ torch.tensor(about["class_weights"], dtype=torch.float64)
    torch.testing.assert_close(contributed.float(), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PROTOTYPE_NETWORKS)
def test_a_file_for_onnxruntime_says_the_same_and_its_boxes_are_true(run, name, tmp_path):
    """Whatever is replaced outside of a box: there the similarity stays, so the largest is not smaller."""
    own = another(run, **PROTOTYPE_NETWORKS[name])
    given, noise = images(own, 4), images(own, 5)
    for format in ("onnx", "onnx-int8"):
        call, about = READERS[format](export(own, tmp_path / format, format=format))
        if format == "onnx":
            says_the_same(own, call, about)
        for index in range(4):
            _, before, cells, boxes = call(given[index : index + 1])
            for prototype in range(own.network.num_prototypes):
                left, top, right, bottom = boxes[0, prototype].tolist()
                changed = noise[index].clone()
                changed[:, top:bottom, left:right] = given[index, :, top:bottom, left:right]
                _, after, now, _ = call(changed[None])
                assert after[0, prototype] >= before[0, prototype] - 1e-4
                if now[0, prototype] == cells[0, prototype]:
                    assert after[0, prototype] == pytest.approx(float(before[0, prototype]), abs=1e-4)


class Asked(Run):
    """Tells which pictures of prototypes were wanted."""

    @classmethod
    def of(cls, run):
        told = cls(**{one.name: getattr(run, one.name) for one in fields(run) if one.init})
        told.__dict__["wanted"] = []
        return told

    def source_image(self, source):
        self.__dict__["wanted"].append(source.image_id)
        return super().source_image(source)


def test_in_8_bits_it_is_smaller_and_says_much_the_same(run, tmp_path):
    whole, asked = export(run, tmp_path / "onnx", format="onnx"), Asked.of(run)
    small = export(asked, tmp_path / "onnx-int8", format="onnx-int8")
    assert sorted(asked.wanted) == sorted({source.image_id for source in run.sources})
    assert small.stat().st_size < 0.5 * whole.stat().st_size
    (exact, about), (call, told) = in_onnxruntime(whole), in_onnxruntime(small)
    assert told == about
    mean, std = (torch.tensor(values)[:, None, None] for values in run.normalization)
    given = torch.stack([sample.image for sample in run.test_images]) * std + mean
    (wanted, *_), (got, *_) = exact(given), call(given)
    assert float(torch.corrcoef(torch.stack([got.flatten(), wanted.flatten()]))[0, 1]) > 0.5  # six pictures
    assert not torch.equal(got, wanted)


def test_of_many_pictures_some_tell_the_ranges(run, tmp_path, monkeypatch):
    asked = Asked.of(run)
    monkeypatch.setattr("pixpnet.exporting.MOST_RANGED", 2)
    export(asked, tmp_path / "small", format="onnx-int8")
    assert len(asked.wanted) == len({*asked.wanted} & {source.image_id for source in run.sources}) == 2


def test_the_example_needs_neither_torch_nor_pixpnet(run, birds, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 42
    without = "import sys\nsys.modules['torch'] = sys.modules['pixpnet'] = None\n"
    (tmp_path / "classify.py").write_text(without + code, encoding="utf-8")
    photo = tmp_path / "photo.png"
    Image.open(min(birds.rglob("*test*.png"))).resize((150, 100)).save(photo)
    export(run, tmp_path / "model.onnx", format="onnx")
    called = [sys.executable, "classify.py", "model.onnx", photo.name, "out.png"]
    told = subprocess.run(called, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split("\n")
    explanation = explain(run, photo)
    assert told[0] == explanation.class_name
    assert [line.split()[1] for line in told[1:4]] == [
        one.source.image_id for one in explanation.evidence[:3]
    ]
    drawn, seen = Image.open(tmp_path / "out.png"), run.input_of(photo)
    assert drawn.size == seen.shape[:0:-1]
    box = explanation.evidence[0].box
    assert drawn.getpixel((int(box.left), int(box.top))) == (255, 0, 0)


@pytest.fixture(scope="module")
def model(run, tmp_path_factory) -> Path:
    return export(run, tmp_path_factory.mktemp("models") / "model", licence="CC0-1.0")


@pytest.fixture
def copied(model, tmp_path) -> Path:
    return shutil.copytree(model, tmp_path / "copy")


@pytest.fixture(scope="module")
def photo(birds) -> Path:
    return min(birds.rglob("*test*.png"))


def test_a_folder_stands_alone(run, copied, photo, tmp_path, capsys):
    found = load(copied)
    assert (found.sources, found.class_names) == (run.sources, run.class_names)
    assert all(
        torch.equal(found.network.state_dict()[name], one) for name, one in run.network.state_dict().items()
    )
    assert str(run.config.dataset.root) not in (copied / "config.json").read_text("utf-8")
    ours, theirs = (explain(one, photo).to_dict() for one in (run, found))
    assert ours == theirs
    for source in run.sources:
        assert np.array_equal(found.source_image(source), run.source_image(source))
    (row,), (expected,) = (list(predict(one, photo)) for one in (found, run))
    assert row == expected
    assert row.unfamiliar is not None
    assert main(["explain", str(copied), str(photo), "--out", str(tmp_path / "figures")]) == 0
    assert main(["explain", str(copied), "--atlas", "--out", str(tmp_path / "figures")]) == 0


def test_where_run_and_pictures_are_gone_all_say_the_same(tiny_run, birds, photo, tmp_path):
    place, data = shutil.copytree(tiny_run, tmp_path / "run"), shutil.copytree(birds, tmp_path / "data")
    photo = Path(shutil.copy(photo, tmp_path / "photo.png"))
    own = load(place, dataset_root=data)
    assert verify(own, trials=3).passed
    explanation, given = explain(own, photo), own.input_of(photo)
    folder = export(own, tmp_path / "model")
    session, _ = in_onnxruntime(export(own, tmp_path / "model.onnx", format="onnx"))
    shutil.rmtree(place)
    shutil.rmtree(data)
    found = pixpnet.Model.from_pretrained(folder)
    assert explain(found, photo).to_dict() == explanation.to_dict()
    mean, std = (torch.tensor(values)[:, None, None] for values in own.normalization)
    logits, similarities, cells, boxes = (values[0] for values in session((given * std + mean)[None]))
    with TestClient(create_app(found), base_url="http://localhost") as client:
        served = client.post("/v1/predict?top_k=6", content=photo.read_bytes()).json()
    assert logits.tolist() == pytest.approx(explanation.logits, abs=1e-4)
    assert served["class_name"] == explanation.class_name
    by_number = {one["number"]: one for one in served["evidence"]}
    columns = own.receptive_field().grid_size[1]
    for one in explanation.evidence:
        assert float(similarities[one.prototype]) == pytest.approx(one.similarity, abs=1e-4)
        assert divmod(int(cells[one.prototype]), columns) == one.cell
        assert boxes[one.prototype].tolist() == list(one.box) == by_number[one.number]["box"]
        assert by_number[one.number]["contribution"] == pytest.approx(one.contribution, abs=1e-4)
    assert verify(load(folder, dataset_root=birds), trials=3).passed


def test_a_card_tells_what_it_is(run, model):
    card = (model / "README.md").read_text("utf-8")
    assert card.startswith("---\nlibrary_name: pixpnet\n")
    assert "license: CC0-1.0" in card
    tested = run.tested()
    assert f"{percent(tested.accuracy)} of {tested.images} images (95 % interval" in card
    assert ", ".join(run.class_names) in card
    assert "* **Data**: SYNTHBIRDS;" in card
    assert f"{run.receptive_field().mean_percent:.1f} % of the picture" in card


def test_pictures_stay_where_they_may_not_go(run, tmp_path):
    model = export(run, tmp_path / "model", thumbnails=False)
    assert not (model / "thumbnails").exists()


def tensors_of(folder: Path, **changed):
    """Write other tensors, and let the rest say that they are right."""
    from pixpnet.files import sha256_of

    file = folder / "model.safetensors"
    save_file(load_file(file) | changed, file)
    write_json(folder / "config.json", read_json(folder / "config.json") | {"sha256": sha256_of(file)})


def with_field(name, value):
    def change(folder: Path):
        write_json(folder / "config.json", read_json(folder / "config.json") | {name: value})

    return change


FAULTS = {
    "one bit is another": (
        lambda folder: (folder / "model.safetensors").write_bytes(
            (data := (folder / "model.safetensors").read_bytes())[:-1] + bytes([data[-1] ^ 1])
        ),
        "is not the file that config.json beside it was written for",
    ),
    "no tensors": (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "is no model"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "is no model"),
    "another shape": (
        lambda folder: tensors_of(folder, prototypes=torch.zeros(6, 9, 1, 1)),
        "prototypes have shape",
    ),
    "another precision": (
        lambda folder: tensors_of(folder, prototypes=load(folder).network.prototypes.data.double()),
        "prototypes is torch.float64",
    ),
    "not finite": (
        lambda folder: tensors_of(folder, prototypes=load(folder).network.prototypes.data * torch.nan),
        "not finite",
    ),
    "of something else": (with_field("format", "model"), "is no model of PixPNet"),
    "of another version": (with_field("version", 2), "another version than 1"),
    "classes are a number": (with_field("class_names", 3), "class_names should be"),
    "no sources": (with_field("sources", [1]), "source of prototype 0"),
    "no options": (with_field("config", {"model": {"nmae": 1}}), "nmae"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_folder_is_refused(fault, copied):
    change, said = FAULTS[fault]
    change(copied)
    with pytest.raises(CheckpointError, match=said):
        load(copied)


def test_what_cannot_be_exported_is_told(run, model, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"format='onx' is none of .*did you mean onnx"):
        export(run, tmp_path / "model", format="onx")
    (tmp_path / "there").touch()
    with pytest.raises(FileError, match="there is there already"):
        export(run, tmp_path / "there")
    with pytest.raises(DataError, match="there/model cannot be written"):
        export(run, tmp_path / "there" / "model")
    with pytest.raises(CheckpointError, match="not training patches"):
        export(replace(run, sources=()), tmp_path / "model")
    for command in (["report", str(model)], ["train", "--from", str(model), "--train.epochs", "9"]):
        assert main(command) == 1
        assert "is a model that stands alone (`pixpnet export`)" in capsys.readouterr().err


class Deciding(torch.nn.Module):
    """What it does depends on the values."""

    def forward(self, images):
        means = images.mean((2, 3))
        return means if images.device.type == "meta" or means.sum() > 0 else -means


class Gamma(torch.nn.Module):
    """Has an operation that ONNX lacks."""

    def forward(self, images):
        means = images.mean((2, 3)).abs() + 1
        return torch.igamma(means, means)


@pytest.mark.parametrize(
    ("format", "network", "named"),
    [("torch", Deciding, "data-dependent"), ("onnx", Deciding, "data-dependent"), ("onnx", Gamma, "igamma")],
)
def test_what_torch_or_onnx_lack_is_named(format, network, named, run, tmp_path, capsys):
    backbone = TiledBackbone(network(), tile=32)
    built = build_network(run.config.model, num_classes=len(run.class_names), backbone=backbone)
    own = replace(run, network=built.eval())
    with pytest.raises(UnsupportedOperationError, match=rf"can't be exported: [ -~]*{named}[ -~]*$"):
        export(own, tmp_path / "model", format=format)
    assert not (tmp_path / "model").exists()
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "")


def test_no_name_of_a_folder_goes_along(run, tmp_path):
    model = replace(run.config.model, weights="/home/me/weights.pt")
    train = replace(run.config.train, start_from="/home/me/run")
    sources = (replace(run.sources[0], path="/home/me/bird.png"), *run.sources[1:])
    own = replace(run, config=replace(run.config, model=model, train=train), sources=sources)
    written = export(own, tmp_path / "folder", thumbnails=False)
    others = [name for name in READERS if name != "compiled"]  # the compiler's, as docs/howto/export.md says
    files = [*written.rglob("*"), *(export(own, tmp_path / name, format=name) for name in others)]
    contents = {path: path.read_bytes() for path in files if path.is_file()}
    with zipfile.ZipFile(tmp_path / "torch") as archive:
        contents |= {name: archive.read(name) for name in archive.namelist()}
    here = (sys.prefix, str(Path(pixpnet.__file__).parent), str(tmp_path.parents[0]), "/home/me")
    assert {
        path for path, content in contents.items() if any(one.encode() in content for one in here)
    } == set()
    assert load(written).sources[0].path == "bird.png"


def test_a_certificate_goes_along(run, tmp_path):
    place = shutil.copytree(RunDirectory.of_checkpoint(run.checkpoint).path, tmp_path / "run")
    own = load(place)
    certificate = verify(own, trials=3)
    write_certificate(certificate, own.checkpoint)
    found = load(export(own, tmp_path / "model", thumbnails=False))
    assert replace(find_certificate(found), checkpoint_sha256="") == replace(
        certificate, checkpoint_sha256=""
    )
    assert certificate.verdict in (tmp_path / "model" / "README.md").read_text("utf-8")


def test_the_command_says_where(run, tiny_run, tmp_path, capsys):
    assert main(["export", str(tiny_run), str(tmp_path / "model"), "--no-thumbnails"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model")
    assert load(tmp_path / "model").class_names == run.class_names
