"""The CSV of results: what was written is read, whatever was interrupted."""

from dataclasses import replace

import pytest

from pixpnet.errors import DataError
from pixpnet.goldilocks import COLUMNS, Row, append_row, read_rows, write_rows

ROW = Row(
    model="resnet18",
    stage_number=3,
    stage="layer1",
    dataset="SYNTHBIRDS",
    height=128,
    width=96,
    test_accuracy=1 / 3,
    test_accuracy_top5=0.9,
    mean_rf=9.461,
    max_rf=11.25,
    parameters=157504,
    macs=189530112,
    mode="probe",
    readout="prototypes",
    weights="trained",
    seed=7,
    seconds=0.125,
    version="0.1.0",
)


def test_rows_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "table.csv"
    assert read_rows(path) == []
    append_row(path, ROW)
    append_row(path, replace(ROW, stage="layer2", stage_number=4, readout="average"))
    first, second = read_rows(path)
    assert first == ROW
    assert (second.stage, second.stage_number, second.readout) == ("layer2", 4, "average")
    assert path.read_text().splitlines()[0].split(",")[:8] == [
        *("Test Accuracy", "Test Accuracy Top5", "Dataset", "Height"),
        *("Width", "Stage #", "Stage Name", "Model"),
    ]


@pytest.mark.parametrize("torn", ["0.5,0.9,SYNTH", "Test Accu"])
def test_a_torn_line_costs_itself_only(tmp_path, torn):
    path = tmp_path / "table.csv"
    if torn[0].isdigit():
        append_row(path, ROW)
    before = read_rows(path)
    with path.open("a") as file:
        file.write(torn)
    assert read_rows(path) == before
    append_row(path, ROW)
    assert read_rows(path) == [*before, ROW]


def test_ranks_are_written_and_rows_can_follow(tmp_path):
    path = tmp_path / "table.csv"
    other = replace(ROW, stage="layer2")
    write_rows(path, [ROW, other], [2, 1])
    column = list(COLUMNS).index("Pareto Rank")
    assert [line.split(",")[column] for line in path.read_text().splitlines()[1:]] == ["2", "1"]
    append_row(path, replace(ROW, seed=8))
    assert read_rows(path) == [ROW, other, replace(ROW, seed=8)]


def test_other_files_are_refused_with_what_is_wrong(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no column Test Accuracy"):
        read_rows(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"is no table of Goldilocks results .*can.t be read"):
        read_rows(path)
    path.unlink()
    append_row(path, ROW)
    path.write_text(path.read_text().replace("probe", "guess"))
    with pytest.raises(DataError, match="line 2: Mode is 'guess', not one of probe, finetune"):
        read_rows(path)
    path.write_text(path.read_text().replace("guess", "probe").replace("157504", "many"))
    with pytest.raises(DataError, match=r"line 2: .*many"):
        read_rows(path)


def test_what_tells_rows_apart():
    assert replace(ROW, seconds=9.0, test_accuracy=0.1, version="2").key == ROW.key
    for change in ({"model": "vgg11"}, {"stage": "fc"}, {"seed": 1}, {"weights": "random"}, {"width": 1}):
        assert replace(ROW, **change).key != ROW.key
