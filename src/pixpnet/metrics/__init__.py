"""Measures of interpretability, for any model that gives arrays; see docs/explanation/metrics.md."""

from pixpnet.metrics.consistency import Agreement, PartCounts, consistency, count_parts, part_presence
from pixpnet.metrics.deletion import (
    deletion_auc,
    deletion_curve,
    insertion_auc,
    insertion_curve,
    summarise_deletion,
)
from pixpnet.metrics.intervals import RESAMPLES, Estimate, bootstrap_mean, estimate_per_prototype, exactly
from pixpnet.metrics.misalignment import (
    Misalignment,
    Observation,
    attack_outside,
    require_positive_similarity,
    spatial_misalignment,
    top_region,
)
from pixpnet.metrics.parts import argmax_centers, cell_centers, merge_parts, parts_in_boxes, square_regions
from pixpnet.metrics.pointing import box_mask, energy_share, top_pixels, top_share
from pixpnet.metrics.protocols import PROTOCOLS, Protocol
from pixpnet.metrics.purity import Purity, most_similar_images, prototype_purity, purity
from pixpnet.metrics.relevance_ordering import (
    CurveSums,
    OrderingSummary,
    normalised_curves,
    perturbed_images,
    pixel_counts,
    relevance_curve,
    relevance_ranks,
    summarise_curves,
    trapezoid,
)
from pixpnet.metrics.running import Consistency, PrototypeMean, RelevanceOrdering, Stability
from pixpnet.metrics.sparsity import UniqueSources, deciding_prototypes, sparsity, unique_sources
from pixpnet.metrics.stability import StabilityCounts, add_noise, count_stable, stability
from pixpnet.metrics.telling_parts import boxes_that_hold_a_part, lift, ranking_auc, telling_parts

__all__ = [
    "PROTOCOLS",
    "RESAMPLES",
    "Agreement",
    "Consistency",
    "CurveSums",
    "Estimate",
    "Misalignment",
    "Observation",
    "OrderingSummary",
    "PartCounts",
    "Protocol",
    "PrototypeMean",
    "Purity",
    "RelevanceOrdering",
    "Stability",
    "StabilityCounts",
    "UniqueSources",
    "add_noise",
    "argmax_centers",
    "attack_outside",
    "bootstrap_mean",
    "box_mask",
    "boxes_that_hold_a_part",
    "cell_centers",
    "consistency",
    "count_parts",
    "count_stable",
    "deciding_prototypes",
    "deletion_auc",
    "deletion_curve",
    "energy_share",
    "estimate_per_prototype",
    "exactly",
    "insertion_auc",
    "insertion_curve",
    "lift",
    "merge_parts",
    "most_similar_images",
    "normalised_curves",
    "part_presence",
    "parts_in_boxes",
    "perturbed_images",
    "pixel_counts",
    "prototype_purity",
    "purity",
    "ranking_auc",
    "relevance_curve",
    "relevance_ranks",
    "require_positive_similarity",
    "sparsity",
    "spatial_misalignment",
    "square_regions",
    "stability",
    "summarise_curves",
    "summarise_deletion",
    "telling_parts",
    "top_pixels",
    "top_region",
    "top_share",
    "trapezoid",
    "unique_sources",
]
