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
from io import BytesIO
from pathlib import Path

import pandas as pd
from IPython.display import Image, display
from matplotlib.figure import Figure

from pixpnet.evaluation import METRICS, Measurement, evaluate
from pixpnet.figures.relevance import CurveLine, curves_figure
from pixpnet.training import load

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
def newest_run(folder: Path) -> Path:
    """The run directory in a folder that was started last (or the folder itself)."""
    runs = sorted(path.parents[1] for path in folder.rglob("results/config.yaml"))
    if not runs:
        raise SystemExit(f"There is no run in {folder.resolve()}; put your log directory in LOG_DIR.")
    return max(runs, key=lambda run: run.name)


def show(figure: Figure) -> None:
    """Show a figure below the cell."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    display(Image(buffer.getvalue()))


run = load(newest_run(Path(LOG_DIR)))
mean_percent = run.receptive_field().mean_percent
print(f"{run.checkpoint}: mean receptive field {mean_percent:.1f} % of the image")

# %%
evaluation = evaluate(run, metrics=MEASURED, methods=METHODS, protocol=PROTOCOL, samples=SAMPLES, steps=STEPS)


def measured(metric: str) -> list[Measurement]:
    """The measurements of a metric, those of the mappings that are asked for."""
    return [
        one
        for one in evaluation.measurements
        if one.metric == metric and one.method in (None, *METHODS) and one.protocol in (None, PROTOCOL)
    ]


def table(metric: str) -> pd.DataFrame:
    """One row for each mapping: each quantity with its 95 % interval."""
    quantities = METRICS[metric].quantities
    return pd.DataFrame(
        {
            f"{title.title}{f' ({title.unit})' if title.unit else ''}": {
                (one.method or "any mapping").replace("_", " "): (
                    f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"
                )
                for one in measured(metric)
                for value in [one.values[name]]
            }
            for name, title in quantities.items()
        }
    )


# %% [markdown]
# ## Consistency
# Does a prototype lie on the same part of the object in all images of its class?

# %%
table("consistency")

# %% [markdown]
# ## Stability
# Does it stay there when the image is noisy?

# %%
table("stability")

# %% [markdown]
# ## Relevance ordering
# Pixels of an empty image get their true colours back, the most relevant ones first. The sooner the
# prototype's similarity is back, the better the map tells what the prototype looks at. The dotted line is the
# mean receptive field: so much of the image is all that one comparison depends on.

# %%
curves = [
    CurveLine(one.method or "", one.curve.shares, one.curve.normalised, one.values["area"].value)
    for one in measured("relevance_ordering")
    if one.curve is not None
]
show(
    curves_figure(
        curves,
        title="Relevance ordering",
        under="pixels put in, the most relevant first",
        mean_percent=mean_percent,
    )
)

# %% [markdown]
# ## Area, and pixels until the original similarity
# A larger area and fewer pixels are better. Whiskers: 95 % bootstrap intervals over the prototypes.


# %%
def bars(metric: str) -> Figure:
    """A panel for each quantity, a bar for each mapping."""
    found, quantities = measured(metric), METRICS[metric].quantities
    names = [(one.method or "").replace("_", " ") for one in found]
    figure = Figure(figsize=(8.6, 0.9 + 0.45 * len(found)), layout="constrained")
    for axes, (name, quantity) in zip(figure.subplots(1, len(quantities)), quantities.items(), strict=True):
        values = [one.values[name] for one in found]
        whiskers = [[v.value - v.low for v in values], [v.high - v.value for v in values]]
        axes.barh(names, [v.value for v in values], xerr=whiskers, color="#56B4E9", capsize=3)
        axes.invert_yaxis()
        unit = f", {quantity.unit}" if quantity.unit else ""
        axes.set_title(f"{quantity.title}{unit}\n({quantity.better}er is better)", fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


show(bars("relevance_ordering"))

# %%
table("relevance_ordering")
