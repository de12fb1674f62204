import pickle

import pytest
import torch

from pixpnet.errors import CheckpointError
from pixpnet.runs import load, load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint_file(tiny_run):
    (file,) = (tiny_run / "csv/version_0/checkpoints").glob("*.ckpt")
    return file


def test_round_trip(checkpoint_file, tmp_path):
    saved = load_checkpoint(checkpoint_file)
    save_checkpoint(saved, tmp_path / "again.ckpt")
    again = load_checkpoint(tmp_path / "again.ckpt")
    assert again.sources == saved.sources
    assert again.config_yaml == saved.config_yaml
    assert all(torch.equal(tensor, again.network[name]) for name, tensor in saved.network.items())


def test_a_checkpoint_file_loads_as_its_run_directory_does(checkpoint_file, tiny_run):
    assert load(checkpoint_file).sources == load(tiny_run).sources


def test_a_checkpoint_from_before_averaging_is_read(checkpoint_file, tmp_path):
    content = torch.load(checkpoint_file, weights_only=True)
    del content["average"]
    torch.save(content, tmp_path / "old.ckpt")
    assert load_checkpoint(tmp_path / "old.ckpt").average is None
    assert load(tmp_path / "old.ckpt").sources == load(checkpoint_file).sources


class Malicious:
    def __reduce__(self):
        return print, ("code has run",)


def with_version(content):
    return {**content, "version": 99}


def without_sources(content):
    return {name: value for name, value in content.items() if name != "sources"}


def with_code(content):
    return {**content, "sources": [Malicious()]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_version, "has checkpoint version 99; this PixPNet reads version 1"),
        (without_sources, "lacks sources"),
        (with_code, "is refused"),
        (lambda content: {"state_dict": content["network"]}, "is not a PixPNet checkpoint"),
    ],
)
def test_what_is_wrong_is_named(change, message, checkpoint_file, tmp_path, capsys):
    content = torch.load(checkpoint_file, weights_only=True)
    torch.save(change(content), tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load(tmp_path / "bad.ckpt")
    assert "\n" not in str(caught.value)
    assert "code has run" not in capsys.readouterr().out


def test_damage_is_named(checkpoint_file, tmp_path):
    whole = checkpoint_file.read_bytes()
    for name, content in {
        "cut.ckpt": whole[: len(whole) // 2],
        "empty.ckpt": b"",
        "text.ckpt": b"not a checkpoint",
        "pickle.ckpt": pickle.dumps({"format": "pixpnet-checkpoint"}),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(tmp_path / "nothing.ckpt")
