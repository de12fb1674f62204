"""`pixpnet goldilocks`: what it prints, and what it says to wrong input."""

import pytest

from pixpnet.cli import main
from pixpnet.config import parse_config
from pixpnet.goldilocks import read_rows

DATA = "--dataset.classes 3 --dataset.size 64 --dataset.train-images 10 --dataset.test-images 4"


@pytest.fixture
def goldilocks(capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(line):
        code = main(["goldilocks", *line.split()])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_table_advice_and_a_configuration_that_train_takes(goldilocks, birds, tmp_path):
    code, out, err = goldilocks(
        f"--models small_resnet --dataset.root {birds} {DATA} --gpus 0 --model.no-pretrained --max-rf 40"
    )
    assert code == 0, err
    assert "random weights, which says little" in err
    folder = tmp_path / "logs" / "goldilocks" / "synthbirds"
    rows = read_rows(folder / "goldilocks.csv")
    assert {row.weights for row in rows} == {"random"}
    printed = [line for line in out.splitlines() if "small_resnet │" in line]
    assert len(printed) == len(rows) == 10
    ranks = [int(line.split("│")[2]) for line in printed]
    assert ranks[:5] == sorted(ranks[:5])
    assert ranks[5:] == sorted(ranks[5:])
    assert "best layer with mean RF ≤ 40 %: small_resnet/" in out
    best = "logs/goldilocks/synthbirds/goldilocks.best.yaml"
    assert best in out.splitlines()
    assert parse_config(["-c", best]).model.feature_extractor == "small_resnet"


WRONG = [
    ("", "goldilocks: the following arguments are required: --models"),
    ("--models resnet81", "unknown backbone 'resnet81'; nearest: resnet18"),
    ("--models resnet18,", "--models: 'resnet18,' holds an empty name"),
    ("--modles resnet18", "goldilocks: unknown option --modles; did you mean --models?"),
    ("--models resnet18 --max_rf 3", "goldilocks: unknown option --max_rf; did you mean --max-rf?"),
    ("--models resnet18 --dataset.nam x", "unknown option --dataset.nam; did you mean --dataset.name?"),
    ("--models resnet18 --dataset.name cbu200", "dataset.name 'CBU200' is not known; did you mean CUB200"),
    ("--models resnet18 --max-rf 0", "argument --max-rf: '0' is not a number > 0 and ≤ 100"),
    ("--models resnet18 --max-rf nan", "argument --max-rf: 'nan' is not a number > 0 and ≤ 100"),
    ("--models resnet18 --jobs 0", "argument --jobs: '0' is not a whole number ≥ 1"),
    ("--models resnet18 --mode prob", "argument --mode: invalid choice: 'prob'"),
    ("--models resnet18 --epochs 5", "--epochs is for --mode finetune"),
    (
        "--models resnet18 --model.feature-extractor x",
        "--model.feature-extractor has no effect here; give --models",
    ),
    ("--models resnet18 --train.epochs 5", "goldilocks: --train.epochs has no effect here"),
    ("--models resnet18 --train.batch-size x", "--train.batch-size: x is not a whole number ≥ 1"),
    ("--models inception_v3 --dataset.size 48", "does not take images of 48x48"),
    ("--models a,b --model.weights w.pth", "model.weights: one file does not fit 2 backbones"),
    ("resnet18 --models vgg11", "goldilocks: unknown argument 'resnet18'"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_wrong_options_end_in_one_line_and_write_nothing(goldilocks, tmp_path, line, message):
    code, out, err = goldilocks(line)
    assert (code, out) == (2, "")
    assert err.startswith("pixpnet: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_data_and_weights(goldilocks, birds, tmp_path, monkeypatch):
    code, _, err = goldilocks(f"--models small_resnet --dataset.name cars224 --dataset.root {tmp_path}/none")
    assert code == 1
    assert "CARS224 was not found" in err
    code, _, err = goldilocks(f"--models small_resnet --dataset.root {birds} {DATA} --out here")
    assert code == 2
    assert "small_resnet has no published weights: use --model.no-pretrained" in err.splitlines()[-1]
    code, _, err = goldilocks(
        f"--models resnet18 --dataset.root {birds} {DATA} --model.weights no.pth --out there"
    )
    assert code == 1
    assert "there is no file of weights at no.pth" in err.splitlines()[-1]


def test_a_file_that_is_no_table_is_left_alone(goldilocks, birds, tmp_path):
    other = tmp_path / "grades.csv"
    other.write_text("name,grade\nA,1\n")
    code, _, err = goldilocks(
        f"--models small_resnet --dataset.root {birds} {DATA} --model.no-pretrained --out {other}"
    )
    assert code == 1
    assert "grades.csv is no table of Goldilocks results: it has no column Test Accuracy" in err
    assert other.read_text() == "name,grade\nA,1\n"
    assert list(tmp_path.iterdir()) == [other]


def test_help_names_every_option(goldilocks):
    code, out, _ = goldilocks("--help")
    assert code == 0
    for name in ("--models", "--mode", "--epochs", "--max-rf", "--jobs", "--cluster", "--out", "--dataset.*"):
        assert name in out
