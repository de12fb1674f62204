"""Every mistake ends with one line that helps and an exit code, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pixpnet.cli import main
from pixpnet.data import DATASETS

ALL_COMMANDS = (
    "fit, train, demo, configs, predict, explain, verify, evaluate, report, export, prototypes, serve, "
    "compare, rf, goldilocks, data"
)

TRAIN = ["train", "--model.name", "protonet", "--model.feature-extractor", "resnet18"]

NO_SUCH_FILE = "no such file, nor a name of `pixpnet configs`"

TRAIN_KEYS = (
    "epochs, backbone-epochs, start-from, freeze-backbone, kept-views, tie-prototypes, balance, batch-size, "
    "accumulate-grad-batches, checkpoint, "
    "gradient-clip-norm, hparam-tune, stochastic-weight-averaging, val-every-n-epoch, push-prototypes, "
    "push-every, readout-push-epochs, prune, push-duplicate-filter, thumbnails, precision, compile"
)
OUTSIDE = "seed, gpus, log-dir, run-id, profile, profiler, debug, tb-logging"
SECTIONS = f"(sections: dataset, model, train, test, optimizer, loss; options outside: {OUTSIDE})"

NO_SIZE = "is not an image size such as 224 or 160x224 (height x width, each ≥ 1 and ≤ 10000)"

BAD_OPTIONS = [
    (
        "--train.epoch 3",
        "unknown option --train.epoch (its value: 3); did you mean --train.epochs? "
        f"(options of train: {TRAIN_KEYS})",
    ),
    (
        "--train.no-checkpoints",
        "unknown option --train.no-checkpoints (its value: ''); did you mean --train.no-checkpoint? "
        f"(options of train: {TRAIN_KEYS})",
    ),
    ("--lr 3", f"unknown option --lr (its value: 3); did you mean --optimizer.lr? {SECTIONS}"),
    ("--optim.lr 3", f"unknown option --optim.lr (its value: 3); did you mean --optimizer.lr? {SECTIONS}"),
    ("--xyzzy 3", f"unknown option --xyzzy (its value: 3) {SECTIONS}"),
    ("--train 3", f"--train: 3 is a value, but train is a section (options of train: {TRAIN_KEYS})"),
    ("--train.epochs three", "--train.epochs: three is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs 0", "--train.epochs: 0 is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs=0", "--train.epochs: 0 is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs 2.5", "--train.epochs: 2.5 is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs true", "--train.epochs: true is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs 1:30", "--train.epochs: '1:30' is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs null", "--train.epochs: null is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.batch_size -1", "--train.batch_size: -1 is not a whole number ≥ 1 and ≤ 100000"),
    ("--train.epochs", "--train.epochs: takes one value, a whole number ≥ 1 and ≤ 100000; got no value"),
    (
        "--train.epochs 3 4",
        "--train.epochs: takes one value, a whole number ≥ 1 and ≤ 100000; got 2 values: [3, 4]",
    ),
    ("--train.checkpoint maybe", "--train.checkpoint: maybe is not true or false"),
    (
        "--train.checkpoint --train.no-checkpoint",
        "--train.no-checkpoint: contradicts --train.checkpoint; give one of the two",
    ),
    ("--model.distance l3", "--model.distance: l3 is not one of l2, cosine; did you mean l2?"),
    ("--model.name protopnet", "--model.name: protopnet is not one of protonet; did you mean protonet?"),
    ("--model.epsilon 0", "--model.epsilon: 0 is not a number > 0 and ≤ 1000000000"),
    (
        "--model.num-prototypes 3000000000",
        "--model.num-prototypes: 3000000000 is not a whole number ≥ 1 and ≤ 100000",
    ),
    (
        f"--train.epochs {30 * '9'}",
        f"--train.epochs: {30 * '9'} is not a whole number ≥ 1 and ≤ 100000",
    ),
    ("--dataset.workers 5000", "--dataset.workers: 5000 is not a whole number ≥ 0 and ≤ 256"),
    ("--model.num-prototypes 0", "--model.num-prototypes: 0 is not a whole number ≥ 1 and ≤ 100000"),
    ("--optimizer.lr nan", "--optimizer.lr: nan is not a number > 0 and ≤ 1000000000"),
    ("--optimizer.lr .inf", "--optimizer.lr: .inf is not a number > 0 and ≤ 1000000000"),
    ("--loss.xent .nan", "--loss.xent: .nan is not a number ≥ -1000000000 and ≤ 1000000000"),
    ("--optimizer.lr-schedule 10 x", "--optimizer.lr-schedule: [10, x] is not a list of whole numbers ≥ 1"),
    ("--optimizer.lr-schedule []", "--optimizer.lr-schedule: [] is not a list of whole numbers ≥ 1"),
    ("--dataset.val-size 1", "--dataset.val-size: 1 is not a number ≥ 0 and < 1"),
    ("--dataset.classes 201", "--dataset.classes: 201 is not a whole number ≥ 1 and ≤ 200"),
    ("--seed -1", "--seed: -1 is not a whole number ≥ 0 and ≤ 4294967295"),
    ("--run-id a/b", "--run-id: a/b is not a text that is not empty and has no / \\"),
    ("--log-dir=", "--log-dir: '' is not a text that is not empty"),
    (
        "--train.epochs 3 --train.backbone-epochs 3",
        "train.backbone-epochs: 3 is not less than train.epochs (3), which counts them; "
        "prototypes need at least one epoch",
    ),
    (
        "--debug --train.hparam-tune",
        "train.hparam-tune: does not go with debug, which keeps three batches of train.batch-size; "
        "leave out one of the two",
    ),
    ("--debug -x 3", "unknown option -x; -c FILE and -h are the only short ones"),
    ("-c", "-c takes one YAML file, not []"),
    (
        "--resume run --seed 3",
        "--resume: a run keeps its own options, so --model.name can't be given (only --dataset-root and "
        "--on-changed-data). To train its network for more epochs, or with other options, begin a new run: "
        "pixpnet train --from run --train.epochs N",
    ),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory; what training would do there is an error."""

    def train(*_: object, **__: object) -> None:
        raise AssertionError("training began")

    monkeypatch.setattr("pixpnet.training.train", train)
    monkeypatch.setattr("pixpnet.training.resume", train)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("line", "message"), BAD_OPTIONS)
def test_bad_options(pixpnet: Callable, folder: Path, line: str, message: str) -> None:
    ended = pixpnet(*TRAIN, *line.split(" "))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"pixpnet: error: {message}\n"
    assert list(folder.iterdir()) == []


REQUIRED = "model: {name: protonet, feature-extractor: resnet18}\n"
BAD_FILES = [
    (
        "train:\n  epoch: 3\n",
        "bad.yaml:3: unknown option train.epoch (its value: 3); did you mean train.epochs? "
        f"(options of train: {TRAIN_KEYS})",
    ),
    ("learning_rate: 3\n", f"bad.yaml:2: unknown option learning_rate (its value: 3) {SECTIONS}"),
    ("optimizer:\n  lr: fast\n", "bad.yaml:3: optimizer.lr: fast is not a number > 0 and ≤ 1000000000"),
    ("optimizer:\n  lr: [1, 2]\n", "bad.yaml:3: optimizer.lr: [1, 2] is not a number > 0 and ≤ 1000000000"),
    (
        "optimizer:\n  lr: {a: 1}\n",
        "bad.yaml:3: optimizer.lr: a section is not a number > 0 and ≤ 1000000000",
    ),
    ("run-id: [a]\n", "bad.yaml:2: run-id: [a] is not a text that is not empty and has no / \\"),
    ("run-id: ''\n", "bad.yaml:2: run-id: '' is not a text that is not empty and has no / \\"),
    ("train:\n  epochs: null\n", "bad.yaml:3: train.epochs: null is not a whole number ≥ 1 and ≤ 100000"),
    ("train:\n  checkpoint: null\n", "bad.yaml:3: train.checkpoint: null is not true or false"),
    ("train: 5\n", "bad.yaml:2: section train is not made of `option: value` lines"),
    ("train: [1]\n", "bad.yaml:2: section train is not made of `option: value` lines"),
    ("? [a]\n: 3\n", "bad.yaml:2: the name of an option must be a text"),
    ("seed: 1\nseed: 2\n", "bad.yaml:3: seed: is there twice, as 1 and 2"),
    (
        "train:\n  batch_size: 1\n  batch-size: 2\n",
        "bad.yaml:4: train.batch-size: is there twice, as 1 and 2",
    ),
    (
        "train:\n  checkpoint: true\n  no-checkpoint: true\n",
        "bad.yaml:4: train.no-checkpoint: contradicts bad.yaml:3: train.checkpoint; give one of the two",
    ),
    ("train:\n\tepochs: 3\n", "bad.yaml:3: no valid YAML: found character '\\t' that cannot start any token"),
    ("seed: [1\n", "bad.yaml:3: no valid YAML: expected ',' or ']', but got '<stream end>'"),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_bad_files(pixpnet: Callable, folder: Path, text: str, message: str) -> None:
    (folder / "bad.yaml").write_text(REQUIRED + text)
    ended = pixpnet("train", "-c", "bad.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"pixpnet: error: {message}\n"
    assert [file.name for file in folder.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "-c protos.yaml",
            "-c protos.yaml: no such file, nor a name of `pixpnet configs`; did you mean proto.yaml?",
        ),
        (
            "-c xyzzy",
            "-c xyzzy: no such file, nor a name of `pixpnet configs`; there are deep.yaml, large.yaml, "
            "latin.yaml, list.yaml, proto.yaml, zero.yaml",
        ),
        (
            "-c gone/proto.yaml",
            "-c gone/proto.yaml: no such file, nor a name of `pixpnet configs`; "
            "did you mean configs/a/proto.yaml?",
        ),
        ("-c configs", "-c configs can't be read: it is no ordinary file."),
        ("-c deep.yaml", "deep.yaml: no configuration: it is nested too deep"),
        (
            "-c large.yaml",
            "-c large.yaml is not read: 1048577 bytes are more than 1048576, which is the most.",
        ),
        (
            "-c latin.yaml",
            "-c latin.yaml can't be read: 'utf-8' codec can't decode byte 0xfc in position 8: invalid start "
            "byte.",
        ),
        ("-c list.yaml", "list.yaml:1: the file is not made of `option: value` lines"),
        (
            "-c zero.yaml",
            "zero.yaml: no valid YAML: unacceptable character #x0000: special characters are not allowed in "
            '"<unicode string>", position 6',
        ),
        (
            "configs",
            "configs is not an option; options look like --train.epochs 3. For a folder of pictures there is "
            "`pixpnet fit configs`; here give --dataset.name folder --dataset.root configs",
        ),
        ("proto.yml", "proto.yml is not an option; options look like --train.epochs 3"),
        (
            "zero.yaml",
            "zero.yaml is not an option; options look like --train.epochs 3. To read options from it: "
            "-c zero.yaml",
        ),
        (
            "-c proto.yaml",
            "model.feature-extractor: is required; give a backbone, e.g. --model.feature-extractor resnet18",
        ),
        (
            "--seed 1",
            "model.feature-extractor: is required; give a backbone, e.g. --model.feature-extractor resnet18",
        ),
    ],
)
def test_no_file_and_what_is_required(pixpnet: Callable, folder: Path, line: str, message: str) -> None:
    (folder / "configs" / "a").mkdir(parents=True)
    (folder / "configs" / "a" / "proto.yaml").write_text("")
    (folder / "proto.yaml").write_text("model: {name: protonet}")
    (folder / "latin.yaml").write_bytes("run-id: ü".encode("latin-1"))
    (folder / "list.yaml").write_text("- 1\n")
    (folder / "zero.yaml").write_text("seed: \0\n")
    (folder / "deep.yaml").write_text("seed: " + 5000 * "[")
    (folder / "large.yaml").write_text((2**20 + 1) * "#")
    ended = pixpnet("train", *line.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"pixpnet: error: {message}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "trian",
            f"'trian' is not one of {ALL_COMMANDS}; did you mean train?",
        ),
        (
            "--verson",
            f"'--verson' is not one of {ALL_COMMANDS}",
        ),
        (
            "data synthbird",
            "data: 'synthbird' is not one of list, prepare, check, synthbirds; did you mean synthbirds?",
        ),
        ("data list x", "data list: unknown argument 'x' (options: --help)"),
        (
            "data check .",
            "dataset.name '.' is not known; it is a folder of pictures? Give dataset.name folder, and "
            f"dataset.root .. There are {', '.join(DATASETS)}.",
        ),
        ("data synthbirds", "data synthbirds: the following arguments are required: --out"),
        (
            "data synthbirds --out x --class 3",
            "data synthbirds: unknown argument '--class'; did you mean --classes? "
            "(options: --help, --out, --size, --classes, --train-images, --test-images, --seed)",
        ),
        (
            "data synthbirds --out x --classes 201",
            "data synthbirds: argument --classes: '201' is not a whole number ≥ 1 and ≤ 200",
        ),
        (
            "data synthbirds --out x --seed -1",
            "data synthbirds: argument --seed: '-1' is not a whole number ≥ 0 and ≤ 4294967295",
        ),
        ("rf", "rf: give a BACKBONE or --all, not neither"),
        (
            "rf resnet18 --siz 3",
            "rf: unknown argument '--siz'; did you mean --size? "
            "(options: --help, --all, --size, --tile, --tile-stride, --tile-input, --layer, --json, "
            "--markdown)",
        ),
        (
            "rf resnet18 --size 12y",
            f"rf: argument --size: '12y' {NO_SIZE}",
        ),
        (
            "rf resnet18 --size 0",
            f"rf: argument --size: '0' {NO_SIZE}",
        ),
        (
            "rf resnet18 --size 1000000",
            f"rf: argument --size: '1000000' {NO_SIZE}",
        ),
        (
            "verify run --trials 99999999999",
            "verify: argument --trials: '99999999999' is not a whole number ≥ 1 and ≤ 100000",
        ),
        (
            "rf resnt18",
            "unknown backbone 'resnt18'; nearest: resnet18, resnet152, resnet101, resnet50, resnet34.",
        ),
        (
            "explain",
            "explain: the following arguments are required: RUN_DIR; wanted: pixpnet explain RUN_DIR IMAGE",
        ),
        ("explain run --top-k 0", "explain: argument --top-k: '0' is not a whole number ≥ 1"),
        (
            "demo --train.epoch 3",
            "unknown option --train.epoch (its value: 3); did you mean --train.epochs? "
            f"(options of train: {TRAIN_KEYS})",
        ),
    ],
)
def test_bad_commands(pixpnet: Callable, folder: Path, line: str, message: str) -> None:
    ended = pixpnet(*line.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"pixpnet: error: {message}\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "end"), [("adamm", "; did you mean Adam?"), ("lbfgs", " (its step evaluates the loss again)")]
)
def test_unknown_optimizer(pixpnet: Callable, folder: Path, name: str, end: str) -> None:
    ended = pixpnet(*TRAIN, "--optimizer.name", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"pixpnet: error: optimizer.name: {name} is not one of ASGD, Adadelta, ")
    assert ended.err.endswith(f", SGD{end}\n")


def test_unknown_log_level(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXPNET_LOG_LEVEL", "loud")
    assert main(["data", "list"]) == 2
    message = "PIXPNET_LOG_LEVEL: 'loud' is not one of DEBUG, INFO, WARNING, ERROR"
    assert capsys.readouterr().err == f"pixpnet: error: {message}\n"
