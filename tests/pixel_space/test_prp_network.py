"""PRP and its network: nothing of it changes, and what PRP cannot explain it refuses."""

import copy
import sys
from collections import OrderedDict
from contextlib import nullcontext

import pytest
import torch
from prp_oracle import SmallBackbone
from torch import nn
from torch.overrides import TorchFunctionMode

from pixpnet.config import ModelConfig
from pixpnet.errors import ConfigError, UnsupportedOperationError
from pixpnet.pixel_space import prp_maps
from pixpnet.pixel_space.relevance_pass import RelevancePass
from pixpnet.prototypes import build_network

IMAGES = torch.rand(2, 3, 14, 18, generator=torch.Generator().manual_seed(0)) * 4 - 2


def network_of(backbone):
    torch.manual_seed(1)
    options = ModelConfig(num_prototypes=4, prototype_dim=6)
    return build_network(options, num_classes=4, backbone=backbone).eval()


def maps_of(network, images=IMAGES, prototypes=(0, 3)):
    lowest, highest = torch.full((3,), -2.0), torch.full((3,), 2.0)
    return prp_maps(network, images, prototypes=list(prototypes), lowest=lowest, highest=highest)


class After(nn.Module):
    """A small network and an operation on its features."""

    out_channels = 9

    def __init__(self, operation, **modules) -> None:
        super().__init__()
        torch.manual_seed(0)  # whatever the operation: the same small network
        self.inner, self.operation = SmallBackbone(), operation
        self.more = nn.ModuleDict(modules)

    def forward(self, images):
        return self.operation(self.inner(images), self.more)


def everything_in(network):
    """Whatever of a network could be different afterwards, tensors as they are and as copies."""
    own = {
        path: {
            name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(m).items()
        }
        for path, m in network.named_modules()
    }
    tensors = [*network.named_parameters(), *network.named_buffers()]
    values = {
        name: (
            t,
            t.clone(),
            t._version,
            t.requires_grad,
            None if t.grad is None else (t.grad, t.grad.clone()),
        )
        for name, t in tensors
    }
    return own, values


def assert_same(before, after):
    assert before[0] == after[0]
    assert before[1].keys() == after[1].keys()
    for name, (tensor, value, *rest, gradient) in before[1].items():
        now, now_value, *now_rest, now_gradient = after[1][name]
        assert now is tensor, name
        assert torch.equal(now_value, value), name
        assert rest == now_rest, name
        assert (gradient is None) == (now_gradient is None)
        if gradient is not None:
            assert now_gradient[0] is gradient[0]
            assert torch.equal(now_gradient[1], gradient[1])


class Interrupt(TorchFunctionMode):
    """A KeyboardInterrupt in place of an operation, when it has been done so many times."""

    def __init__(self, operation, *, after) -> None:
        super().__init__()
        self.operation, self.left = operation, after

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") == self.operation:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return func(*args, **(kwargs or {}))


INTERRUPTED = {
    "nothing": nullcontext(),
    "no rule": nullcontext(),
    "interrupted on the way": Interrupt("mul", after=1),  # the network's own pass is the first
    "interrupted on the way back": Interrupt("masked_fill", after=0),  # while a rule has set other parameters
}


@pytest.mark.parametrize("happens", INTERRUPTED)
def test_network_is_unchanged(happens):
    operation = (lambda z, _: z.abs()) if happens == "no rule" else (lambda z, _: z * 2)
    network = network_of(After(operation)).train()
    network.backbone.inner.norm2.eval()  # a mixture of modes
    network.backbone.inner.conv2.requires_grad_(False)
    network(IMAGES).logits.sum().backward()
    network.backbone.inner.conv3.register_forward_hook(lambda *_: None)
    images = IMAGES.clone()
    before, random_state = everything_in(network), torch.get_rng_state()
    if happens == "nothing":
        assert maps_of(network, images).shape == (2, 2, 14, 18)
    else:
        error = UnsupportedOperationError if happens == "no rule" else KeyboardInterrupt
        with INTERRUPTED[happens], pytest.raises(error):
            maps_of(network, images)
    assert_same(before, everything_in(network))
    assert torch.equal(images, IMAGES)
    assert images.grad is None
    assert not images.requires_grad
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.is_grad_enabled()


def test_maps_are_those_of_evaluation_whatever_the_caller_has_switched():
    network = network_of(After(lambda z, more: more["drop"](z), drop=nn.Dropout(0.5)))
    expected = maps_of(network)
    assert not expected.requires_grad
    assert (expected.sum((2, 3)) > 0.1).all()
    with torch.no_grad():
        assert torch.equal(maps_of(network), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert torch.equal(maps_of(network, IMAGES.clone()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(maps_of(network), expected)
    assert torch.equal(maps_of(network.train()), expected)
    assert torch.equal(maps_of(network.requires_grad_(False)), expected)
    assert torch.equal(maps_of(network, IMAGES.clone().requires_grad_()), expected)


NO_RULE = {
    "values without derivative": (lambda z, _: z * 2 + z.data, {}, r"\(getattr\): what it gives has no"),
    "absolute value": (lambda z, _: z.abs(), {}, r"'abs_1' \(abs\): it is none"),
    "gate": (lambda z, _: z * z.mean((2, 3), keepdim=True), {}, r"'mul' \(mul\): two maps"),
    "weighted sum": (lambda z, _: torch.add(z, z, alpha=2), {}, r"'add\w*' \(add\): a sum of two maps"),
    "sum that broadcasts": (
        lambda z, _: z + nn.functional.adaptive_avg_pool2d(z, 1), {}, r"'add\w*' \(add\): a sum of two maps",
    ),
    "activation": (
        lambda z, more: more["silu"](z), {"silu": nn.SiLU()}, r"'\w*silu' \(SiLU at backbone.more.silu\)",
    ),
    "instance norm": (
        lambda z, more: more["norm"](z), {"norm": nn.InstanceNorm2d(9)}, r"\(InstanceNorm2d at",
    ),
    "batch norm of the batch": (
        lambda z, more: more["norm"](z),
        {"norm": nn.BatchNorm2d(9, track_running_stats=False)},
        "without running statistics",
    ),
    "shape": (lambda z, _: z + torch.zeros(2, 2, 9, 1, 1), {}, r"'add\w*' \(add\): it changes the shape"),
    "function of weights": (
        lambda z, more: nn.functional.conv2d(z, more["conv"].weight),
        {"conv": nn.Conv2d(9, 9, 1)},
        r"'conv2d' \(conv2d\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_RULE)
def test_operations_without_rule(case):
    operation, modules, message = NO_RULE[case]
    with pytest.raises(UnsupportedOperationError, match=message) as caught:
        prp_pass_only(network_of(After(operation, **modules)))
    assert "\n" not in str(caught.value)


def prp_pass_only(network):
    """The pass alone: some of these networks have features that no prototype is compared with."""
    ends = torch.full((3,), -2.0), torch.full((3,), 2.0)
    body = nn.Sequential(OrderedDict(backbone=network.backbone, add_on=network.add_on))
    one_pass = RelevancePass(body, (14, 18), lowest=ends[0], highest=ends[1])
    one_pass.run(IMAGES.clone().requires_grad_())


def test_a_network_that_traces_to_something_else_is_refused():
    network = network_of(After(lambda z, _: z))
    network.backbone.inner.conv4.register_forward_hook(lambda module, inputs, output: output + 1)
    with pytest.raises(UnsupportedOperationError, match="other features") as caught:
        maps_of(network)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_traced_is_refused():
    network = network_of(After(lambda z, _: z if z.sum() > 0 else -z))
    with pytest.raises(UnsupportedOperationError, match=r"cannot trace this network: TraceError"):
        maps_of(network)


EQUAL = {
    "module": lambda z, more: more["relu"](z - 0.1),
    "function": lambda z, more: nn.functional.relu(z + -0.1, inplace=True),
    "method": lambda z, more: z.sub(0.1).relu_(),
    "torch": lambda z, more: torch.relu(torch.add(z, -0.1)),
    "routed": lambda z, more: more["relu"](
        nn.functional.pad(torch.cat(z.chunk(2, 1), 1).transpose(1, 2), (1, 0))[..., 1:].transpose(1, 2) - 0.1
    ),
    "sizes": lambda z, more: torch.relu(z.view(z.size(0), -1, z.shape[2], z.size(3)) - 0.1),
    "shared": lambda z, more: more["relu"](more["relu"](z - 0.1)),
    "dropped": lambda z, more: nn.functional.dropout(torch.relu(z - 0.1), training=more["relu"].training),
}


def test_spellings_of_the_same_operations():
    maps = [maps_of(network_of(After(operation, relu=nn.ReLU(inplace=True)))) for operation in EQUAL.values()]
    assert (maps[0] > 0).any()
    for name, other in zip(EQUAL, maps, strict=True):
        torch.testing.assert_close(other, maps[0], msg=name)


def test_a_parameter_is_a_constant():
    learned, plain = (
        maps_of(network_of(After(operation, norm=nn.BatchNorm2d(9))))
        for operation in (lambda z, more: z * (more["norm"].weight[0] + 1), lambda z, _: z * 2)
    )
    assert (plain > 0).any()
    torch.testing.assert_close(learned, plain)


def test_averages_in_other_words():
    one, other = (
        maps_of(network_of(After(operation, pool=nn.AdaptiveAvgPool2d(1))))
        for operation in (lambda z, more: more["pool"](z), lambda z, more: z.mean((2, 3), keepdim=True))
    )
    assert (one > 0).any()
    torch.testing.assert_close(one, other)


def test_a_vector_layer_is_one_cell():
    linear = network_of(After(lambda z, m: m["fc"](z.flatten(1))[:, :, None, None], fc=nn.Linear(36, 9)))
    convolution = network_of(After(lambda z, m: m["fc"](z), fc=nn.Conv2d(9, 9, 2)))
    convolution.load_state_dict(
        {
            k: v.view(-1, 9, 2, 2) if k == "backbone.more.fc.weight" else v
            for k, v in linear.state_dict().items()
        }
    )
    images = torch.cat([IMAGES, IMAGES], -1)[..., :16, :16]
    images = torch.cat([images, images], 2)[..., :16, :]
    torch.testing.assert_close(maps_of(linear, images), maps_of(convolution, images))


def test_missing_zennit(monkeypatch):
    monkeypatch.setitem(sys.modules, "zennit", None)
    with pytest.raises(ConfigError, match=r"pip install 'pixpnet\[prp\]'$"):
        maps_of(network_of(SmallBackbone()))


def test_unknown_prototypes():
    for wrong in ([4], [-1, 0]):
        with pytest.raises(ConfigError, match="prototypes are 0 to 3"):
            maps_of(network_of(SmallBackbone()), prototypes=wrong)
