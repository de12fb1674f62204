"""The end of a run: test scores, sizes and times, the closing table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pixpnet.files import write_text, write_yaml
from pixpnet.runs import load_checkpoint
from pixpnet.training.model_info import model_info

if TYPE_CHECKING:
    from pixpnet.training.run import Training


def finish(run: Training) -> None:
    """Test the last network (and the best one), write the results, show the closing table.

    ``scores.yaml`` comes last: a run that has it is complete.
    """
    scores = run.evaluate(run.splits.test, "test")
    run.log(scores)
    last = run.directory.last_checkpoint()
    best = run.directory.checkpoints / (run.position.best_checkpoint or last.name)
    if run.config.train.checkpoint:
        scores |= {f"best_{name}": value for name, value in _test_checkpoint(run, best, last, scores).items()}
    if not run.main:
        return
    run.network.backbone.requires_grad_(True)  # a run that ends in its warm-up still has it to train
    with run.profiler.phase("sizes and speed"):
        info = model_info(
            run.network,
            image_size=run.splits.image_size,
            batch_size=run.test_batch_size,
            train_seconds=run.position.train_seconds,
            epochs=len(run.plans),
        )
    write_yaml(run.directory.model_info_file, info)
    write_text(run.directory.best_model_file, f"{best}\n")
    run.logs.close()
    write_yaml(run.directory.scores_file, scores)
    run.display.closing_table("PixPNet", _summary(run, scores, info))


def _test_checkpoint(run: Training, path: Path, last: Path, scores: dict[str, float]) -> dict[str, float]:
    """Test scores of another checkpoint's network; the run's own network comes back."""
    if path == last:
        return dict(scores)
    own = {name: tensor.clone() for name, tensor in run.network.state_dict().items()}
    run.network.load_state_dict(load_checkpoint(path).network)
    try:
        return run.evaluate(run.splits.test, "test")
    finally:
        run.network.load_state_dict(own)


def _summary(run: Training, scores: dict[str, float], info: dict[str, float | int]) -> dict[str, str]:
    field = run.receptive_field.for_kernel(run.network.kernel_size)
    rows = {
        "test accuracy": f"{scores['test_accuracy']:.4f}",
        "test accuracy, mean over classes": f"{scores['test_weighted_accuracy']:.4f}",
    }
    if "best_test_accuracy" in scores:
        rows["test accuracy, best on validation"] = f"{scores['best_test_accuracy']:.4f}"
    return rows | {
        "prototypes": f"{run.network.num_prototypes} for {run.network.num_classes} classes",
        "mean receptive field": f"{field.mean_percent:.1f} % of the image",
        "parameters": f"{info['total_parameters']:,}",
        "multiply-adds per image": f"{info['macs']:,}",
        "training time": f"{run.position.train_seconds:.0f} s",
        "run directory": str(run.directory.path),
    }
