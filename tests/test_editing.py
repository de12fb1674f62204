"""Prototypes edited by hand: what follows from the list of edits, and that all of it can be undone."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import pixpnet
from pixpnet import (
    Change,
    CheckpointError,
    ConfigError,
    DataError,
    FileError,
    edit,
    list_prototypes,
    load,
    suggest,
)
from pixpnet.certificate import verify
from pixpnet.cli import main
from pixpnet.config import config_from_yaml, config_to_yaml
from pixpnet.editing import read_changes
from pixpnet.evaluation import evaluate
from pixpnet.exporting import description, model_card
from pixpnet.files import sha256_of
from pixpnet.prototypes import HEADS
from pixpnet.report import compare, read_runs, to_markdown, write_report
from pixpnet.runs import (
    Edit,
    RunDirectory,
    forbidden_patches,
    load_checkpoint,
    object_shares,
    read_history,
    read_manifest,
    save_checkpoint,
)

CLASSES = "001.Common_Violet_Siskin", "002.Sooty_bellied_Violet_Siskin", "003.Snowy_throated_Violet_Siskin"
"""Of the tiny run: prototypes 0 and 1, 2 and 3, 4 and 5."""


@pytest.fixture
def run(tiny_run, tmp_path):
    """A run that may be edited."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def trained(run):
    return RunDirectory(run).chosen_checkpoint()


def state(run):
    return load(run).network.state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def changed(run, *, head=None, own_class=None, epochs=None, prototypes=None, sources=None):
    """The run with another trained network: another head, or other prototypes."""
    saved = load_checkpoint(trained(run))
    config, network = config_from_yaml(saved.config_yaml), dict(saved.network)
    if epochs is not None:
        config = replace(config, train=replace(config.train, readout_push_epochs=epochs))
    if head is not None:
        config = replace(config, model=replace(config.model, readout_type=head))
        own = network["head.own_class"] if own_class is None else own_class
        made = HEADS[head](own, correct_strength=1.0, incorrect_strength=-0.5)
        network = {name: one for name, one in network.items() if not name.startswith("head.")}
        network |= {f"head.{name}": one for name, one in made.state_dict().items()}
    if prototypes is not None:
        network["prototypes"] = prototypes
    other = replace(saved, config_yaml=config_to_yaml(config), network=network)
    save_checkpoint(other if sources is None else replace(other, sources=tuple(sources)), trained(run))
    return run


def test_undo_goes_back_bit_for_bit_and_the_list_only_grows(run):
    before, file = state(run), sha256_of(trained(run))
    listed, seen = RunDirectory(run).edits_file, [""]

    def grows():
        seen.append(listed.read_text(encoding="utf-8"))
        assert seen[-1].startswith(seen[-2])
        assert seen[-1].count("\n") == seen[-2].count("\n") + 1
        assert sha256_of(trained(run)) == file

    done = edit(run, Change("disable", (1,)), by="anna", why="a twig")
    grows()
    edited, network = state(run), load(run).checkpoint
    assert (done.before.prototypes, done.after.prototypes) == (6, 5)
    assert network != trained(run)
    assert "5, cosine distance, edited by hand (1 edit)" in repr(load(run))
    assert [(one.by, one.why, one.changes) for one in load(run).edits] == [
        ("anna", "a twig", (Change("disable", (1,)),))
    ]
    assert [one.image_id for one in load(run).sources] == [
        one.image_id for one in load(trained(run)).sources if one.prototype != 1
    ]
    edit(run, Change("undo"))
    grows()
    assert equal(state(run), before)
    assert load(run).checkpoint == trained(run)
    assert load(run).edits == ()
    assert "edited" not in repr(load(run))
    edit(run, Change("redo"))
    grows()
    assert equal(state(run), edited)
    assert load(run).checkpoint == network
    assert [one.changes[0].do for one in read_history(RunDirectory(run)).lines] == ["disable", "undo", "redo"]
    assert len([*RunDirectory(run).checkpoints.glob("edited*")]) == 1
    with pytest.raises(ConfigError, match="nothing to redo"):
        edit(run, Change("redo"))


def test_what_is_done_and_brought_back_or_noted_leaves_the_trained_network(run):
    edit(run, Change("disable", (1, 3)))
    edit(run, Change("enable", (3,)), Change("enable", (1,)), Change("note", (2,), "the tail"))
    assert load(run).checkpoint == trained(run)
    assert len(load(run).edits) == 2
    assert "note: the tail" in list_prototypes(run)[2].flags


def test_an_edit_is_told_without_saying_the_same_again():
    changes = (
        *(
            Change("disable", (1,)),
            Change("disable", (3, 4)),
            Change("merge", (0, 2)),
            Change("merge", (5, 6)),
        ),
        *(Change("note", (7,), "the tail"), Change("disable", (8,))),
    )
    told = "disable 1, 3, 4; merge 2 into 0; merge 6 into 5; note of 7: the tail; disable 8"
    assert str(Edit(changes, "anna", "2026-11-27", "seen")) == f"2026-11-27, anna: {told} (seen)"


def test_what_is_forbidden_is_a_mark_until_a_run_goes_on(run, capsys):
    before = state(run)
    edit(run, Change("disable", (1,)), Change("forbid", (1, 4)), by="anna", why="a square")
    told = {one.prototype: one.flags for one in list_prototypes(run)}
    mark = "forbidden in further training"
    assert [number for number, flags in told.items() if mark in flags] == [1, 4]
    assert places(forbidden_patches(RunDirectory(run))) == places(load(trained(run)).sources)[1::3]
    assert "disable 1; forbid 1, 4" in str(load(run).edits[-1])
    network = load(run).checkpoint
    assert main(["prototypes", str(run), "allow", "1"]) == 0
    edit(run, Change("forbid", (2,)))
    assert load(run).checkpoint == network  # and its checksum
    assert [one.prototype for one in forbidden_patches(RunDirectory(run))] == [2, 4]
    edit(run, Change("undo"))
    edit(run, Change("undo"))
    edit(run, Change("undo"))
    assert forbidden_patches(RunDirectory(run)) == ()
    assert equal(state(run), before)
    edit(run, Change("forbid", (4,)))
    assert equal(state(run), before)
    assert load(run).checkpoint == trained(run)
    assert main(["prototypes", str(run), "allow", "2"]) == 2
    assert "allow: prototype 2 is not forbidden." in capsys.readouterr().err


def places(sources):
    return [(one.image_id, one.cell) for one in sources]


def test_a_trial_keeps_nothing(run):
    suggest(run)  # which keeps the similarities
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    tried = edit(run, Change("disable", (1,)), dry_run=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert tried.kept is None
    assert tried.lines()[-1] == "Nothing is kept: it was only tried."


def test_what_is_shown_is_what_the_networks_say_of_the_test_images(run):
    before = load(run)
    done = edit(run, Change("disable", (1,)))
    after = load(run)
    images = torch.stack([image.image for image in before.test_images])
    labels = torch.as_tensor(before.test_images.labels)
    with torch.no_grad():
        told = [one.network(images).logits.argmax(dim=1) for one in (before, after)]
    for one, measured, loaded in zip(told, (done.before, done.after), (before, after), strict=True):
        assert measured.accuracy == pytest.approx(float((one == labels).double().mean()))
        areas = [source.box.area / 64**2 for source in loaded.sources]
        assert measured.field_percent == pytest.approx(100 * sum(areas) / len(areas))
        for name, (share, count) in measured.of_classes.items():
            own = labels == before.class_names.index(name)
            assert (share, count) == (
                pytest.approx(float((one == labels)[own].double().mean())),
                int(own.sum()),
            )
    assert done.changed == int((told[0] != told[1]).sum())
    assert after.tested() == (done.after.accuracy, done.after.class_accuracy, 12, "when it was edited")


@pytest.mark.parametrize("head", HEADS)
def test_only_the_head_changes_the_same_way_each_time(head, run, tmp_path):
    changed(run, head=head)
    twin = shutil.copytree(run, tmp_path / "twin")
    changes = Change("disable", (2,)), Change("merge", (4, 5)), Change("relabel", (1,), CLASSES[1])
    before, own = state(run), load(run).network.class_weights()
    for place in (run, twin):
        edit(place, *changes, by="anna")
    after, kept = state(run), [0, 1, 3, 4]
    assert equal(after, state(twin))
    for name, tensor in before.items():
        if not name.startswith("head."):
            assert torch.equal(after[name], tensor[kept] if name == "prototypes" else tensor), name
    mask = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    assert torch.equal(after["head.own_class"], mask)
    weights = load(run).network.class_weights()
    if [*load(run).network.head.parameters()]:
        assert not torch.equal(weights, own[kept]), "it learned"
    else:
        shares = {"proto": [1, 1, 1, 1], "mean": [1, 0.5, 0.5, 1]}[head]
        assert torch.allclose(weights, mask * torch.tensor(shares, dtype=torch.float32)[:, None])
    edit(run, Change("undo"))
    assert equal(state(run), before)


@pytest.mark.parametrize("head", ["linear", "sparse"])
def test_without_learning_weights_go_to_heirs_and_new_classes(head, run):
    before = load(changed(run, head=head, epochs=0)).network.class_weights()
    edit(run, Change("merge", (4, 5)), Change("relabel", (1,), CLASSES[1]))
    weights = load(run).network.class_weights()
    assert torch.equal(weights[4], before[4] + before[5])
    assert torch.equal(weights[1], before[1][[1, 0, 2]])
    assert torch.equal(weights[[0, 2, 3]], before[[0, 2, 3]])


def test_where_all_belong_to_all_none_can_be_given_to_a_class_but_all_else_works(run):
    changed(run, head="linear", own_class=torch.ones(6, 3, dtype=torch.bool))
    with pytest.raises(ConfigError, match="every prototype belongs to every class here"):
        edit(run, Change("relabel", (1,), CLASSES[1]))
    edit(run, Change("disable", (1, 2, 3, 4)), Change("merge", (0, 5)))
    assert load(run).network.num_prototypes == 1
    assert list_prototypes(run)[0].class_name == CLASSES[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("disable 0 1", f"class {CLASSES[0]} would lose the last prototype"),
        ("relabel 0 1", "there is no class '1'"),
        (f"relabel 0 {CLASSES[0]}", "is of 001.Common_Violet_Siskin already"),
        ("relabel 0", "relabel wants P CLASS"),
        ("disable 6", "there is no prototype 6; they are 0 to 5"),
        ("disable", r"disable wants P \[P ...\]"),
        ("disable 1 1", "each prototype once"),
        ("disable wren", "'wren' is no number of a prototype"),
        ("enable 1", "prototype 1 is not out"),
        ("merge 1 2", "should be two prototypes of one class"),
        ("merge 1 1", "each prototype once"),
        ("merge 1", "merge wants P P"),
        ("note 1", "note wants P TEXT"),
        ("undo", "there is no edit to undo"),
        ("undo 1", "undo wants nothing more"),
        ("list 1", "list takes nothing more"),
        ("apply", "wanted `apply FILE` or `apply --suggested`"),
        ("disable 1 --suggested", "wanted `apply FILE` or `apply --suggested`"),
        ("disabel 1", "did you mean disable"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(line, message, run, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*.jsonl")}
    assert main(["prototypes", str(run), *line.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert re.search(message, err), err
    assert {path: path.read_bytes() for path in run.rglob("*.jsonl")} == before


def test_one_that_is_out_or_stands_for_another_cannot_be_changed(run):
    edit(run, Change("merge", (0, 1)))
    with pytest.raises(ConfigError, match="prototype 1 is out already"):
        edit(run, Change("disable", (1,)))
    with pytest.raises(ConfigError, match="prototype 0 stands for one that was merged"):
        edit(run, Change("relabel", (0,), CLASSES[1]))


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _rewritten(old, new):
    def damage(directory):
        text = directory.edits_file.read_text(encoding="utf-8")
        assert old in text
        directory.edits_file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return damage


DAMAGES = {
    "no JSON": (_rewritten('{"changes"', "{changes"), "edits.jsonl is damaged in line 1"),
    "another kind of change": (_rewritten('"note"', '"sing"'), "edits.jsonl is damaged in line 1: do='sing'"),
    "a line was changed": (_rewritten('"a tail"', '"a tale"'), "in line 2: the lines before it were changed"),
    "a line is gone": (
        lambda directory: directory.edits_file.write_text(
            directory.edits_file.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8"
        ),
        "edits.jsonl is damaged in line 1",
    ),
    "another trained network": (
        lambda directory: changed(directory.path, epochs=1),
        "tells of another network",
    ),
    "the edited network": (
        lambda directory: _flip(next(directory.checkpoints.glob("edited*"))),
        "missing or not the network",
    ),
    "no edited network": (
        lambda directory: next(directory.checkpoints.glob("edited*")).unlink(),
        "missing or not the network",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_refused_in_one_line(name, run, capsys):
    edit(run, Change("note", (0,), "a tail"))
    edit(run, Change("disable", (1,)))
    damage, message = DAMAGES[name]
    damage(RunDirectory(run))
    with pytest.raises(CheckpointError, match=message):
        load(run)
    assert main(["predict", str(run), str(run)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_edited_network_that_is_gone_is_made_anew(run):
    edit(run, Change("disable", (1,)))
    edited = load(run)
    edited.checkpoint.unlink()
    edit(run, Change("undo"))
    edit(run, Change("redo"))
    assert equal(load(run).network.state_dict(), edited.network.state_dict())


def test_an_edited_run_is_a_run_like_any_other(run, tiny_run, tmp_path):
    edit(run, Change("disable", (1,)), by="anna", why="a twig")
    loaded, told = load(run), "anna: disable 1 (a twig)"
    assert len(pixpnet.explain(loaded, loaded.test_images[0].image).evidence) == 5
    assert next(pixpnet.predict(loaded, loaded.test_images[0].image)).unfamiliar is not None
    assert verify(loaded, trials=3).passed
    assert evaluate(loaded, metrics=["sparsity"]).checkpoint == loaded.checkpoint.name
    assert told in write_report(run, out=tmp_path / "report.html").read_text(encoding="utf-8").replace(
        "<wbr>", ""
    )
    assert told in model_card(loaded)
    assert description(loaded)["edits"] == [one.plain() for one in loaded.edits]
    alone = load(pixpnet.export(loaded, tmp_path / "model"))
    assert alone.edits == loaded.edits == load(loaded.checkpoint).edits
    assert equal(alone.network.state_dict(), loaded.network.state_dict())
    table = to_markdown(compare(read_runs([run, tiny_run])))
    assert "its prototypes were edited by hand (1 edit)" in table
    assert "measured with" not in table
    assert load(trained(run)).edits == ()


def test_readers_know_prototypes_by_the_numbers_that_edits_take(run, birds, tmp_path):
    """The first is out, so that all that are left have other places."""
    patches = places(load(run).sources)
    edit(run, Change("disable", (0,)))
    loaded, left = load(run), [1, 2, 3, 4, 5]
    assert [(one.prototype, one.number) for one in loaded.sources] == [*enumerate(left)]
    picture = tmp_path / "picture.png"
    Image.fromarray(loaded.source_image(loaded.sources[4])).save(picture)
    explanation = pixpnet.explain(loaded, picture)
    for one in explanation.evidence:
        assert (one.source.image_id, one.source.cell) == patches[one.number]
    given = json.loads(json.dumps(explanation.to_dict()))["evidence"]
    assert [one["number"] for one in given] == [one.number for one in explanation.evidence]

    def numbers(*texts):
        return sorted(int(found) for text in texts for found in re.findall(r"prototype (\d+)", text))

    def drawn(figure):
        return numbers(*(text.get_text() for text in figure.texts))

    figure = explanation.figure()
    assert drawn(figure) == left
    assert numbers(figure.get_label()) == sorted(one.number for one in explanation.evidence[:3])
    assert drawn(explanation.figure(against=0)) == left
    assert drawn(loaded.prototypes(2).figure()) == numbers(repr(loaded.prototypes(2))) == [4, 5]
    assert (
        main(["predict", str(run), str(picture), "--out", str(tmp_path / "found.csv"), "--top-k", "9"]) == 0
    )
    (row,) = csv.DictReader((tmp_path / "found.csv").open(encoding="utf-8"))
    told = [int(row[f"prototype_{place}"]) for place in range(1, 6)]
    assert told == [one.number for one in explanation.evidence]
    page = write_report(run, out=tmp_path / "report.html").read_text(encoding="utf-8")
    assert sorted(map(int, re.findall(r'id="prototype-(\d+)"', page))) == left
    assert {int(found) for found in re.findall(r"[Pp]rototype (\d+)", page)} == {*left}
    field = loaded.receptive_field()
    moved = replace(field, rows=(field.rows + 2).clip(0, field.image_size[0]))
    worst = verify(loaded, trials=12, receptive_field=moved).worst_failure
    (predicted,) = pixpnet.predict(loaded, loaded.image_set.test[worst.image].path, top_k=9)
    assert worst.cell in {one.cell for one in predicted.evidence if one.number == worst.prototype}
    moved = shutil.copytree(birds, tmp_path / "moved")
    changed = min(moved.rglob(Path(loaded.sources[0].path).name))
    changed.write_bytes(changed.read_bytes() + b"0")
    told = [one.number for one in loaded.sources if one.image_id == loaded.sources[0].image_id]
    with pytest.raises(DataError, match=f"has changed since prototype {told[-1]} was projected"):
        _ = load(run, dataset_root=moved).image_set
    assert [one["number"] for one in description(loaded)["prototypes"]] == left
    assert [one.number for one in load(pixpnet.export(loaded, tmp_path / "model")).sources] == left


def test_an_edit_that_is_meant_for_another_list_is_refused(run):
    follows = read_history(RunDirectory(run)).checksum
    edit(run, Change("disable", (1,)), follows=follows)
    listed = RunDirectory(run).edits_file.read_bytes()
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="another edit was kept meanwhile"):
            edit(run, Change("undo"), follows=follows, dry_run=dry_run)
    assert RunDirectory(run).edits_file.read_bytes() == listed
    edit(run, Change("undo"), follows=read_history(RunDirectory(run)).checksum)
    assert read_history(RunDirectory(run)).done == ()


@pytest.mark.parametrize("text", ["two\nlines", "a line\u2028separator", "\ud800"], ids=ascii)
def test_a_text_that_would_damage_the_list_is_refused(run, text):
    for given in ({"by": text}, {"why": text}):
        with pytest.raises(ConfigError, match="a text is one line"):
            edit(run, Change("disable", (1,)), **given)
    with pytest.raises(ConfigError, match="a text is one line"):
        edit(run, Change("note", (1,), text))
    assert not RunDirectory(run).edits_file.exists()


def test_relabelled_prototypes_are_told_by_their_new_class(run):
    edit(run, Change("relabel", (1,), CLASSES[2]))
    assert [one["class"] for one in description(load(run))["prototypes"]].count(CLASSES[2]) == 3
    listed = list_prototypes(run)[1]
    assert (listed.class_name, listed.flags[-1]) == (CLASSES[2], f"was of {CLASSES[0]}")


def planted(run):
    """Prototype 5 is the patch of 4 once more, and 2 is a patch of the background."""
    loaded = load(run)
    image, sources, prototypes = (
        loaded.sources[2],
        [*loaded.sources],
        loaded.network.prototypes.detach().clone(),
    )
    records = [one for one in loaded.image_set.train if one.image_id == image.image_id]
    rows, columns = loaded.receptive_field().grid_size
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    places = [replace(image, cell=cell, box=loaded.receptive_field().box(*cell)) for cell in cells]
    shares = object_shares(loaded.images(records), places)
    sources[2] = places[min(range(len(cells)), key=shares.__getitem__)]
    assert min(shares) < 0.1
    with torch.no_grad():
        z = loaded.network.features(loaded.images(records)[0].image[None])[0]
    row, column = sources[2].cell
    prototypes[2, :, 0, 0] = z[:, row, column]
    sources[5], prototypes[5] = replace(sources[4], prototype=5), prototypes[4]
    return changed(run, prototypes=prototypes, sources=sources)


def test_planted_faults_are_suggested_and_what_costs_nothing_goes(run, capsys):
    planted(run)
    found = suggest(run)
    (duplicate,) = (one for one in found if one.reason in ("the same patch as 4", "the same patch as 5"))
    assert (duplicate.change.do, {*duplicate.change.prototypes}) == ("merge", {4, 5})
    background = [one.change for one in found if one.reason.startswith("background")]
    assert background.count(Change("disable", (2,))) == 1
    assert {(one.split, one.images) for one in found} == {("validation", 6)}
    flags = [" ".join(one.flags) for one in list_prototypes(run)]
    assert "the same patch as 5" in flags[4]
    assert "background" in flags[2]
    free = [one for one in found if one.is_free]
    assert free
    assert main(["prototypes", str(run), "apply", "--suggested"]) == 0
    assert f"prototypes 6 → {6 - len(free)} " in " ".join(capsys.readouterr().out.split())
    (images, labels), after = validation(run), load(run)
    assert right(run, images, labels) >= right(trained(run), images, labels)
    assert after.network.num_prototypes == 6 - len(free)


def validation(run):
    listed = read_manifest(RunDirectory(run).images_file)
    images = load(run).images(one for one in load(run).image_set.train if listed[one.image_id].split == "val")
    return torch.stack([one.image for one in images]), torch.as_tensor(images.labels)


def right(run, images, labels):
    with torch.no_grad():
        return int((load(run).network(images).logits.argmax(dim=1) == labels).sum())


def test_the_cost_is_what_the_validation_images_say_without_it(run, tmp_path):
    """Of the first one that costs something, where those before it are gone, and no head learns."""
    found, (images, labels) = suggest(changed(run, epochs=0)), validation(run)
    (first, number) = next((one, number) for number, one in enumerate(found) if one.cost)
    former, without = (shutil.copytree(run, tmp_path / name) for name in ("former", "without"))
    gone = [one.change for one in found[:number] if one.is_free]
    edit(former, *gone)
    edit(without, *gone, first.change)
    assert first.cost == right(former, images, labels) - right(without, images, labels)


def test_edits_of_another_list_are_applied(run, tmp_path, capsys):
    twin = shutil.copytree(run, tmp_path / "twin")
    edit(run, Change("disable", (1,)), why="a twig")
    edit(run, Change("disable", (2,)))
    edit(run, Change("undo"))
    edit(run, Change("merge", (4, 5)), why="twins")
    listed = RunDirectory(run).edits_file
    assert read_changes(listed) == ((Change("disable", (1,)), Change("merge", (4, 5))), "a twig; twins")
    assert main(["prototypes", str(twin), "apply", str(listed), "--json", "--by", "eve"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["edit"]["by"], told["edit"]["why"]) == ("eve", "a twig; twins")
    assert (told["before"]["prototypes"], told["after"]["prototypes"]) == (6, 4)
    assert equal(state(twin), state(run))
    (tmp_path / "odd.jsonl").write_text('{"changes": [{"do": "disable"}]}\n')
    with pytest.raises(FileError, match="line 1: disable wants"):
        read_changes(tmp_path / "odd.jsonl")


def test_lists_are_for_programs_too(run, tmp_path, capsys):
    assert main(["prototypes", str(run), "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prototype"] for row in rows] == [row["now"] for row in rows] == [*range(6)]
    assert main(["prototypes", str(run), "suggest", "--json"]) == 0
    (tmp_path / "some.jsonl").write_text(capsys.readouterr().out.splitlines()[0])
    assert read_changes(tmp_path / "some.jsonl")[0] == (suggest(run)[0].change,)
    assert main(["prototypes", str(run), "list"]) == 0
    assert CLASSES[0] in capsys.readouterr().out.replace("\n", "")


def test_similarities_are_kept_and_a_damaged_file_of_them_is_made_anew(run):
    first, file = list_prototypes(run), RunDirectory(run).similarities_file
    kept = file.read_bytes()
    file.write_bytes(kept[: len(kept) // 2])
    assert list_prototypes(run) == first
    assert len(file.read_bytes()) == len(kept)


def test_a_run_that_is_not_finished_is_refused(run):
    RunDirectory(run).scores_file.unlink()
    with pytest.raises(CheckpointError, match="is not finished"):
        edit(run, Change("disable", (1,)))
