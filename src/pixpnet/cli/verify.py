"""``pixpnet verify``: the grounding certificate of a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.cli.arguments import Parser, whole_number
from pixpnet.cli.console import print_table, progress_bar
from pixpnet.config.ranges import FROM_1, SEED

if TYPE_CHECKING:
    from rich.table import Table

    from pixpnet.certificate import Certificate, Finding

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Print a table and the verdict, write the certificate; the exit code is 1 if a trial failed."""
    description = (
        "Replace everything outside the box that is displayed for a prototype, and see that the features "
        "behind it do not change."
    )
    parser = Parser(prog="pixpnet verify", description=description)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder of the run, or a checkpoint")
    trials_help = "pairs of test image and prototype that are tried (default: 1000)"
    parser.add_argument("--trials", type=whole_number(FROM_1), default=1000, metavar="N", help=trials_help)
    seed_help = "draws the pairs and the noise (default: 0)"
    parser.add_argument("--seed", type=whole_number(SEED), default=0, metavar="N", help=seed_help)
    parser.add_dataset_root()
    options = parser.parse(arguments)
    from pixpnet.certificate import certificate_file, verify
    from pixpnet.files import write_text
    from pixpnet.runs import load

    loaded = load(options.run_dir, dataset_root=options.dataset_root)
    with progress_bar("trials") as progress:
        certificate = verify(loaded, trials=options.trials, seed=options.seed, progress=progress)
    path = certificate_file(loaded.checkpoint)
    write_text(path, json.dumps(certificate.to_dict(), indent=2, allow_nan=False) + "\n")
    print_table(_table(certificate))
    print(certificate.verdict)
    if certificate.worst_failure is not None:
        print(_worst(certificate))
    print(path)
    return 0 if certificate.passed else 1


def _table(certificate: Certificate) -> Table:
    from rich.table import Table

    from pixpnet.pixel_space import region_title

    table = Table(
        title=f"Grounding: all but the region is replaced (features may move by {certificate.tolerance:g})",
        title_justify="left",
    )
    table.add_column("region")
    table.add_column("replaced by")
    for heading in ("trials", "empty", "failing", "largest Δ features", "largest Δ similarity"):
        table.add_column(heading, justify="right")
    for region in certificate.regions:
        found = [finding for finding in certificate.findings if finding.region == region]
        for number, finding in enumerate([*found, certificate.overall(region)]):
            table.add_row(
                "" if number else region_title(region), *_row(finding), end_section=number == len(found)
            )
    return table


def _row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.replacement,
        str(finding.trials),
        str(finding.unchanged),
        f"{100 * finding.share_failing:.1f} %",
        f"{finding.largest_feature_change:.2g}",
        f"{finding.largest_similarity_change:.2g}",
    )


def _worst(certificate: Certificate) -> str:
    worst = certificate.worst_failure
    assert worst is not None
    left, top, right, bottom = worst.box
    return (
        f"Worst: prototype {worst.prototype} in test image {worst.image_id}, cell {worst.cell}, box "
        f"x {left:g}-{right:g}, y {top:g}-{bottom:g}, the rest replaced by {worst.replacement}."
    )
