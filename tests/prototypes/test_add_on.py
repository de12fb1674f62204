import math

import pytest
import torch
from torch import nn

from pixpnet.errors import ConfigError
from pixpnet.prototypes import ADD_ON_ACTIVATIONS, ADD_ONS, build_add_on, standardise_inputs


@pytest.mark.parametrize("kind", ADD_ONS)
@pytest.mark.parametrize("activation", ADD_ON_ACTIVATIONS)
@pytest.mark.parametrize(("in_channels", "prototype_dim"), [(64, 16), (50, 16), (16, 16), (8, 16), (1, 1)])
def test_shape_and_range(kind, activation, in_channels, prototype_dim):
    add_on = build_add_on(
        kind, in_channels, prototype_dim=prototype_dim, activation=activation, init_weights=True
    )
    z = add_on(10 * torch.randn(2, in_channels, 3, 4))
    assert z.shape == (2, prototype_dim, 3, 4)
    kinds = [type(layer) for layer in add_on]
    assert kinds[::2][: len(kinds) // 2] == [nn.Conv2d] * (len(kinds) // 2)
    assert nn.ReLU not in kinds[-2:][1:]
    if activation == "sigmoid":
        assert kinds[-1] is nn.Sigmoid
        assert ((z >= 0) & (z <= 1)).all()
    else:
        assert kinds[-1] is nn.Conv2d
        assert prototype_dim == 1 or z.min() < 0


@pytest.mark.parametrize(
    ("in_channels", "prototype_dim", "widths"),
    [
        (256, 16, [128, 128, 64, 64, 32, 32, 16, 16]),
        (512, 192, [256, 256, 192, 192]),
        (100, 16, [50, 50, 25, 25, 16, 16]),
        (64, 64, [64, 64]),
        (32, 64, [64, 64]),
    ],
)
def test_bottleneck_halves_in_pairs(in_channels, prototype_dim, widths):
    assert ADD_ONS["bottleneck"](in_channels, prototype_dim) == widths


def test_initialisation():
    add_on = build_add_on("regular", 512, prototype_dim=256, activation="sigmoid", init_weights=True)
    assert add_on.conv1.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    assert add_on.conv_last.weight.std().item() == pytest.approx(math.sqrt(2 / (256 + 256)), rel=0.02)
    assert not add_on.conv1.bias.any()
    assert not add_on.conv_last.bias.any()
    default = build_add_on("regular", 512, prototype_dim=256, activation="sigmoid", init_weights=False)
    assert default.conv1.bias.any()


def test_the_generator_decides():
    def weights(seed):
        generator = torch.Generator().manual_seed(seed)
        add_on = build_add_on(
            "regular", 4, prototype_dim=3, activation="none", init_weights=True, generator=generator
        )
        return torch.cat([tensor.flatten() for tensor in add_on.state_dict().values()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("kind", "activation", "message"),
    [("wide", "sigmoid", "add-on-layers-type='wide'"), ("regular", "relu", "add-on-activation='relu'")],
)
def test_unknown_choice(kind, activation, message):
    with pytest.raises(ConfigError, match=message):
        build_add_on(kind, 8, prototype_dim=4, activation=activation, init_weights=True)


def test_an_add_on_whose_inputs_are_standardised_gives_what_it_gave_for_standardised_ones():
    add_on = build_add_on("linear", 6, prototype_dim=4, activation="none", init_weights=True)
    features = torch.randn(8, 6, 3, 3) * torch.tensor([1.0, 5, 0.2, 3, 1, 2])[:, None, None] + 4
    std, mean = torch.std_mean(features, dim=(0, 2, 3), correction=0)
    wanted = add_on((features - mean[:, None, None]) / std[:, None, None])
    standardise_inputs(add_on, mean=mean, std=std)
    torch.testing.assert_close(add_on(features), wanted, rtol=1e-4, atol=1e-4)


def test_a_channel_that_never_changes_keeps_the_add_on_finite():
    add_on = build_add_on("linear", 2, prototype_dim=4, activation="none", init_weights=True)
    standardise_inputs(add_on, mean=torch.tensor([1.0, 2]), std=torch.tensor([0.0, 1]))
    assert add_on(torch.ones(1, 2, 1, 1)).isfinite().all()
