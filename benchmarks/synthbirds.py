"""Images of SynthBirds per second and core, writing included; the aim is at least 60 at 128 pixels.

Usage: python benchmarks/synthbirds.py [--size 128] [--images 300]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from pixpnet.synthbirds import render_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of SynthBirds.")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=300, help="images to render, over ten classes")
    options = parser.parse_args()
    per_class = max(1, options.images // 10)
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.perf_counter(), time.process_time()
        render_dataset(
            Path(folder) / "birds", size=options.size, train_images=per_class, test_images=0, workers=1
        )
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    images = 10 * per_class
    print(f"{images} images of {options.size} pixels: {images / wall:.0f} images a second of one process")
    print(f"{images / processor:.0f} images a second of processor time")


if __name__ == "__main__":
    main()
