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
# # Which layer is just right?
#
# Accuracy against receptive field, layer by layer: the tables, the scatter plots and the Pareto fronts of a
# Goldilocks experiment, from the CSV file that `pixpnet goldilocks` or `scripts/hackjobs.py` has written.

# %%
import os
from pathlib import Path

import pandas as pd
from IPython.display import Image, display

from pixpnet.figures import LayerPoint, goldilocks_figure, png_bytes
from pixpnet.goldilocks import COLUMNS, pareto_ranks

# %% [markdown]
# Your CSV goes here. (The environment variable `PIXPNET_GOLDILOCKS_CSV` wins over it.)

# %%
CSV = "../logs/goldilocks/synthbirds/goldilocks.csv"
MAX_RF = 30  # percent of the image: where you look for a layer

# %%
path = Path(os.environ.get("PIXPNET_GOLDILOCKS_CSV", CSV))
if not path.is_file():
    raise SystemExit(f"There is no file {path.resolve()}; put the path of your results in CSV.")
rows = pd.read_csv(path)
missing = [column for column in COLUMNS if column not in rows]
if missing:
    raise SystemExit(f"{path} is no table of `pixpnet goldilocks`: it has no column {', '.join(missing)}.")
print(f"{path}: {len(rows)} rows, {rows['Model'].nunique()} models")

# %% [markdown]
# Only rows of one data set, size, mode and readout can be compared. Each such group is ranked by itself, with
# the mean over seeds.

# %%
WAY = ["Dataset", "Height", "Width", "Mode", "Readout"]
LAYER = ["Model", "Stage #", "Stage Name", "Mean RF %", "Max RF %", "Parameters", "MACs", "Weights"]
ACCURACY = ["Test Accuracy", "Test Accuracy Top5"]

layers = rows.groupby([*WAY, *LAYER], sort=False)[ACCURACY].mean().reset_index()
layers["Pareto Rank"] = 0
for _, group in layers.groupby(WAY):
    ranks = pareto_ranks(group["Test Accuracy"].to_numpy(float), group["Mean RF %"].to_numpy(float))
    layers.loc[group.index, "Pareto Rank"] = ranks
groups = {", ".join(map(str, way)): group for way, group in layers.groupby(WAY)}

# %% [markdown]
# ## The best layer of each model
# By accuracy, among all layers and among those that see little enough.

# %%
for way, group in groups.items():
    small = group[group["Mean RF %"] <= MAX_RF]
    columns = ["Model", "Stage Name", "Test Accuracy", "Test Accuracy Top5", "Mean RF %", "Max RF %"]
    for title, part in (("any receptive field", group), (f"mean RF ≤ {MAX_RF} %", small)):
        best = part.loc[part.groupby("Model")["Test Accuracy"].idxmax(), columns]
        print(f"{way}: {title}")
        display(best.sort_values("Test Accuracy", ascending=False).reset_index(drop=True).round(3))

# %% [markdown]
# ## Accuracy against receptive field

# %%
for way, group in groups.items():
    points = [
        LayerPoint(model, stage, accuracy, field, rank)
        for model, stage, accuracy, field, rank in group[
            ["Model", "Stage Name", "Test Accuracy", "Mean RF %", "Pareto Rank"]
        ].itertuples(index=False)
    ]
    display(Image(png_bytes(goldilocks_figure(points, title=way, max_rf=MAX_RF))))

# %% [markdown]
# ## The Pareto front
# No other layer is as accurate and sees as little.

# %%
for way, group in groups.items():
    front = group[group["Pareto Rank"] == 1].sort_values("Mean RF %")
    print(way)
    columns = ["Mean RF %", "Test Accuracy", "Model", "Stage Name", "Parameters", "MACs", "Weights"]
    display(front[columns].reset_index(drop=True).round(3))

# %% [markdown]
# ## How much accuracy a larger receptive field buys
# The most accurate layer up to each limit.

# %%
limits = [1, 2, 5, 10, 20, 30, 50, 100]
bought = {
    way: [group.loc[group["Mean RF %"] <= limit, "Test Accuracy"].max() for limit in limits]
    for way, group in groups.items()
}
table = pd.DataFrame(bought, index=pd.Index([f"≤ {limit} %" for limit in limits], name="mean RF"))
table.round(3)
