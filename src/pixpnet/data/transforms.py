"""From the pixels of a file to the network's input; boxes and part points move with the image.

The order is `object_window` (crop), `first_transform` (no randomness: `dataset.cache` keeps its result), then
`training_transform` or `evaluation_transform`, then `to_normalized`. Geometry works on 8-bit PIL images,
bilinear. The augmentations are those of PixPNet 1.0.0; what its description leaves open is torchvision's
default: shear along x, a random resized crop of 8-100 % of the area (`Geometry.crop_scale`; 70-100 % for sets
whose size is free) with aspect ratio 3/4 to 4/3, black where an image ends.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, KeyPoints, Mask

from pixpnet.data.decode import load_image, picture_size, without_pillows_limit
from pixpnet.data.spec import Geometry
from pixpnet.errors import DataError
from pixpnet.types import Box, ImageRecord, Normalization

_BILINEAR = v2.InterpolationMode.BILINEAR


class AnnotatedImage(NamedTuple):
    """An image with what lies in it; torchvision's transforms take it as a whole."""

    image: Image.Image
    box: BoundingBoxes | None
    points: KeyPoints | None
    marked: Bool[Tensor, " q"] | None
    """Which parts the data set calls visible."""
    mask: Mask | None = None
    """0 where there is background, else the object."""

    @property
    def visible(self) -> Bool[Tensor, " q"] | None:
        """The parts that are visible and inside the image."""
        if self.points is None or self.marked is None:
            return None
        x, y = self.points.as_subclass(Tensor).unbind(-1)
        width, height = self.image.size
        return self.marked & (x >= 0) & (x < width) & (y >= 0) & (y < height)


class HorizontalFlip(v2.RandomHorizontalFlip):
    """Mirror with probability 0.5.

    torchvision flips a key point to W − 1 − x, while everything else there (and here) is continuous: W − x.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not isinstance(inpt, KeyPoints):
            return super().transform(inpt, params)
        x, y = inpt.as_subclass(Tensor).unbind(-1)
        return _key_points(torch.stack((inpt.canvas_size[1] - x, y), dim=-1), inpt.canvas_size)


class Enlarge(v2.Transform):
    """Scale up, keeping the aspect ratio, until no side is shorter than `side`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        return {"needed": min(height, width) < self.side}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return _resize(inpt, [self.side]) if params["needed"] else inpt


class Resize(v2.Transform):
    """Resize to (height, width), or the shorter side to one number."""

    def __init__(self, size: list[int]) -> None:
        super().__init__()
        self.size = size

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return _resize(inpt, self.size)


class RandomResizedCrop(v2.RandomResizedCrop):
    """A random part of the image, of random aspect ratio, resized to a square."""

    def __init__(self, side: int, *, scale: tuple[float, float]) -> None:
        super().__init__(side, scale=scale)
        self.side = side

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return _resize(functional.crop(inpt, **params), [self.side, self.side])


def load_window(record: ImageRecord, *, geometry: Geometry) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The part of a record's image that the geometry starts from, and which part of the picture that is.

    Raises:
        DataError: As `load_image`; the object's box is wanted but missing or outside.
    """
    image = load_image(record.path, record.reading)
    if not geometry.to_box:
        return image, (0, 0, *image.size)
    window = object_window(record, image.size)
    with without_pillows_limit():
        return image.crop(window), window


def object_window(record: ImageRecord, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The object's box in whole pixels, (left, top, right, bottom), inside the image and never empty.

    Args:
        record: The image with its box.
        size: The image's (width, height).

    Raises:
        DataError: The image has no box, or it lies outside the image.
    """
    if record.box is None:
        raise DataError(
            f"{record.path} has no bounding box; leave dataset.crop-to-bbox off for this data set."
        )
    width, height = size
    left, right = (min(max(round(edge), 0), width) for edge in (record.box.left, record.box.right))
    top, bottom = (min(max(round(edge), 0), height) for edge in (record.box.top, record.box.bottom))
    if left >= right or top >= bottom:
        raise DataError(
            f"{record.path} is {width} x {height} pixels; "
            f"its bounding box {tuple(record.box)} holds none of them."
        )
    return left, top, right, bottom


def annotate(
    image: Image.Image,
    record: ImageRecord,
    *,
    window: tuple[int, int, int, int],
    mask: Image.Image | None = None,
) -> AnnotatedImage:
    """What lies in the window of the record's image; `image` (and `mask`) is that window already."""
    canvas = (image.height, image.width)
    box = points = marked = None
    if record.box is not None:
        edges = torch.tensor([record.box], dtype=torch.float32) - torch.tensor(window[:2] * 2)
        # pyright sees Tensor's constructor, not that of the subclass
        box = BoundingBoxes(edges, format=BoundingBoxFormat.XYXY, canvas_size=canvas)  # pyright: ignore[reportCallIssue]
    if record.part_points is not None and record.part_visible is not None:
        places = torch.as_tensor(record.part_points, dtype=torch.float32) - torch.tensor(window[:2])
        points = _key_points(places, canvas)
        marked = torch.as_tensor(record.part_visible)
    shown = None if mask is None else Mask(functional.pil_to_tensor(mask))
    return AnnotatedImage(image, box, points, marked, shown)


def first_transform(geometry: Geometry) -> v2.Transform:
    """The first resize, which training and evaluation share."""
    if geometry.resize is not None:
        size = list(geometry.resize) if isinstance(geometry.resize, tuple) else [geometry.resize]
        return Resize(size)
    return Enlarge(geometry.crop) if geometry.crop is not None else v2.Identity()


def first_size(size: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """(width, height) that `first_transform` gives to an image of such a (width, height).

    >>> first_size((500, 375), Geometry(resize=510, crop=384))
    (680, 510)
    """
    if isinstance(geometry.resize, tuple):
        height, width = geometry.resize
        return width, height
    short, long = min(size), max(size)
    side = geometry.crop if geometry.resize is None else geometry.resize
    if side is None or (geometry.resize is None and short >= side):
        return size
    other = int(side * long / short)
    return (side, other) if size[0] <= size[1] else (other, side)


def prepared_size(record: ImageRecord, geometry: Geometry) -> tuple[int, int]:
    """(width, height) of a record's image after the first resize, without decoding it.

    Raises:
        DataError: As `load_window`.
    """
    if isinstance(geometry.resize, tuple):
        return geometry.resize[1], geometry.resize[0]
    size = picture_size(record.path, record.reading)
    if geometry.to_box:
        left, top, right, bottom = object_window(record, size)
        size = (right - left, bottom - top)
    return first_size(size, geometry)


def evaluation_transform(geometry: Geometry) -> v2.Transform:
    """What follows the first resize outside of training."""
    crop = [] if geometry.crop is None else [v2.CenterCrop(geometry.crop)]
    return v2.Compose([*crop, _final(geometry)])


def box_in_picture(box: Box, window: tuple[int, int, int, int], geometry: Geometry) -> Box:
    """The pixels of a picture that can reach a box of the network's input: no others change what is in it.

    So it is larger than the box by what resizing mixes in at the edges: a pixel to either side, or as many as
    Pillow's bilinear filter makes one of.

    Args:
        box: In pixels of the input that `evaluation_transform` gives.
        window: The part of the upright picture that the geometry starts from, in its whole pixels: without a
            crop to the object (0, 0, width, height).
        geometry: How the input was made of it.

    Returns:
        In whole pixels of the upright picture (as it is displayed: turned by its orientation tag, unless
        `Reading.orientation` is "ignore"), inside the window. A box without pixels gives the empty box.

    >>> box_in_picture(Box(0, 0, 56, 56), (0, 0, 896, 448), Geometry(resize=224, crop=224))
    Box(left=223, top=0, right=337, bottom=113)
    """
    size = (window[2] - window[0], window[3] - window[1])
    first = first_size(size, geometry)
    edges = []
    for axis in (0, 1):
        seen = geometry.image_size[1 - axis]
        cut = seen if geometry.crop is None else geometry.crop
        offset = _crop_offset(first[axis], cut)
        low, high = max(0, math.floor(box[axis])), min(seen, math.ceil(box[axis + 2]))
        if low >= high:
            return Box(0, 0, 0, 0)
        low, high = _sources(low, high, of=cut, to=seen)
        low, high = _sources(low + offset, high + offset, of=size[axis], to=first[axis])
        edges.append((low + window[axis], high + window[axis]))
    (left, right), (top, bottom) = edges
    return Box(left, top, right, bottom)


def map_in_picture(
    values: Float32[np.ndarray, "H W"],
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    geometry: Geometry,
) -> Float32[np.ndarray, "h w"]:
    """A map over the network's input, over the upright picture: its least value where nothing was seen.

    Args:
        values: Over the input that `evaluation_transform` gives.
        size: The picture's (width, height).
        window: As of `box_in_picture`.
        geometry: How the input was made of it.
    """
    inner = (window[2] - window[0], window[3] - window[1])
    first, cut = first_size(inner, geometry), (values.shape[1], values.shape[0])
    if geometry.crop is not None:
        cut = (geometry.crop, geometry.crop)
    lowest = float(values.min())
    middle = Image.new("F", first, lowest)
    seen = Image.fromarray(values).resize(cut, Image.Resampling.BILINEAR)
    middle.paste(seen, (_crop_offset(first[0], cut[0]), _crop_offset(first[1], cut[1])))
    whole = Image.new("F", size, lowest)
    whole.paste(middle.resize(inner, Image.Resampling.BILINEAR), window[:2])
    return np.asarray(whole)


def _crop_offset(side: int, cut: int) -> int:
    """Where a crop at the centre starts, as of torchvision's CenterCrop."""
    return round((side - cut) / 2)


def _sources(low: int, high: int, *, of: int, to: int) -> tuple[int, int]:
    """The pixels, of so many, that Pillow makes the pixels from low to below high of so many others of."""
    if of == to:
        return low, high
    scale = of / to
    reach = max(scale, 1.0)
    first = int(max((low + 0.5) * scale - reach + 0.5, 0))
    return first, min(int((high - 0.5) * scale + reach + 0.5), of)


def training_transform(geometry: Geometry) -> v2.Compose:
    """What follows the first resize in training: random, from torch's CPU generator."""
    crop = []
    if geometry.crop is not None:
        crop = [RandomResizedCrop(geometry.crop, scale=geometry.crop_scale)]
    elif geometry.padding:
        crop = [v2.RandomCrop(geometry.image_size, padding=geometry.padding)]
    rotation = v2.RandomRotation([-15.0, 15.0], interpolation=_BILINEAR)
    shear = v2.RandomAffine([0.0, 0.0], shear=[-10.0, 10.0], interpolation=_BILINEAR)
    return v2.Compose(
        [
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 5.0))], p=0.1),
            v2.RandomAdjustSharpness(1.5, p=0.1),
            v2.RandomApply([rotation], p=1 / 3),
            v2.RandomPerspective(0.2, p=1 / 3, interpolation=_BILINEAR),
            v2.RandomApply([shear], p=1 / 3),
            HorizontalFlip(0.5),
            *crop,
            _final(geometry),
        ]
    )


def to_normalized(image: Image.Image, normalization: Normalization) -> Float[Tensor, "3 H W"]:
    """The image as a tensor: in [0, 1], less the mean, divided by the standard deviation."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (normalization.mean, normalization.std))
    return functional.pil_to_tensor(image).float().div_(255).sub_(mean).div_(std)


def _key_points(points: Float[Tensor, "q 2"], canvas_size: tuple[int, int]) -> KeyPoints:
    return KeyPoints(points, canvas_size=canvas_size)  # pyright: ignore[reportCallIssue]


def _final(geometry: Geometry) -> v2.Transform:
    if geometry.final is None:
        return v2.Identity()
    return Resize([geometry.final, geometry.final])


def _resize(inpt: Any, size: list[int]) -> Any:
    if not isinstance(inpt, Mask):
        return functional.resize(inpt, size, interpolation=_BILINEAR)
    # torchvision's own takes the pixel at the corner of what a new pixel covers, which is half a pixel off.
    return Mask(
        functional.resize(inpt.as_subclass(Tensor), size, interpolation=v2.InterpolationMode.NEAREST_EXACT)
    )
