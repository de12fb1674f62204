"""The table of mappings: what all share, what each alone does, and what users get wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from cell_by_cell import painted_map
from torch import nn

from pixpnet.errors import ConfigError
from pixpnet.pixel_space import (
    MAPPING_TITLES,
    MAPPINGS,
    REDUCTIONS,
    Mapping,
    MapRequest,
    mapping_title,
    pixel_space_map,
    random_map,
    receptive_field_map,
    region_mappings,
    region_title,
    upsampling_map,
)
from pixpnet.receptive_fields import receptive_field
from pixpnet.types import Box

FIELD = receptive_field(nn.Sequential(nn.Conv2d(3, 1, 3, stride=2)), (9, 7))
SIMILARITIES = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(3))
EVERY = [*MAPPINGS, "largest_cell"]
PURE = [method for method in EVERY if method != "prp"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(method: str, similarities: torch.Tensor = SIMILARITIES, **options) -> torch.Tensor:
    return pixel_space_map(method, similarities, FIELD, (9, 7), **{"generator": seeded(), **options})


def largest_cell_map(request: MapRequest) -> torch.Tensor:
    """A mapping that an outsider adds: each image's largest similarity, everywhere."""
    return request.similarities.amax((2, 3))[..., None, None].expand(-1, -1, *request.image_size).clone()


@pytest.fixture(autouse=True)
def an_outsiders_mapping(monkeypatch):
    """One function and one entry."""
    monkeypatch.setitem(MAPPINGS, "largest_cell", Mapping(largest_cell_map, title="largest cell"))


def every_painted_map(similarities: torch.Tensor) -> torch.Tensor:
    found = [
        painted_map(one.numpy(), FIELD, reduction="max", sigma_factor=1.0)
        for one in similarities.flatten(0, 1)
    ]
    return torch.tensor(np.array(found)).unflatten(0, similarities.shape[:2])


ORACLES = {
    "receptive_field": every_painted_map,
    "upsampling": lambda similarities: torch.nn.functional.interpolate(similarities, (9, 7), mode="bicubic"),
    "random": lambda similarities: torch.rand(2, 5, 9, 7, generator=seeded()),
    "largest_cell": lambda similarities: similarities.flatten(2).amax(-1)[..., None, None].expand(2, 5, 9, 7),
}
"""Name of the mapping -> the maps of all similarities; prp, which needs a network, has its own (test_prp)."""


@pytest.mark.parametrize("method", PURE)
def test_maps_by_their_definition(method):
    torch.testing.assert_close(maps(method), ORACLES[method](SIMILARITIES).float())


@pytest.mark.parametrize("method", EVERY)
def test_what_a_mapping_says_of_itself(method):
    mapping = MAPPINGS[method]
    assert mapping.title == mapping_title(method)
    assert isinstance(mapping.region(FIELD, 0, 0), Box)
    assert mapping.region_title == region_title(method)
    if mapping.centers is not None:
        cells = torch.tensor([[[0, 0], [3, 2]]])
        boxes = [mapping.region(FIELD, *cell) for cell in cells[0].tolist()]
        for box, (x, y) in zip(boxes, mapping.centers(FIELD, cells)[0].tolist(), strict=True):
            assert box.contains(x, y)
    if mapping.is_baseline:
        assert torch.equal(maps(method), maps(method, -SIMILARITIES))
    mapping.require()


def test_regions_of_their_own():
    assert list(region_mappings()) == ["receptive_field", "upsampling"]
    assert mapping_title("gone") == region_title("gone") == "gone"
    assert {name: MAPPINGS[name].title for name in MAPPING_TITLES} == MAPPING_TITLES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", PURE)
def test_one_shape_and_type_for_all(method, dtype):
    given = SIMILARITIES.to(dtype)
    before = given.clone()
    for prototypes, count in ((None, 5), ([3], 1), ((4, 4, 0), 3)):
        found = maps(method, given, prototypes=prototypes)
        assert found.shape == (2, count, 9, 7)
        assert found.dtype == dtype
        assert found.isfinite().all()
    assert torch.equal(given, before)


@pytest.mark.parametrize(
    ("method", "reduction"), [("receptive_field", name) for name in REDUCTIONS] + [("random", "max")]
)
def test_maps_are_painted_into_given_memory(method, reduction):
    """Whatever was there before, also between cells that see nothing."""
    field = receptive_field(nn.Sequential(nn.Conv2d(3, 1, 2, stride=4)), (9, 7))  # does not see all pixels
    similarities = SIMILARITIES[:, :, :2, :2]
    memory = torch.full((2, 3, 9, 7), torch.nan)
    for sign in (1, -1):
        options = {"prototypes": [4, 0, 4], "reduction": reduction}
        fresh, found = (
            pixel_space_map(
                method, sign * similarities, field, (9, 7), generator=seeded(), out=out, **options
            )
            for out in (None, memory)
        )
        assert found is memory
        if method == "receptive_field":  # at once, not by way of maps of its own
            request = MapRequest(sign * similarities, field, (9, 7), out=torch.empty(2, 5, 9, 7))
            assert receptive_field_map(request) is request.out
        assert torch.equal(found, fresh)


@pytest.mark.parametrize(
    "memory",
    [
        torch.empty(2, 5, 7, 9),
        torch.empty(2, 4, 9, 7),
        torch.empty(2, 5, 9, 7, dtype=torch.float64),
        torch.empty(2, 5, 9, 7, device="meta"),
        torch.empty(2, 5, 9, 14)[..., ::2],
    ],
    ids=["size", "count", "type", "device", "gaps"],
)
@pytest.mark.parametrize("method", PURE)
def test_unfit_memory_is_refused(method, memory):
    expected = "out must be contiguous memory of 2×5×9×7 numbers of torch.float32 on cpu, not "
    with pytest.raises(ConfigError, match=expected):
        maps(method, out=memory)


@pytest.mark.parametrize("method", PURE)
def test_memory_that_autograd_watches_is_refused(method):
    with torch.inference_mode():
        of_inference = torch.empty(2, 5, 9, 7)
        maps(method, out=of_inference)
    for memory in (of_inference, torch.empty(2, 5, 9, 7, requires_grad=True)):
        with pytest.raises(ConfigError, match="must not require a gradient, nor come from inference mode"):
            maps(method, out=memory)


@pytest.mark.parametrize("method", ["receptive_field", "upsampling"])
def test_chosen_prototypes_are_those_of_all(method):
    torch.testing.assert_close(maps(method, prototypes=[4, 1]), maps(method)[:, [4, 1]])


def test_the_mapping_is_told_which_prototypes_it_draws(monkeypatch):
    asked = []

    def spy(request: MapRequest) -> torch.Tensor:
        asked.append(request)
        return torch.zeros(2, 2, 9, 7)

    monkeypatch.setitem(MAPPINGS, "spy", Mapping(spy, title="spy"))
    images, ends = torch.rand(2, 3, 9, 7), torch.zeros(3)
    maps("spy", prototypes=[4, 1], reduction="sum", images=images, lowest=ends, highest=ends + 1)
    (request,) = asked
    assert request.prototypes == (4, 1)
    assert torch.equal(request.similarities, SIMILARITIES[:, [4, 1]])
    assert request.reduction == "sum"
    assert request.images is images
    assert request.lowest is ends
    assert request.highest is not None


def test_all_prototypes_are_none_chosen():
    request = MapRequest(SIMILARITIES, FIELD, (9, 7))
    assert request.prototypes is None
    assert torch.equal(receptive_field_map(request), maps("receptive_field"))
    assert torch.equal(upsampling_map(request), maps("upsampling"))


def test_zennit_is_loaded_for_prp_only():
    code = "import pixpnet.pixel_space, sys; print('torch' in sys.modules, 'zennit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_upsampling_is_bicubic_with_corners_not_aligned():
    """A constant stays itself; along one axis the weights are those of the cubic kernel with a = -3/4."""
    constant = torch.full((1, 1, 4, 3), -2.5)
    torch.testing.assert_close(maps("upsampling", constant), torch.full((1, 1, 9, 7), -2.5))
    field = receptive_field(nn.Sequential(nn.Conv2d(3, 1, 3, padding=1, stride=2)), (16, 2))
    step = torch.zeros(1, 1, 8, 1)
    step[0, 0, 3] = 1
    upsampled = pixel_space_map("upsampling", step, field, (16, 2))[0, 0]
    kernel = [-0.03515625, -0.10546875, 0.26171875, 0.87890625]  # at distances 1.75, 1.25, 0.75, 0.25
    expected = torch.zeros(16, 2)
    expected[3:11] = torch.tensor([*kernel, *reversed(kernel)])[:, None]
    torch.testing.assert_close(upsampled, expected)


def test_noise_is_seeded_and_fills_the_unit_interval():
    noise = maps("random")
    assert torch.equal(noise, maps("random", -SIMILARITIES))
    assert not torch.equal(noise, maps("random", generator=seeded(1)))
    assert noise.min() >= 0
    assert 0.9 < noise.max() < 1
    assert abs(float(noise.mean()) - 0.5) < 0.05
    assert not torch.equal(noise[0], noise[1])


def test_noise_without_a_source_is_refused():
    with pytest.raises(ConfigError, match=r"generator=torch\.Generator\(\)\.manual_seed\(0\)"):
        random_map(MapRequest(SIMILARITIES, FIELD, (9, 7)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "receptive-field"}, r"^method='receptive-field' is none of receptive_field, upsampling, "
         r"random, prp, largest_cell; did you mean receptive_field\?$"),
        ({"method": "saliency"}, r"^method='saliency' is none of receptive_field, upsampling, random, "
         r"prp, largest_cell$"),
        ({"reduction": "mena"}, r"^reduction='mena' is none of max, mean, sum; did you mean mean\?$"),
        ({"prototypes": [0, 5]}, r"^prototype 5 does not exist: there are 5, numbered from 0$"),
        ({"prototypes": [-1]}, r"^prototype -1 does not exist: there are 5, numbered from 0$"),
        ({"prototypes": []}, r"^no prototype was chosen: there are 5, numbered from 0$"),
        ({"sigma_factor": 0.0}, r"^sigma_factor=0.0 is no positive number"),
        ({"sigma_factor": float("nan")}, r"^sigma_factor=nan is no positive number"),
        ({"sigma_factor": float("inf")}, r"^sigma_factor=inf is no positive number"),
        ({"image_size": (7, 9)}, r"^the map is to have 7×9 pixels, but the receptive field is of an image of "
         r"9×7; both are \(height, width\)$"),
        ({"similarities": SIMILARITIES.transpose(2, 3)}, r"^the similarities are on a grid of 3×4 cells, the "
         r"receptive field is of 4×3; .*for_kernel\(k\)"),
    ],
)  # fmt: skip
def test_mistakes(options, message):
    given = {
        "method": "receptive_field",
        "similarities": SIMILARITIES,
        "receptive_field": FIELD,
        "image_size": (9, 7),
        **options,
    }
    with pytest.raises(ConfigError, match=message):
        pixel_space_map(**given)


def test_images_that_the_similarities_are_not_of_are_refused():
    with pytest.raises(ConfigError, match="images have the shape 2×3×10×7, but the rest asks for 2×3×9×7"):
        maps("upsampling", images=torch.zeros(2, 3, 10, 7))
