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
# # What the network saw
#
# The explanation of a test image: which patch of it looks like which patch of a training image, and what
# that adds to the logit.

# %%
import os

import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from pixpnet.explanation import draw_atlas, explain, explain_test
from pixpnet.figures import png_bytes
from pixpnet.runs import RunDirectory, load

# %% [markdown]
# Your log directory goes here: a run directory, or a folder of runs, of which the newest is taken. (The
# environment variable `PIXPNET_RUN_DIR` wins over it.)

# %%
LOG_DIR = "../logs/protonet"
IMAGE = 0  # index of the test image, or the path of an image file
TOP_K = 5


# %%
def show(figure: Figure) -> None:
    """Show a figure below the cell."""
    display(Image(png_bytes(figure)))


run_dir = RunDirectory.newest(os.environ.get("PIXPNET_RUN_DIR", LOG_DIR)).path
run = load(run_dir)
print(run_dir)

# %% [markdown]
# ## Evidence
# A row for each of the prototypes that add most. The boxes are receptive fields: they hold every pixel that
# the network compared, and no others.

# %%
explanation = explain_test(run, IMAGE) if isinstance(IMAGE, int) else explain(run, IMAGE)
show(explanation.figure(top_k=TOP_K))

# %% [markdown]
# The contributions of all prototypes sum to the logit.

# %%
columns = ["prototype", "class_name", "similarity", "weight", "contribution"]
table = pd.DataFrame([one.to_dict() for one in explanation.evidence])[columns]
print(f"sum of the contributions {table.contribution.sum():.4f}, logit {explanation.logit:.4f}")
table.head(10)

# %% [markdown]
# ## As other methods would show it
# Upsampling the similarity map suggests other pixels than those that the network saw.

# %%
show(explanation.figure(top_k=TOP_K, method="upsampling"))

# %% [markdown]
# ## Why not the second most likely class?
# The numbers of both columns sum to the difference of the two logits.

# %%
show(explanation.figure(top_k=TOP_K, against=explanation.runner_up))

# %% [markdown]
# ## All prototypes of the predicted class

# %%
show(draw_atlas(run, explanation.predicted))
