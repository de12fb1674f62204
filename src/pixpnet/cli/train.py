"""``pixpnet train``, ``demo`` and ``configs``: train a network, or go on with a run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from pixpnet.choices import choose
from pixpnet.cli.console import say
from pixpnet.cli.parser import ConfigurationHelp, Parser
from pixpnet.config import (
    Config,
    config_to_yaml,
    keys,
    parse_config,
    shipped_configurations,
    to_kebab,
)
from pixpnet.errors import ConfigError
from pixpnet.files import write_text

TRAIN_USAGE = """\
%(prog)s -c FILE|NAME [-c FILE|NAME ...] [--section.option value ...]
       %(prog)s --from RUN_DIR [--section.option value ...]
       %(prog)s --resume RUN_DIR [--dataset-root DIR] [--on-changed-data {stop,continue}]"""

TRAIN = """\
Trains a pixel-grounded prototypical part network, projects its prototypes onto training patches,
tests it, and prints the folder of the run. A later file wins over an earlier one, and the command line
over the files. In files, options are nested by section; `pixpnet configs` lists those that come with
the package."""

RESUME = "pixpnet.training:resume"

DEMO_USAGE = "%(prog)s [--section.option value ...]"

DEMO = """\
Renders pictures of birds, trains a network on them, projects its prototypes, tests it, draws
explanations and writes a report. Options change the packaged configuration; the defaults below are
those of pixpnet train."""


def train(arguments: Sequence[str]) -> int:
    """Train, or resume, and print the run directory."""
    if _asks_for_help(arguments):
        parser = Parser("pixpnet train", TRAIN, of=[RESUME], usage=TRAIN_USAGE, layout=ConfigurationHelp)
        parser.add_argument("-c", "--config", metavar="FILE", help="YAML file with options")
        _add_from(parser)
        _add_resume(parser)
        parser.print_configuration_help()
        return 0
    if any(argument.partition("=")[0] == "--resume" for argument in arguments):
        say(_resume(arguments))
    else:
        is_from = any(argument.partition("=")[0] == "--from" for argument in arguments)
        say(_train_showing_run(_config_from_run(arguments) if is_from else parse_config(arguments)))
    return 0


def demo(arguments: Sequence[str]) -> int:
    """Train with the packaged configuration, explain, report, and say where everything is."""
    if _asks_for_help(arguments):
        parser = Parser("pixpnet demo", DEMO, usage=DEMO_USAGE, layout=ConfigurationHelp)
        parser.print_configuration_help()
        return 0
    config = parse_config(["-c", "proto-synthbirds", *arguments])
    run_dir = _train_showing_run(config)
    from pixpnet.explanation import explain_images
    from pixpnet.report import write_report

    pictures = explain_images(run_dir)
    report = write_report(run_dir)
    say(f"run: {run_dir}")
    for picture in pictures:
        say(f"explanation: {picture}")
    say(f"report: {report}")
    return 0


def configs(arguments: Sequence[str]) -> int:
    """Print the names of the shipped configurations and what they are for, or one of them."""
    parser = Parser("pixpnet configs", "List the configurations that `-c NAME` takes, or print one of them.")
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this one")
    name = parser.parse(arguments).name
    shipped = shipped_configurations()
    if name is not None:
        print(choose(shipped, name, what="NAME"), end="")
        return 0
    margin = 2 + max(map(len, shipped))
    for name, text in shipped.items():
        comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
        said = " ".join(line.lstrip("# ") for line in comment)
        print(textwrap.fill(said, 100, initial_indent=name.ljust(margin), subsequent_indent=" " * margin))
    return 0


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return "-h" in arguments or "--help" in arguments


def _train_showing_run(config: Config) -> Path:
    """Train; when interrupted, say which run it was and where it can go on.

    Raises:
        KeyboardInterrupt: With that sentence.
    """
    from pixpnet.training import train

    log_dir = Path(config.log_dir)
    before = _runs(log_dir)
    try:
        return train(config)
    except KeyboardInterrupt:
        started = sorted(_runs(log_dir) - before)
        raise KeyboardInterrupt(_how_to_go_on(started[-1]) if started else "nothing was begun") from None


def _add_from(parser: Parser) -> None:
    more = "train the network of a run for more epochs, as a new run with that one's options and these"
    parser.add_argument("--from", dest="start", metavar="RUN_DIR", help=more)


def _add_resume(parser: Parser) -> None:
    stopped = "go on with a run that was stopped, from the end of its last whole epoch"
    parser.add_argument("--resume", metavar="RUN_DIR", type=Path, required=True, help=stopped)
    parser.take("dataset_root", type=Path, metavar="DIR")
    parser.take("on_changed_data", choices=keys("pixpnet.training:ON_CHANGED_DATA"))


def _resume(arguments: Sequence[str]) -> Path:
    """Go on with a run; it keeps its own options."""
    parser = Parser("pixpnet train", TRAIN, of=[RESUME], usage=TRAIN_USAGE)
    _add_resume(parser)
    values, others = parser.parse_known_args(arguments)
    if others:
        raise ConfigError(
            f"--resume: a run keeps its own options, so {others[0]} can't be given (only --dataset-root and "
            "--on-changed-data). To train its network for more epochs, or with other options, begin a new "
            f"run: pixpnet train --from {values.resume} --train.epochs N"
        )
    from pixpnet.training import resume

    try:
        return resume(values.resume, dataset_root=values.dataset_root, on_changed_data=values.on_changed_data)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_how_to_go_on(values.resume)) from None


def _config_from_run(arguments: Sequence[str]) -> Config:
    """The configuration of ``--from RUN_DIR``: that of the run's checkpoint, and its network to start with.

    Its backbone has been trained, so no stage for it comes first, unless one is asked for.
    """
    parser = Parser("pixpnet train", TRAIN, usage=TRAIN_USAGE)
    _add_from(parser)
    values, others = parser.parse_known_args(arguments)
    from pixpnet.runs import RunDirectory, load

    own = ["--train.start-from", values.start]
    if not any(to_kebab(other).startswith("--train.backbone-epochs") for other in others):
        own += ["--train.backbone-epochs", "0"]
    with TemporaryDirectory() as folder:
        options = Path(folder, "config.yaml")
        write_text(options, config_to_yaml(load(RunDirectory.open(values.start).path).config))
        return parse_config(["-c", str(options), *own, *others])


def _runs(log_dir: Path) -> set[Path]:
    """The run directories ``<log-dir>/<data set>/protonet/<timestamp>``."""
    return set(log_dir.glob("*/*/*"))


def _how_to_go_on(run_dir: Path) -> str:
    from pixpnet.runs import RunDirectory

    checkpoints = RunDirectory(run_dir).checkpoint_files()
    if not checkpoints:
        return f"{run_dir} holds no checkpoint yet, no epoch was complete"
    return f"the last good checkpoint is {checkpoints[-1]}; go on with: pixpnet train --resume {run_dir}"
