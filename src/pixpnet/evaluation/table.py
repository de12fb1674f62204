"""The table of metrics, in the order in which they are measured and shown.

A new metric is a function ``measure(subject, method, settings)`` and a record here (or one that is put into
METRICS from elsewhere): it is then measured, drawn, compared and reported as the others are.
"""

from __future__ import annotations

from pixpnet.evaluation.agreement import (
    agreement_methods,
    measure_consistency,
    measure_stability,
    needs_boxes,
)
from pixpnet.evaluation.curves import measure_deletion, measure_relevance_ordering
from pixpnet.evaluation.metric import Metric, Quantity, no_method
from pixpnet.evaluation.misalignment import measure_misalignment, needs_positive_similarity
from pixpnet.evaluation.places import measure_pointing, measure_telling_parts, needs_objects, needs_part_truth
from pixpnet.evaluation.prototypes import measure_purity, measure_sparsity, needs_parts, region_methods

METRICS: dict[str, Metric] = {
    # First: its pass over images and their noisy copies finds what consistency needs, too.
    "stability": Metric(
        "Stability",
        measure_stability,
        {
            "hard": Quantity("same parts under noise", "%", "high"),
            "soft": Quantity("overlap of parts under noise", "%", "high"),
        },
        settings=("seed", "protocol", "center", "half_size"),
        methods=agreement_methods,
        needs=(needs_parts, needs_boxes),
    ),
    "consistency": Metric(
        "Consistency",
        measure_consistency,
        {
            "hard": Quantity("same part in ≥ 80 % of images", "%", "high"),
            "soft": Quantity("presence of the best part", "%", "high"),
        },
        settings=("seed", "protocol", "center", "half_size"),
        methods=agreement_methods,
        needs=(needs_parts, needs_boxes),
    ),
    "relevance_ordering": Metric(
        "Relevance ordering",
        measure_relevance_ordering,
        {
            "area": Quantity("area under the curve (insertion AUC)", "", "high"),
            "share": Quantity("pixels until the similarity is that of the image", "%", "low"),
        },
        settings=("seed", "samples", "steps", "start", "prototypes"),
        curve_axis="pixels put in, the most relevant first",
    ),
    "deletion": Metric(
        "Deletion",
        measure_deletion,
        {"area": Quantity("area under the curve", "", "low")},
        settings=("seed", "samples", "steps", "start", "prototypes"),
        curve_axis="pixels taken away, the most relevant first",
    ),
    "purity": Metric(
        "Purity",
        measure_purity,
        {
            "mean": Quantity("purity", "share", "high"),
            "deviation": Quantity("standard deviation over prototypes", "share"),
            "above_half": Quantity("prototypes of purity above 0.5", "share", "high"),
            "box": Quantity("image in the box (of 100 %, purity is 1)", "%"),
        },
        methods=region_methods,
        needs=(needs_parts,),
    ),
    "pointing": Metric(
        "Pointing game",
        measure_pointing,
        {
            "energy": Quantity("energy on the object", "%", "high"),
            "top": Quantity("top 10 % of pixels on the object", "%", "high"),
            "object": Quantity("pixels that are the object (chance)", "%"),
            "masks": Quantity("images with a mask, not just a box", "%"),
        },
        settings=("seed", "samples"),
        needs=(needs_objects,),
    ),
    "telling_parts": Metric(
        "Telling parts",
        measure_telling_parts,
        {
            "auc_on_object": Quantity("telling parts ranked above other parts (AUC; chance 0.5)", "", "high"),
            "auc": Quantity("telling parts ranked above all else (AUC; chance 0.5)", "", "high"),
            "energy": Quantity("energy on telling parts", "%", "high"),
            "lift": Quantity("energy on telling parts over chance", "×", "high"),
            "in_region": Quantity("boxes that hold a telling part", "%", "high"),
            "in_region_chance": Quantity("boxes of any cell that hold one (chance)", "%"),
            "hidden": Quantity("images whose telling parts are hidden", "images"),
        },
        settings=("seed", "samples"),
        needs=(needs_part_truth,),
    ),
    "sparsity": Metric(
        "Sparsity",
        measure_sparsity,
        {
            "deciding": Quantity("prototypes that make 95 % of the winning logit", "prototypes", "low"),
            "prototypes": Quantity("prototypes", "prototypes"),
            "images": Quantity("different source images", "images"),
            "patches": Quantity("different source patches", "patches"),
        },
        methods=no_method,
    ),
    "misalignment": Metric(
        "Spatial misalignment",
        measure_misalignment,
        {
            "pac": Quantity("activation change (PAC)", "%", "low"),
            "plc": Quantity("location change (PLC)", "%", "low"),
            "prc": Quantity("ranking change (PRC)", "prototypes", "low"),
            "accuracy_before": Quantity("accuracy before", "%"),
            "accuracy_after": Quantity("accuracy after", "%", "high"),
            "displayed": Quantity("image displayed, so not attacked", "%"),
            "pairs": Quantity("pairs attacked", "pairs"),
        },
        settings=("seed", "samples", "pairs"),
        needs=(needs_positive_similarity,),
    ),
}
