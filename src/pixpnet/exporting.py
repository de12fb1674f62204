"""A trained network for others: a folder that stands alone, or one file for programs without PixPNet.

Evidence is one forward pass, so it is part of what is exported: each prototype's best cell comes with its box
in pixels, and nothing outside of the box changed the similarity.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

from pixpnet.certificate import find_certificate, write_certificate
from pixpnet.choices import choose
from pixpnet.config import Config, config_to_yaml
from pixpnet.data import dataset_title
from pixpnet.errors import ConfigError, DataError, FileError, UnsupportedOperationError
from pixpnet.explanation import prototype_owners
from pixpnet.files import (
    is_there,
    real_path,
    sha256_of,
    whole_folder,
    write_atomically,
    write_json,
    write_text,
)
from pixpnet.runs import MODEL_FILE, Run, RunDirectory, find_calibration, load, write_model
from pixpnet.words import accuracy_in_words, counted, in_markdown

_logger = logging.getLogger(__name__)

OUTPUTS = ("logits", "similarities", "cells", "boxes")
"""What an exported network gives, in order."""

COMPILERS = ("g++", "clang++")
"""One of them makes format compiled."""

MOST_RANGED = 100
"""Pictures that tell the ranges for 8 bits, at most."""

METADATA = "pixpnet"
"""Under this name ONNX and torch files hold what `description` says, as JSON."""


class EvidenceNetwork(nn.Module):
    """A run's network with the last step of its preprocessing, and with boxes: plain tensors in and out."""

    boxes: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.network = run.network
        boxes = torch.as_tensor(run.receptive_field().boxes).flatten(0, 1).long()
        mean, std = (torch.tensor(values)[:, None, None] for values in run.normalization)
        for name, values in {"boxes": boxes, "mean": mean, "std": std}.items():
            self.register_buffer(name, values.to(run.device), persistent=False)

    def forward(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b p"], Int[Tensor, "b p"], Int[Tensor, "b p 4"]]:
        """Logits, similarities, and each prototype's best cell with its box (left, top, right, bottom).

        images: in [0, 1], of the run's size.
        """
        output = self.network((images - self.mean) / self.std)
        return output.logits, output.similarities, output.cells, self.boxes[output.cells]


def description(run: Run) -> dict[str, Any]:
    """What a program has to know beside the network, as plain values.

    ``preprocessing`` is, in order: ``resize`` (one number: the shorter side; two: height and width; None:
    only what is smaller than ``crop`` is enlarged to it), bilinear as Pillow does it; ``crop``, from the
    centre; ``final``, the side of a last resize. Then values from 0 to 255 are divided by 255.
    """
    geometry = asdict(run.geometry)
    owners = prototype_owners(run.network.own_class, run.class_names)
    return {
        "class_names": list(run.class_names),
        "image_size": list(run.image_size),
        "preprocessing": {name: geometry[name] for name in ("resize", "crop", "final")},
        "class_weights": run.network.class_weights().cpu().tolist(),
        "prototypes": [
            {
                "number": one.number,
                "class": one.class_name if label is None else name,
                "image": one.image_id,
                "box": list(one.box),
            }
            for one, (label, name) in zip(run.sources, owners, strict=True)
        ],
        "edits": [edit.plain() for edit in run.edits],
    }


def export(
    run: Run | str | Path,
    out: str | Path,
    *,
    format: str = "pixpnet",
    thumbnails: bool = True,
    licence: str = "unknown",
) -> Path:
    """Write a trained network for others, and give the path.

    Args:
        run: A run, or its folder.
        out: The folder (format pixpnet) or file to write.
        format: One of `FORMATS`. ``pixpnet``: a folder that `load`, predict, explain, verify and evaluate
            take in place of the run, with model.safetensors, config.json, the prototypes' pictures and a
            model card. ``onnx`` and ``torch`` (torch.export): one file, from images in [0, 1] [b 3 H W] to
            `OUTPUTS`, with what `description` says as metadata. ``onnx-int8``: the same as ``onnx``, with
            the convolutions in 8 bits, which is smaller and less exact. ``compiled``: the same as ``torch``,
            compiled for this machine's processor (AOTInductor), which is a program.
        thumbnails: Of a folder: with the prototypes' training pictures.
        licence: Of the pictures, as the model card of a folder says it.

    >>> folder = pixpnet.export(RUN_DIR, OUT / "model", licence="CC0-1.0")
    >>> pixpnet.load(folder).class_names == pixpnet.load(RUN_DIR).class_names
    True

    Raises:
        ConfigError: There is no such format, or a library for it is missing.
        CheckpointError: The prototypes are no training patches.
        DataError: A prototype's picture is gone, or the folder can't be written.
        FileError: There is something at ``out`` already, or the file can't be written.
        UnsupportedOperationError: The network can't be exported to the format.
    """
    write = choose(FORMATS, format, what="format")
    run = run if isinstance(run, Run) else load(run)
    run.require_sources()
    path = Path(out)
    if is_there(path):
        raise FileError(f"{path} is there already; give another name.")
    write(run, path, thumbnails=thumbnails, licence=licence)
    return path


def _folder(run: Run, path: Path, *, thumbnails: bool, licence: str) -> None:
    values = {
        "config": yaml.safe_load(config_to_yaml(_without_places(run.config))),
        "class_names": run.class_names,
        "image_size": run.image_size,
        "mean": run.mean,
        "std": run.std,
        "epoch": run.epoch,
        "edits": [edit.plain() for edit in run.edits],
    }
    with whole_folder(real_path(path)) as folder:
        sources = tuple(replace(one, path=_inside(one.path)) for one in run.sources)
        write_model(folder, run.network.state_dict(), sources, values)
        model = RunDirectory(folder)
        if thumbnails:
            for source in {model.thumbnail_file(source): source for source in run.sources}.values():
                picture = Image.fromarray(run.source_image(source))
                write_atomically(model.thumbnail_file(source), partial(picture.save, format="PNG"))
        try:
            calibration = find_calibration(run)
        except DataError as error:
            _logger.warning("the model gets no calibration: %s", error)
        else:
            own = replace(calibration, checkpoint_sha256=sha256_of(folder / MODEL_FILE))
            write_json(model.calibration_file, asdict(own))
        if certificate := find_certificate(run):
            own = replace(certificate, checkpoint_sha256=sha256_of(folder / MODEL_FILE))
            write_certificate(own, folder / MODEL_FILE)
        write_text(folder / "README.md", model_card(run, licence=licence))


def _without_places(config: Config) -> Config:
    """The options without the names of this machine's folders."""
    model, train = config.model, config.train
    return replace(
        config,
        log_dir=Config().log_dir,
        dataset=replace(config.dataset, root=Path(config.dataset.root).name),
        model=model if model.weights is None else replace(model, weights=Path(model.weights).name),
        train=replace(train, start_from=None),
    )


def _inside(path: str) -> str:
    """A picture's path in its data set; of one that lies elsewhere its name."""
    return Path(path).name if Path(path).is_absolute() else path


def model_card(run: Run, *, licence: str = "unknown") -> str:
    """The README of a model, in Markdown with the header that hubs read."""
    header = {
        "library_name": "pixpnet",
        "pipeline_tag": "image-classification",
        "license": licence,
        "tags": ["interpretability", "prototypes", "prototypical-part-network"],
    }
    height, width = run.image_size
    field, certificate, tested = run.receptive_field(), find_certificate(run), run.tested()
    lines = [
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
        "# A network that says: this patch looks like that patch of a training picture\n",
        f"* **Network**: {run.config.model.network}; {run.network.num_prototypes:,} prototypes; pictures of "
        f"{height} × {width} pixels.",
        f"* **Patches**: each prototype is compared with patches of {field.mean_percent:.1f} % of the "
        "picture on average; nothing outside of a patch's box changes its similarity.",
        f"* **Certificate**: {certificate.verdict if certificate else 'none was made (`pixpnet verify`).'}",
        f"* **Accuracy**: {accuracy_in_words(tested.accuracy, tested.images) if tested else 'unknown'}",
        f"* **Edited by hand**: {counted(len(run.edits), 'edit') if run.edits else 'no'}",
        *(f"  * {in_markdown(str(edit))}" for edit in run.edits),
        f"* **Classes** ({len(run.class_names)}): {', '.join(map(in_markdown, run.class_names))}.",
        f"* **Data**: {in_markdown(dataset_title(run.config.dataset))}; licence of the pictures: {licence}.",
        "* **Limits**: it knows no other classes; `pixpnet predict` says how unfamiliar a picture is. That a "
        "patch looks like another to the network doesn't say that it does to people.\n",
        '```python\nimport pixpnet\n\nmodel = pixpnet.Model.from_pretrained("FOLDER")  # or its name on '
        'the hub\nmodel.explain("photo.jpg")\n```\n',
    ]
    return "\n".join(lines)


def _traced(run: Run) -> torch.export.ExportedProgram:
    """The network as torch follows it, for any number of images at a time.

    Raises:
        UnsupportedOperationError: It can't.
    """
    network = EvidenceNetwork(run).eval()
    images = torch.zeros(2, 3, *run.image_size, device=run.device)  # one would be taken for a constant
    batch = torch.export.Dim("batch", min=1, max=2**16)
    try:
        # Of what fails torch prints the whole program.
        with torch.no_grad(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    except Exception as error:  # torch documents no kinds
        raise _refusal(run, error) from error
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop(
                "stack_trace", None
            )  # names of this machine's folders, which are nobody else's matter
    return program


def _refusal(run: Run, error: BaseException) -> UnsupportedOperationError:
    """What torch says of a network: the operation is named by the first of its errors."""
    while error.__cause__ is not None:
        error = error.__cause__
    first = str(error).strip().partition("\n")[0]
    return UnsupportedOperationError(f"{run.config.model.network} can't be exported: {first[:300]}")


def _torch(run: Run, path: Path, **_: object) -> None:
    program, extra = _traced(run), {METADATA: json.dumps(description(run))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensors that share a storage
        write_atomically(path, lambda file: torch.export.save(program, file, extra_files=extra))


def _onnx(run: Run, path: Path, **_: object) -> None:
    _require("onnxscript")
    program = _traced(run)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts
            exported = torch.onnx.export(
                program, dynamo=True, input_names=["images"], output_names=OUTPUTS, verbose=False
            )
    except torch.onnx.OnnxExporterError as error:
        raise _refusal(run, error) from error
    assert exported is not None
    exported.model.metadata_props[METADATA] = json.dumps(description(run))
    write_atomically(path, lambda file: file.write(exported.model_proto.SerializeToString()))


def _compiled(run: Run, path: Path, **_: object) -> None:
    if not any(map(which, COMPILERS)):
        raise ConfigError(f"this format needs a C++ compiler ({' or '.join(COMPILERS)}), and there is none.")
    from torch._inductor import aoti_compile_and_package

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts
        package = aoti_compile_and_package(
            _traced(run),
            package_path=str(Path(folder) / "model.pt2"),
            inductor_configs={"aot_inductor.metadata": {METADATA: json.dumps(description(run))}},
        )
        write_atomically(path, lambda file: file.write(Path(package).read_bytes()))


def _require(library: str) -> None:
    if find_spec(library) is None:
        raise ConfigError(f"this format needs {library}, of the extra onnx: pip install 'pixpnet[onnx]'.")


def _int8(run: Run, path: Path, **options: object) -> None:
    """Convolutions in 8 bits; ranges of their inputs are those over the prototypes' training pictures.

    All else, the comparison with the prototypes among it, stays in float32.
    """
    _require("onnxruntime")
    with TemporaryDirectory() as folder:
        exact, prepared, small = (Path(folder) / name for name in ("exact", "prepared", "small"))
        _onnx(run, exact, **options)
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        pictures = [*{source.image_id: source for source in run.sources}.values()]
        pictures = pictures[:: math.ceil(len(pictures) / MOST_RANGED)]

        class Pictures(quantization.CalibrationDataReader):
            left = iter(pictures)

            def get_next(self) -> dict[str, Any] | None:
                source = next(self.left, None)
                if source is None:
                    return None
                pixels = run.source_image(source).astype(np.float32).transpose(2, 0, 1) / 255
                return {"images": pixels[None]}

        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared, small, Pictures(), op_types_to_quantize=["Conv"], per_channel=True
        )
        write_atomically(path, lambda file: file.write(small.read_bytes()))


FORMATS: dict[str, Callable[..., None]] = {
    "pixpnet": _folder,
    "onnx": _onnx,
    "onnx-int8": _int8,
    "torch": _torch,
    "compiled": _compiled,
}
"""Name of a format -> what writes a run in it."""
