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
# # How much the explanations tell
#
# Consistency and stability of the prototypes, and the relevance ordering test: which way of going from
# similarities to pixels ranks the pixels that matter first?

# %%
import os

from IPython.display import Image, display
from matplotlib.figure import Figure

from pixpnet.evaluation import Settings, draw_bars, draw_curves, evaluate, tabulate
from pixpnet.figures import png_bytes
from pixpnet.runs import RunDirectory, load

# %% [markdown]
# Your log directory goes here: a run directory, or a folder of runs, of which the newest is taken. (The
# environment variables win over what stands here.) What is measured is kept in the run's `results`, as by
# `pixpnet evaluate`, and not measured again.

# %%
LOG_DIR = os.environ.get("PIXPNET_RUN_DIR", "../logs/protonet")
METHODS = ["receptive_field", "upsampling", "random"]
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
