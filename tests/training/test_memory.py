"""Memory that runs out, told from other errors, and the largest batch that fits into what there is."""

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.modules.module import register_module_forward_pre_hook

from pixpnet.backbones import backbone_of
from pixpnet.config import parse_config
from pixpnet.errors import ConfigError, PixPNetError
from pixpnet.prototypes import PrototypeNetwork, build_network
from pixpnet.runs import load
from pixpnet.training import (
    PooledClassifier,
    is_out_of_memory,
    largest_that_fits,
    train,
    with_fitting_batch,
)


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
    """Let training run out of memory beyond so many images, as a GPU's does; sizes of the batches tried."""
    monkeypatch.setattr("pixpnet.training.setup.require_gpu", lambda device: None)
    handles = []

    def limit_to(images, error=torch.OutOfMemoryError):
        tried = []

        def limiting(module, given):
            if isinstance(module, PooledClassifier | PrototypeNetwork) and torch.is_grad_enabled():
                tried.append(len(given[0]))
                if tried[-1] > images:
                    raise error("CUDA is out of something.")

        handles.append(register_module_forward_pre_hook(limiting))
        return tried

    yield limit_to
    for handle in handles:
        handle.remove()


def test_the_run_is_the_one_with_that_batch_size(limited, tiny_arguments, tmp_path, caplog):
    tried = limited(5)
    tuned = {"train__hparam_tune": "", "train__accumulate_grad_batches": 3, "train__gradient_clip_norm": 1}
    with caplog.at_level("INFO", logger="pixpnet"):
        run = train(parse_config(tiny_arguments(tmp_path / "tuned", **tuned)), progress=False)
        assert "train.batch-size 5 fits" in caplog.text
        caplog.clear()
        options = yaml.safe_load((run / "results/config.yaml").read_text())["train"]
        assert (options["batch-size"], options["hparam-tune"]) == (5, False)
        first = tried.copy()
        tried.clear()
        again = parse_config(["-c", str(run / "results/config.yaml"), "--log-dir", str(tmp_path / "again")])
        repeated = train(again, progress=False)
        assert "fits" not in caplog.text
    assert max(first) == 8
    assert first.count(5) - tried.count(5) == 3 * 4, "every stage is tried, with two steps of two batches"
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


def kept_for_the_way_back(backbone, images) -> int:
    """Bytes that torch keeps of a forward pass in training, but for the weights."""
    own = {one.untyped_storage().data_ptr() for one in (*backbone.parameters(), *backbone.buffers())}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _features = backbone.train()(images)
    return sum(kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("is_frozen", [False, True], ids=["learned", "frozen"])
def test_a_step_that_the_machine_cannot_hold_is_refused(
    is_frozen, precision, tiny_arguments, tmp_path, monkeypatch
):
    """Counted are weights with gradients, a batch, what is kept of it, and distances to the prototypes."""
    (tmp_path / "limit").write_text("100000\n")
    monkeypatch.setattr("pixpnet.memory._CONTAINER_LIMITS", (str(tmp_path / "limit"),))
    options = {"train__precision": precision}
    if is_frozen:
        options |= {"train__freeze_backbone": "", "train__backbone_epochs": 0}
    config = parse_config(tiny_arguments(tmp_path / "logs", **options))
    with pytest.raises(ConfigError, match=r"^a step of training with batches of 8 images ") as caught:
        train(config, progress=False)
    assert not (tmp_path / "logs").exists()
    backbone = backbone_of(config.model, with_weights=False)
    network = build_network(config.model, num_classes=3, backbone=backbone)
    weights = 2 * sum(4 * parameter.numel() for parameter in network.parameters())
    images = torch.rand(8, 3, 64, 64)
    cells = backbone(images)[:, 0].numel()
    of_batch = 4 * cells * (network.num_prototypes + config.model.prototype_dim)
    of_batch += 4 * cells * backbone.out_channels if is_frozen else 4 * images.numel()
    of_batch += 0 if is_frozen else kept_for_the_way_back(backbone, images)
    wanted = (weights + of_batch / (2 if precision == "bf16" else 1)) / 1e9
    assert float(str(caught.value).split("at least ")[1].split()[0]) == pytest.approx(wanted, rel=0.01)


def test_prototypes_that_the_machine_cannot_hold_are_refused(tiny_arguments, tmp_path):
    options = {"model__num_prototypes": 99_999, "model__prototype_dim": 100_000}
    with pytest.raises(ConfigError, match=r"^a network of 99,999 prototypes .* takes at least 40 GB"):
        train(parse_config(tiny_arguments(tmp_path, **options)), progress=False)
