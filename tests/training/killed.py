"""A training command that is killed in the middle of an epoch."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
torch.set_num_threads(1)
steps = []
def kill(optimizer, *_):
    if len(optimizer.param_groups) > 1:  # not that of a readout
        steps.append(1)
    if len(steps) == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
register_optimizer_step_post_hook(kill)
from pixpnet.cli import main
main(["train", *sys.argv[1:]])
"""


def killed_run(arguments: list[str], logs: Path, *, step: int) -> Path:
    """The directory of a run that was killed in its so-manyth training step."""
    command = [sys.executable, "-c", SCRIPT.format(step=step), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (run,) = logs.glob("synthbirds/protonet/*")
    return run
