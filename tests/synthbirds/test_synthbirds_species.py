"""The species of SynthBirds: distinct, in genera, and honest about what tells them apart."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from pixpnet.errors import ConfigError
from pixpnet.synthbirds import (
    COLOURS,
    FORMS,
    MAX_CLASSES,
    PART_IDS,
    PARTS,
    Variant,
    catalogue,
    colour_distance,
    differing_organs,
    render_picture,
)

GENUS_SIZES = (4, 3, 3)
LARGE = {"beak", "belly", "breast", "crown", "eye", "nape", "tail", "throat", "wing"}
ALL = catalogue(MAX_CLASSES)
PAIRS = list(combinations(ALL, 2))


def test_names_are_unique_and_stay():
    names = [bird.name for bird in ALL]
    assert len(set(names)) == MAX_CLASSES
    assert all(name.replace("_", "").isalpha() for name in names)
    assert names[:4] == [
        "Common_Violet_Siskin",
        "Sooty_bellied_Violet_Siskin",
        "Snowy_throated_Violet_Siskin",
        "Lemon_bellied_Violet_Siskin",
    ]


@pytest.mark.parametrize("classes", [1, 2, 10, 37])
def test_a_longer_catalogue_starts_with_the_shorter(classes: int):
    assert catalogue(classes) == ALL[:classes]


@pytest.mark.parametrize("classes", [0, -3, MAX_CLASSES + 1])
def test_impossible_numbers_of_species(classes: int):
    with pytest.raises(ConfigError, match=f"1 to {MAX_CLASSES} classes, not {classes}"):
        catalogue(classes)


def stands_out(one: Variant, other: Variant) -> bool:
    return one.form != other.form or colour_distance(one.colour, other.colour) >= 45


def test_species_of_a_genus_differ_in_one_or_two_parts_that_are_easy_to_see():
    siblings = [(one, other) for one, other in PAIRS if one.genus == other.genus]
    assert {len(differing_organs(*pair)) for pair in siblings} == {1, 2}
    for one, other in siblings:
        for organ in differing_organs(one, other):
            assert organ in LARGE
            assert stands_out(one.variants[organ], other.variants[organ])


def test_species_of_other_genera_differ_in_many_parts():
    strangers = [differing_organs(*pair) for pair in PAIRS if pair[0].genus != pair[1].genus]
    assert min(map(len, strangers)) >= 4


def test_genera_have_three_or_four_species():
    sizes = [sum(bird.genus == genus for bird in ALL) for genus in dict.fromkeys(b.genus for b in ALL)]
    assert sizes[:6] == [*GENUS_SIZES, *GENUS_SIZES]


def test_every_colour_is_far_from_every_other():
    assert min(colour_distance(*pair) for pair in combinations(COLOURS, 2)) >= 25


def test_colour_distance_is_cie76():
    assert colour_distance("snow", "snow") == 0
    assert colour_distance("charcoal", "snow") == pytest.approx(77.5, abs=1.0)


def test_every_form_occurs_and_has_an_accent_exactly_where_it_has_marks():
    assert set(PART_IDS) == set(FORMS)
    for organ, forms in FORMS.items():
        assert {bird.variants[organ].form for bird in ALL} == set(forms)
        assert all(
            (bird.variants[organ].accent is not None) == forms[bird.variants[organ].form] for bird in ALL
        )


def test_parts_are_those_of_cub():
    assert " ".join(PARTS) == (
        "back beak belly breast crown forehead left eye left leg left wing nape right eye right leg "
        "right wing tail throat"
    )
    assert PART_IDS["wing"] == (9, 13)
    assert PART_IDS["back"] == (1,)
    assert sorted(part for ids in PART_IDS.values() for part in ids) == list(range(1, 16))


def test_plumage_that_is_no_part_does_not_tell_siblings_apart():
    """Drawn in the same scene, the cheek is the same but for its outline."""
    numbers = [pair for pair in combinations(range(MAX_CLASSES), 2) if len({ALL[n].genus for n in pair}) == 1]
    seen = 0
    for pair in numbers[::40]:
        made = [render_picture(MAX_CLASSES, n, size=64, rng=np.random.default_rng(5)) for n in pair]
        cheek = np.all([one.segmentation & (one.part_mask == 0) for one in made], axis=0)
        differs = (made[0].image != made[1].image).any(axis=2)
        assert differs.any()
        if cheek.any():
            seen += 1
            assert differs[cheek].mean() < 0.5
    assert seen > 3
