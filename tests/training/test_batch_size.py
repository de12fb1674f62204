"""The largest batch that fits, with a memory that only the tests know."""

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixpnet.config import parse_config
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.runs import load
from pixpnet.training import batch_size, train
from pixpnet.training.batch_size import largest_that_fits


@given(capacity=st.integers(0, 300), start=st.integers(1, 400), limit=st.integers(1, 300))
def test_the_largest_size_is_found_in_few_tries(capacity, start, limit):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= capacity

    assert largest_that_fits(fits, start=start, limit=limit) == min(capacity, limit)
    assert len(tried) == len(set(tried)) <= 2 * limit.bit_length()
    assert all(1 <= size <= limit for size in tried)


@pytest.fixture
def memory(monkeypatch):
    """Let training steps run out of memory beyond so many images, as a GPU's do; the largest batch tried."""

    def limit_to(images, error=torch.OutOfMemoryError):
        original = batch_size.train_epoch
        tried = []

        def limited(step_function, batches, **keywords):
            tried.append(len(batches[0].image))
            if tried[-1] > images:
                raise error("CUDA is out of something.")
            return original(step_function, batches, **keywords)

        monkeypatch.setattr(batch_size, "require_gpu", lambda device: None)
        monkeypatch.setattr(batch_size, "train_epoch", limited)
        monkeypatch.setattr("pixpnet.training.run.require_gpu", lambda device: None)
        return tried

    return limit_to


def test_the_run_is_the_one_with_that_batch_size(memory, tiny_arguments, tmp_path, caplog):
    tried = memory(5)
    tuned = {"train__hparam_tune": "", "train__accumulate_grad_batches": 3, "train__gradient_clip_norm": 1}
    with caplog.at_level("INFO", logger="pixpnet"):
        run = train(parse_config(tiny_arguments(tmp_path / "tuned", **tuned)), progress=False)
    assert max(tried) == 8
    assert tried.count(5) == 3, "every stage is tried"
    assert "train.batch-size 5 fits" in caplog.text
    options = yaml.safe_load((run / "results/config.yaml").read_text())["train"]
    assert (options["batch-size"], options["hparam-tune"]) == (5, False)
    trials = len(tried)
    again = parse_config(["-c", str(run / "results/config.yaml"), "--log-dir", str(tmp_path / "again")])
    repeated = train(again, progress=False)
    assert len(tried) == trials, "the repeated run tries nothing"
    expected, actual = load(repeated).network.state_dict(), load(run).network.state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    metrics = "csv/version_0/metrics.csv"
    assert (run / metrics).read_bytes() == (repeated / metrics).read_bytes()


def test_no_more_images_than_there_are(memory, tiny_arguments, tmp_path):
    memory(1000)
    options = {"train__hparam_tune": "", "train__epochs": 1, "train__backbone_epochs": 0}
    run = train(parse_config(tiny_arguments(tmp_path, **options)), progress=False)
    assert yaml.safe_load((run / "results/config.yaml").read_text())["train"]["batch-size"] == 24


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (torch.OutOfMemoryError, PixPNetError, "not even a batch of one image fits"),
        (RuntimeError, RuntimeError, "CUDA is out of something"),
    ],
)
def test_what_never_fits_and_what_is_not_memory(error, expected, message, memory, tiny_arguments, tmp_path):
    memory(0, error)
    with pytest.raises(expected, match=message):
        train(parse_config(tiny_arguments(tmp_path, train__hparam_tune="")), progress=False)
    assert not list(tmp_path.iterdir())


def test_a_cpu_has_no_such_limit(tiny_arguments, tmp_path):
    with pytest.raises(ConfigError, match=r"^train\.hparam-tune: needs a GPU"):
        train(
            parse_config(tiny_arguments(tmp_path, train__hparam_tune="", dataset__root=tmp_path / "data")),
            progress=False,
        )
    assert not list(tmp_path.iterdir())
