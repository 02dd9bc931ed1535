"""Who fools whom, counted by hand on a few rows."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binomtest

from engine.attacks.rows import Provenance, Rows, Tally
from engine.attacks.spec import AttackSpec, make_spec
from engine.experiments.transfers.transfer import Transfer
from engine.experiments.transfers.transferred import Relation, matrices
from engine.metrics.rates import Share

PGD = make_spec("pgd", eps=2 / 255)
RIGHT, WRONG = (2.0, 0.0), (0.0, 2.0)  # logits; every image is of class 0


def rows(clean: str, adversarial: str, names: str | None = None, spec: AttackSpec = PGD) -> Rows:
    """A letter an image: r(ight), w(rong), or - where the model refused."""
    def logits(text: str) -> np.ndarray:
        return np.array([{"r": RIGHT, "w": WRONG, "-": (np.nan, np.nan)}[letter] for letter in text], np.float32)

    def refused(text: str) -> np.ndarray:
        return np.array([letter == "-" for letter in text])

    total = len(clean)
    digests = tuple(names or "abcdefgh"[:total])
    zeros = np.zeros(total)
    return Rows(spec=spec, provenance=Provenance("m", "", "cpu", {}, (total,)), classes=("no", "yes"),
                identities=digests, digests=digests, labels=np.zeros(total, np.int64),
                logits_clean=logits(clean), logits_adversarial=logits(adversarial), logits_8bit=logits(adversarial),
                refused_clean=refused(clean), refused_adversarial=refused(adversarial),
                refused_8bit=refused(adversarial), linf=zeros, l2=zeros, l0=zeros, queries=zeros, gradients=zeros,
                refusals=zeros, tally=Tally(), seconds=0.0)


def asked(sources: Sequence[str], targets: Sequence[str], attacks: Sequence[AttackSpec] = (PGD,)) -> Transfer:
    return Transfer("phantom-cxr", "test", tuple(range(4)), tuple(sources), tuple(targets), tuple(attacks))


# Made on a: a falls for all four; b was wrong about the first before, and falls for two of the other three.
A_A, A_B = rows("rrrr", "wwww"), rows("wrrr", "wwwr")
# Made on b: a, which was always right, falls for one; b for all three that it had right.
B_A, B_B = rows("rrrr", "rrrw"), rows("wrrr", "wwww")


def test_success_is_counted_over_what_the_target_had_right() -> None:
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, B_A, B_B])
    assert [[cell.fooled for cell in row] for row in matrix.cells] == [[Share(4, 4), Share(2, 3)],
                                                                       [Share(1, 4), Share(3, 3)]]


def test_and_over_what_both_had_right() -> None:
    """b had the first image wrong: made on b and shown to a, it does not count."""
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, rows("rrrr", "wrrw"), B_B])
    assert matrix.cells[1][0].fooled == Share(2, 4)
    assert matrix.cells[1][0].both == Share(1, 3)
    assert matrix.cells[0][1].both == Share(2, 3)
    assert matrix.cells[0][0].both == matrix.cells[0][0].fooled


def test_what_a_source_said_is_unknown_where_it_is_no_target() -> None:
    matrix, = matrices(asked("a", "b"), [A_B])
    assert matrix.cells[0][0].both is None


def test_both_means_every_model_of_an_ensemble() -> None:
    matrix, = matrices(asked(["a,b"], "abc"), [rows("rrwr", "wwww"), rows("wrrr", "wwww"), rows("rrrr", "wwwr")])
    assert [cell.relation for cell in matrix.pairs] == [Relation.MEMBER, Relation.MEMBER, Relation.OTHER]
    assert matrix.cells[0][2].fooled == Share(3, 4) and matrix.cells[0][2].both == Share(1, 2)
    assert matrix.elsewhere.pairs == 1 and matrix.elsewhere.rate == pytest.approx(3 / 4)


def test_intervals_are_wilsons() -> None:
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, B_A, B_B])
    wanted = binomtest(2, 3).proportion_ci(method="wilson")
    assert matrix.cells[0][1].fooled.interval == pytest.approx((wanted.low, wanted.high))
    facts = matrix.summary()
    assert facts["success"] == [[1.0, 2 / 3], [0.25, 1.0]]
    assert facts["counted"] == [[4, 3], [4, 3]] and facts["low"][0][1] == pytest.approx(wanted.low)
    assert facts["white_box"] == [[True, False], [False, True]]


def test_the_mean_is_off_the_diagonal_and_inside_its_interval() -> None:
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, B_A, B_B])
    assert matrix.elsewhere.pairs == 2 and matrix.elsewhere.rate == pytest.approx((2 / 3 + 1 / 4) / 2)
    assert 0 <= matrix.elsewhere.low < matrix.elsewhere.rate < matrix.elsewhere.high <= 1


def test_the_interval_of_the_mean_is_that_of_other_images() -> None:
    """One pair alone: its bootstrap interval is about the binomial one. Two pairs that say the same of the same images
    tell no more than one."""
    some = rows("r" * 8, "wwwwrrrr")
    one = matrices(asked("a", "b"), [some])[0].elsewhere
    two = matrices(asked("a", "bc"), [some, some])[0].elsewhere
    assert one.low == pytest.approx(binomtest(4, 8).proportion_ci(method="wilson").low, abs=0.1)
    assert (one.rate, one.low, one.high) == pytest.approx((two.rate, two.low, two.high))


def test_who_fools_all_is_counted_where_all_were_right() -> None:
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, B_A, B_B])
    first, second = matrix.everyone
    assert (first.rows, first.of) == ((1, 2), 3)
    assert (second.rows, second.of) == ((3,), 3)


def test_a_refused_image_fools_nobody() -> None:
    matrix, = matrices(asked("a", "b"), [rows("r-rr", "wwr-")])
    assert matrix.cells[0][0].fooled == Share(1, 3)


def test_a_goal_that_is_the_class_already_does_not_count() -> None:
    aimed = make_spec("pgd", eps=2 / 255, target=1)
    matrix, = matrices(asked("a", "b", [aimed]), [rows("rrw", "wrw", spec=aimed)])
    assert matrix.cells[0][0].fooled == Share(1, 2)


def test_what_is_not_known_yet_is_left_out() -> None:
    matrix, = matrices(asked("ab", "ab"), [A_A, A_B, None, None])
    assert matrix.cells[1][0].fooled == Share(0, 0) and matrix.cells[1][0].fooled.rate is None
    assert matrix.elsewhere.pairs == 1 and matrix.everyone[1].of == 0
    empty, = matrices(asked("ab", "ab"), [None] * 4)
    assert empty.elsewhere.rate is None and empty.elsewhere.pairs == 0
    assert empty.summary()["success"] == [[None, None], [None, None]]


def test_sources_that_have_come_to_different_images_are_still_one_sample() -> None:
    matrix, = matrices(asked("ab", "c"), [rows("rrrr", "wwrr", "abcd"), rows("rr", "wr", "ca")])
    assert matrix.elsewhere.rate == pytest.approx(0.5)


def test_an_image_that_is_there_twice_counts_twice() -> None:
    matrix, = matrices(asked("a", "b"), [rows("rrr", "wwr", "aab")])
    assert matrix.elsewhere.rate == pytest.approx(2 / 3)


def test_every_attack_has_its_matrix() -> None:
    fgsm = make_spec("fgsm", eps=2 / 255)
    first, second = matrices(asked("a", "ab", [PGD, fgsm]), [A_A, A_B, rows("rrrr", "rrrw"), None])
    assert (first.attack.attack, second.attack.attack) == ("pgd", "fgsm")
    assert second.cells[0][0].fooled == Share(1, 4) and second.cells[0][1].fooled.of == 0
