# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How much the explanations tell: PRP beside the others
#
# Prototypical relevance propagation (Gautam et al. 2023) in the same process as the other mappings: its maps,
# consistency and stability, and the relevance ordering test. It needs `pip install 'pixpnet[prp]'`.

# %%
import os

import numpy as np
from IPython.display import Image, display
from matplotlib.figure import Figure

from pixpnet.evaluation import Settings, Subject, draw_bars, draw_curves, evaluate, tabulate
from pixpnet.figures import png_bytes
from pixpnet.pixel_space import MAPPING_TITLES
from pixpnet.runs import RunDirectory, load

# %% [markdown]
# Your log directory goes here: a run directory, or a folder of runs, of which the newest is taken. (The
# environment variables win over what stands here.) What is measured is kept in the run's `results`, as by
# `pixpnet evaluate`, and not measured again.

# %%
LOG_DIR = os.environ.get("PIXPNET_RUN_DIR", "../logs/protonet")
METHODS = ["receptive_field", "upsampling", "prp", "random"]
IMAGE = 0  # index of the test image whose maps are shown
SAMPLES = int(os.environ.get("PIXPNET_SAMPLES", "50"))  # test images of the relevance ordering test
STEPS = int(os.environ.get("PIXPNET_STEPS", "256"))  # points of its curves
PROTOCOL = "pixpnet-2023"  # of consistency and stability; leave these two out for data without part points
MEASURED = ["consistency", "stability", "relevance_ordering"]


# %%
def show(figure: Figure) -> None:
    """Show a figure below the cell."""
    display(Image(png_bytes(figure)))


run = load(RunDirectory.newest(LOG_DIR).path)
mean_percent = run.receptive_field().mean_percent
print(f"{run.checkpoint}: mean receptive field {mean_percent:.1f} % of the image")

# %% [markdown]
# ## Maps
# Of the prototypes of the image's class, the three that are most similar: what each mapping makes of them
# (yellow: high). The box is the receptive field of the best patch: the comparison depends on no other pixel.

# %%
subject = Subject(run)
label = subject.labels[IMAGE]
prototypes = subject.prototypes_of(label)
images = subject.load([IMAGE])
similarities, cells = subject.best_cells(images, prototypes)
top = similarities[0].topk(min(3, len(prototypes))).indices.tolist()
chosen = [prototypes[place] for place in top]
seeds = subject.draw_seeds([IMAGE], seed=0, purpose="map")
maps = {
    method: subject.maps(method, images, subject.similarities(images, chosen), chosen, seeds=seeds)[0]
    for method in METHODS
}

low, high = subject.lowest[:, None, None], subject.highest[:, None, None]
pixels = ((images[0] - low) / (high - low)).clamp(0, 1).permute(1, 2, 0).cpu().numpy()
figure = Figure(figsize=(2 * (1 + len(METHODS)), 2.2 * len(chosen)), layout="constrained")
rows = figure.subplots(len(chosen), 1 + len(METHODS), squeeze=False)
for number, (row, place) in enumerate(zip(rows, top, strict=True)):
    box = subject.receptive_field.box(*cells[0, place].tolist())
    shown = {f"prototype {prototypes[place]}": pixels}
    shown |= {MAPPING_TITLES[method]: maps[method][number].detach().cpu().numpy() for method in METHODS}
    for axes, (title, values) in zip(row, shown.items(), strict=True):
        axes.imshow(values, cmap="viridis", extent=(0, values.shape[1], values.shape[0], 0))
        edges = (
            np.array([box.left, box.right, box.right, box.left, box.left]),
            np.array([box.top, box.top, box.bottom, box.bottom, box.top]),
        )
        axes.plot(*edges, color="white", linewidth=3)
        axes.plot(*edges, color="black", linewidth=1)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
show(figure)

# %%
settings = Settings(protocol=PROTOCOL, samples=SAMPLES, steps=STEPS)
evaluation = evaluate(run, metrics=MEASURED, methods=METHODS, settings=settings)

measured = {metric: evaluation.of(metric, methods=METHODS, protocol=PROTOCOL) for metric in MEASURED}

# %% [markdown]
# ## Consistency
# Does a prototype lie on the same part of the object in all images of its class?

# %%
tabulate(measured["consistency"])

# %% [markdown]
# ## Stability
# Does it stay there when the image is noisy?

# %%
tabulate(measured["stability"])

# %% [markdown]
# ## Relevance ordering
# Pixels of an empty image get their true colours back, the most relevant ones first. The sooner the
# prototype's similarity is back, the better the map tells what the prototype looks at. The dotted line is the
# mean receptive field: so much of the image is all that one comparison depends on.

# %%
show(draw_curves(measured["relevance_ordering"], mean_percent=mean_percent))

# %% [markdown]
# ## Area, and pixels until the original similarity
# A larger area and fewer pixels are better. Whiskers: 95 % bootstrap intervals over the prototypes.

# %%
show(draw_bars(measured["relevance_ordering"]))

# %%
tabulate(measured["relevance_ordering"])
