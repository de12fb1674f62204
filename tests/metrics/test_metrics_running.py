"""Running sums over batches and processes, and the noise of stability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixpnet.metrics import (
    Consistency,
    Deletion,
    PrototypeMean,
    RelevanceOrdering,
    Stability,
    add_noise,
)

P, Q, POINTS, IMAGES = 3, 4, 5, 8
SHARES = np.linspace(0, 1, POINTS)


def samples(seed):
    """Per image: parts before and after, visible parts, own prototypes, a curve, a prototype and a value."""
    generator = torch.Generator().manual_seed(seed)
    visible = torch.rand(IMAGES, Q, generator=generator) < 0.7
    visible[0, 0] = True
    own = torch.rand(IMAGES, P, generator=generator) < 0.6
    own[0] = True
    before, after = (torch.rand(2, IMAGES, P, Q, generator=generator) < 0.6) & visible[:, None]
    # Whole numbers add up exactly in any order.
    curves = torch.randint(0, 9, (IMAGES, POINTS), generator=generator).double()
    curves[:, -1] = 10
    prototypes = torch.randint(P, (IMAGES,), generator=generator)
    defined = torch.rand(IMAGES, generator=generator) < 0.7
    defined[0] = True
    values = curves[:, 0].float().masked_fill(~defined, torch.nan)
    return {
        "consistency": (before, visible, own),
        "stability": (before, after, visible, own),
        "ordering": (curves, prototypes),
        "deletion": (curves.flip(1), prototypes),
        "mean": (values, defined, prototypes),
    }


MAKE = {
    "consistency": lambda: Consistency(P, Q, resamples=20),
    "stability": lambda: Stability(P, skip_hidden=True, resamples=20),
    "ordering": lambda: RelevanceOrdering(P, SHARES, resamples=20),
    "deletion": lambda: Deletion(P, SHARES, resamples=20),
    "mean": lambda: PrototypeMean(P, resamples=20),
}


def numbers(result):
    """All numbers of a result, flat."""
    if isinstance(result, tuple):
        return [number for part in result for number in numbers(part)]
    return np.ravel(result).tolist()


def after_batches(name, batches):
    metric = MAKE[name]()
    for batch in batches:
        metric.update(*batch)
    return metric


@pytest.mark.parametrize("name", MAKE)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1 << 30), batch_size=st.integers(1, IMAGES), data=st.data())
def test_order_batches_and_processes_change_nothing(name, seed, batch_size, data):
    arguments = samples(seed)[name]
    want = numbers(after_batches(name, [arguments]).compute())
    assert all(math.isfinite(number) for number in want)
    order = torch.tensor(data.draw(st.permutations(range(IMAGES))))
    batches = list(zip(*(part[order].split(batch_size) for part in arguments), strict=True))
    assert numbers(after_batches(name, batches).compute()) == pytest.approx(want)
    first, second = after_batches(name, batches[::2]), after_batches(name, batches[1::2])
    one, other = data.draw(st.permutations([first, second]))
    one.merge_state(other)
    assert numbers(one.compute()) == pytest.approx(want)


@pytest.mark.parametrize("name", ["consistency", "stability"])
def test_batches_of_some_prototypes_add_up_to_those_of_all(name):
    *parts, visible, own = samples(3)[name]
    metric = MAKE[name]()
    for prototype in (2, 0, 1):
        images, one = own[:, prototype], [prototype]
        batch = (*(part[images][:, one] for part in parts), visible[images], own[images][:, one])
        metric.update(*batch, prototypes=torch.tensor(one))
    assert numbers(metric.compute()) == numbers(after_batches(name, [samples(3)[name]]).compute())


@pytest.mark.parametrize("name", MAKE)
def test_states_are_summed_over_processes(name):
    metric = after_batches(name, [samples(1)[name]])
    want = numbers(metric.compute())
    states = {key: getattr(metric, key).clone() for key in metric._defaults}
    metric.sync(dist_sync_fn=lambda state, group: [state, state, state], distributed_available=lambda: True)
    for key, state in states.items():
        assert getattr(metric, key).equal(3 * state)
    metric.unsync()
    assert numbers(metric.compute()) == want


@pytest.mark.parametrize("name", MAKE)
def test_reset(name):
    metric = after_batches(name, [samples(1)[name]])
    metric.reset()
    metric.update(*samples(2)[name])
    assert numbers(metric.compute()) == numbers(after_batches(name, [samples(2)[name]]).compute())


def test_settings_reach_the_functions():
    before, visible, own = samples(1)["consistency"]
    strict = Consistency(P, Q, threshold=0.0, resamples=20)
    strict.update(before, visible, own)
    assert strict.compute().hard.value == 100
    hidden = torch.zeros(1, Q, dtype=torch.bool), torch.ones(1, P, dtype=torch.bool)
    nothing = torch.zeros(1, P, Q, dtype=torch.bool)
    seen = torch.ones(1, P, Q, dtype=torch.bool)
    values = []
    for skip in (True, False):
        metric = Stability(P, skip_hidden=skip, resamples=20)
        metric.update(seen, nothing, seen[:, 0], hidden[1])
        metric.update(nothing, nothing, *hidden)
        values.append(metric.compute().hard.value)
    assert values == [0, 50]


def test_noise():
    images = torch.randn(4, 3, 30, 30, generator=torch.Generator().manual_seed(0))

    def noise(seed=0, clip=None, batch_size=4):
        generator = torch.Generator().manual_seed(seed)
        batches = images.split(batch_size)
        return (
            torch.cat([add_noise(batch, generator=generator, sigma=0.2, clip=clip) for batch in batches])
            - images
        )

    free = noise()
    assert float(free.std()) == pytest.approx(0.2, rel=0.03)
    assert float(free.mean()) == pytest.approx(0, abs=0.01)
    assert float(free.abs().max()) > 0.5
    assert torch.allclose(noise(clip=0.25), free.clamp(-0.25, 0.25), atol=1e-6)
    assert noise(batch_size=1).equal(free)
    assert not noise(seed=1).equal(free)
