"""Signs of hidden gradients, and differences between two defenses on the same images."""

import numpy as np
import pytest

from engine.errors import EngineError
from engine.metrics.masking import BLACK, HUGE, NOISE, WHITE, Trial, signs
from engine.metrics.pairs import Paired

N = 20


def trial(title: str, kind: str, count: int, *, steps: int | None = 10, start: int = 0, eps: float = 2 / 255,
          first: int = 0, zero: int = 0) -> Trial:
    fooled = (np.arange(N) >= first) & (np.arange(N) < first + count)
    return Trial(title, kind, steps, start, eps, f"{eps * 255:g}/255", fooled, np.ones(N, bool), eps > HUGE,
                 gradients=N * (steps or 0), zero=zero)


SOUND = (trial("FGSM", WHITE, 5, steps=1), trial("PGD", WHITE, 9), trial("Square", BLACK, 7, steps=None),
         trial("noise", NOISE, 1, steps=None), trial("PGD", WHITE, N, eps=128 / 255))


@pytest.mark.parametrize(("more", "name", "says", "sure"), [
    ((trial("BIM", WHITE, 3), trial("FGSM", WHITE, 11, steps=1)), "one step beats many", "FGSM 11 of 20, PGD 9 of 20",
     False),
    ((trial("HopSkipJump", BLACK, 17, steps=None),), "black box beats white box", "HopSkipJump 17 of 20, PGD 9 of 20",
     True),
    ((trial("noise", NOISE, 3, steps=None, first=17),), "noise wins where gradients fail",
     r"3 images fell to noise and to no attack with gradients \(FGSM 5 of 20, PGD 9 of 20\)", True),
    ((trial("PGD", WHITE, 12, start=1, first=8),), "random restarts change much",
     "PGD fooled 10.5 of 20 from one start on average, 20 from any of 2", True),
    ((trial("DeepFool", WHITE, 2, steps=20, zero=40),), "zero gradients", "40 of 820 gradients were 0", True),
    ((trial("PGD", WHITE, 2, eps=4 / 255),), "more budget fools fewer",
     "PGD fooled 9 of 20 at 2/255 and 2 at 4/255", True),
])
def test_each_check_strikes_with_its_numbers_and_no_other(more: tuple[Trial, ...], name: str, says: str,
                                                          sure: bool) -> None:
    import re

    assert signs(SOUND) == []
    found = signs([*SOUND, *more])
    assert [sign.name for sign in found] == [name] and re.search(says, found[0].sentence) and found[0].sure is sure


def test_a_budget_that_leaves_nothing_of_the_picture_must_always_do() -> None:
    sign, = signs([*SOUND[:-1], trial("PGD", WHITE, 12, eps=128 / 255)])
    assert sign.name == "a huge budget does not reach 0" and "PGD fooled 12 of 20" in sign.sentence


def test_what_falls_within_a_small_budget_falls_within_a_huge_one_whose_steps_are_too_coarse() -> None:
    assert signs([trial("PGD", WHITE, N), trial("PGD", WHITE, 12, eps=128 / 255)]) == []


def test_a_trial_is_of_images_that_count() -> None:
    with pytest.raises(EngineError, match="open to it"):
        Trial("PGD", WHITE, 10, 0, 0.1, "0.1", np.array([True]), np.array([False]))


def paired(both: int, first: int, second: int, neither: int) -> Paired:
    one = np.repeat([True, True, False, False], [both, first, second, neither])
    return Paired.of(one, np.repeat([True, False, True, False], [both, first, second, neither]))


def test_two_defenses_on_the_same_images_are_told_apart_or_not() -> None:
    """McNemar's exact test: 56 against 57 of 75 is no difference, 37 against 55 is; and by hand, 0 of 6 tosses."""
    thesis = paired(50, 6, 7, 12)
    assert thesis.counts == (56, 57) and thesis.sentence == "no difference can be told: 56 against 57 of 75"
    real = paired(30, 7, 25, 13)
    assert real.counts == (37, 55) and real.told and real.sentence.startswith("fewer: 37 against 55 of 75 (chance")
    assert paired(0, 6, 0, 4).chance == 2 / 2**6 and paired(0, 6, 0, 4).told and not paired(0, 5, 0, 5).told
    assert paired(3, 0, 0, 3).chance == 1
    with pytest.raises(EngineError, match="the same images"):
        Paired.of(np.ones(3, bool), np.ones(2, bool))
