"""Synthetic chest radiographs: determinism, balance, and what sets the classes apart (and what must not)."""

import numpy as np
import pytest

from engine.data.phantom import CLASSES, SPLIT_SIZES, render

NORMAL, PNEUMONIA, COVID = range(3)


@pytest.fixture(scope="module")
def sample():
    return [render("train", index) for index in range(90)]


def of(sample, label):
    return [p for p in sample if p.label == label]


def test_form(sample):
    for p in sample:
        assert p.image.shape == p.lesion.shape == p.lungs.shape == (224, 224)
        assert p.image.dtype == np.uint8
        assert p.lesion.dtype == p.lungs.dtype == np.bool_


def test_same_arguments_same_bytes_whatever_else_runs():
    first = render("test", 5)
    np.random.seed(1)
    render("train", 11, seed=3)
    np.random.random(10)
    again = render("test", 5)
    for field in ("image", "lesion", "lungs"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert first.label == again.label


def test_rendering_leaves_the_global_random_state_alone():
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    render("test", 6)
    assert np.array_equal(before, np.random.get_state()[1])


def test_seed_split_and_index_each_change_the_picture():
    base = render("train", 0).image
    for other in (render("train", 0, seed=1), render("test", 0), render("train", 1)):
        assert np.mean(base != other.image) > 0.5


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_classes_are_balanced_and_in_no_fixed_order(split):
    labels = [render(split, index).label for index in range(30)]
    assert np.bincount(labels, minlength=3).tolist() == [10, 10, 10]
    assert labels[:3] * 10 != labels
    assert SPLIT_SIZES[split] % len(CLASSES) == 0


@pytest.mark.parametrize(("split", "index"), [("holdout", 0), ("test", 450), ("test", -1)])
def test_unknown_split_or_index_is_refused(split, index):
    with pytest.raises(ValueError, match="choose"):
        render(split, index)


def test_lesions_lie_on_the_lungs(sample):
    for p in sample:
        if p.label == NORMAL:
            assert not p.lesion.any()
        else:
            assert 0.002 < p.lesion.mean() < 0.25
    overlap = [(p.lesion & p.lungs).sum() / p.lesion.sum() for p in sample if p.label != NORMAL]
    assert min(overlap) > 0.15 and np.mean(overlap) > 0.6


def split_by_side(p):
    """Columns left and right of the middle of the lungs."""
    columns = np.flatnonzero(p.lungs.any(0))
    middle = (columns[0] + columns[-1]) // 2
    return p.lesion[:, :middle].sum(), p.lesion[:, middle:].sum()


def balance(p):
    right, left = split_by_side(p)
    return min(right, left) / max(right, left, 1)


def periphery(p):
    """Mean distance of the lesion from the middle, relative to the half-width of the lungs."""
    columns = np.flatnonzero(p.lungs.any(0))
    middle, half = (columns[0] + columns[-1]) / 2, (columns[-1] - columns[0]) / 2
    return np.abs(np.nonzero(p.lesion)[1] - middle).mean() / half


def test_covid_is_bilateral_peripheral_and_low(sample):
    covid, pneumonia = of(sample, COVID), of(sample, PNEUMONIA)
    assert np.mean([balance(p) > 0.1 for p in covid]) > 0.8
    assert np.mean([balance(p) > 0.1 for p in pneumonia]) < 0.2
    assert np.mean([periphery(p) for p in covid]) > np.mean([periphery(p) for p in pneumonia]) + 0.08
    low = [np.nonzero(p.lesion)[0].mean() > np.nonzero(p.lungs)[0].mean() for p in covid]
    assert np.mean(low) > 0.6


def test_lesions_are_brighter_than_the_lung_around_them(sample):
    def contrast(p):
        rest = p.lungs & ~p.lesion
        return p.image[p.lesion & p.lungs].mean() - p.image[rest].mean()

    assert np.mean([contrast(p) > 0 for p in sample if p.label != NORMAL]) > 0.85


def test_lungs_are_darker_than_what_lies_between_them(sample):
    for p in sample:
        rows, columns = np.nonzero(p.lungs)
        middle = int((columns.min() + columns.max()) / 2)
        band = p.image[int(np.percentile(rows, 30)) : int(np.percentile(rows, 70)), middle - 8 : middle + 8]
        assert np.median(p.image[p.lungs]) < np.median(band) - 15


def test_nothing_outside_the_lungs_tells_the_class(sample):
    """The mean, spread and fine noise of the surroundings are alike in every class."""

    def surroundings(p):
        outside = ~(p.lungs | p.lesion)
        outside[:, 40:184] = False
        values = p.image.astype(float)
        noise = np.abs(np.diff(values, axis=1))[:20].mean()
        return values[outside].mean(), values[outside].std(), noise

    features = np.array([surroundings(p) for p in sample])
    labels = np.array([p.label for p in sample])
    spread = features.std(0) / np.sqrt(len(sample) / 3)
    for label in range(3):
        assert np.all(np.abs(features[labels == label].mean(0) - features.mean(0)) < 3 * spread)
