"""A contact sheet of a rendered data set, for documents and for looking."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from pixpnet.errors import DataError

__all__ = ["contact_sheet"]


def contact_sheet(
    root: Path, *, columns: int = 6, rows: int = 4, cell: int | None = None, border: int = 4
) -> Image.Image:
    """Images of SynthBirds side by side, one class after the other and then the next image of each.

    ``cell`` is the side of an image on the sheet in pixels (none: its own).

    Raises:
        DataError: the folder is no data set in CUB's layout.
    """
    try:
        labels = dict(
            line.split() for line in (root / "image_class_labels.txt").read_text("utf-8").splitlines()
        )
        files = dict(line.split(" ", 1) for line in (root / "images.txt").read_text("utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise DataError(f"{root} is no folder of SynthBirds: {error}") from error
    ranks: dict[str, int] = {}
    order: list[tuple[int, int, str]] = []
    for image, label in labels.items():
        ranks[label] = ranks.get(label, 0) + 1
        order.append((ranks[label], int(label), image))
    chosen = [files[image] for _, _, image in sorted(order)[: columns * rows]]
    pictures = [Image.open(root / "images" / name).convert("RGB") for name in chosen]
    side = cell or pictures[0].width
    columns, rows = min(columns, len(pictures)), min(rows, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (columns * (side + border) + border, rows * (side + border) + border), "white")
    for i, picture in enumerate(pictures):
        place = (border + i % columns * (side + border), border + i // columns * (side + border))
        sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), place)
    return sheet
