"""Memory that runs out, told from other errors, and the largest batch that fits into what there is."""

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pixpnet.config import parse_config
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.runs import load
from pixpnet.training import is_out_of_memory, largest_that_fits, memory, train, with_fitting_batch


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
def limited(monkeypatch):
    """Let training steps run out of memory beyond so many images, as a GPU's do; the largest batch tried."""

    def limit_to(images, error=torch.OutOfMemoryError):
        original = memory.train_epoch
        tried = []

        def trying(learning, batches, **keywords):
            tried.append(len(batches[0].image))
            if tried[-1] > images:
                raise error("CUDA is out of something.")
            return original(learning, batches, **keywords)

        monkeypatch.setattr(memory, "train_epoch", trying)
        monkeypatch.setattr("pixpnet.training.trainer.require_gpu", lambda device: None)
        return tried

    return limit_to


def test_the_run_is_the_one_with_that_batch_size(limited, tiny_arguments, tmp_path, caplog):
    tried = limited(5)
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


def test_no_more_images_than_there_are(limited, tiny_arguments, tmp_path):
    limited(1000)
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
def test_what_never_fits_and_what_is_not_memory(error, expected, message, limited, tiny_arguments, tmp_path):
    limited(0, error)
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


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.OutOfMemoryError("Allocation failed on device 0."), True),
        (MemoryError(), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. Is the input contiguous?"), True),
        (RuntimeError("shapes differ"), False),
        (ValueError("CUDA out of memory."), False),
    ],
    ids=str,
)
def test_what_is_memory_and_what_is_not(error, expected):
    assert is_out_of_memory(error) == expected


def test_torchs_cpu_allocator_says_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_nothing_fits():
    def work(batch_size: int) -> None:
        raise MemoryError("no room")

    with pytest.raises(PixPNetError, match="Not even a batch of one image fits"):
        with_fitting_batch(work, 3)


def test_other_errors_pass():
    def work(batch_size: int) -> None:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        with_fitting_batch(work, 3)
