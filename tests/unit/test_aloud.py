"""What is said aloud of attacked images: for clinicians, and what an accuracy hides."""

import pytest

from engine.attacks.spec import make_spec
from engine.experiments.evaluation import aloud
from engine.experiments.evaluation.aloud import by_budget, collapsed, needed, remarks, sentences
from engine.experiments.evaluation.evaluate import AFTER, BEFORE
from tests.rows import random_rows, rows

TWO = ("Normal", "Pneumonia")


def at(eps: float, after: list[int]) -> "aloud.Rows":
    return rows([1] * 10 + [0] * 4, [1] * 10 + [0] * 4, after, classes=TWO, spec=make_spec("pgd", eps=eps))


def test_the_clinicians_sentence() -> None:
    strong = at(4 / 255, [0] * 9 + [1] + [0, 0, 1, 0])
    weak = at(1 / 255, [0] * 4 + [1] * 6 + [0] * 4)
    found = sentences([weak, strong])
    assert found == [
        "Of 10 images of Pneumonia found before, 9 are now missed (90 %, 95 % interval 60 % to 98 %; 9 called Normal); "
        "at 1/255, which nobody sees, already 4.",
        "Of 4 images of Normal recognised before, 1 is now a false alarm (25 %, 95 % interval 5 % to 70 %; 1 called "
        "Pneumonia); at 1/255, which nobody sees, none."]
    assert sentences([weak])[0].endswith("4 called Normal), by a change that nobody sees.")
    assert sentences([strong])[0].endswith("9 called Normal).")


def test_budgets_are_compared_on_the_same_images_alone() -> None:
    strong = at(4 / 255, [0] * 9 + [1] + [0, 0, 1, 0])
    fewer = rows([1] * 5, [1] * 5, [0] * 5, classes=TWO, spec=make_spec("pgd", eps=1 / 255))
    assert sentences([fewer, strong]) == sentences([strong])


def test_a_refused_image_is_not_missed() -> None:
    one, _ = sentences([at(4 / 255, [-1] * 3 + [0] + [1] * 6 + [0] * 4)])
    assert "1 is now missed" in one


def test_a_class_that_was_never_found_has_no_sentence() -> None:
    assert sentences([rows([0, 1], [0, 0], [0, 0], classes=TWO)]) == [
        "Of 1 image of Normal recognised before, none is now a false alarm (0 %, 95 % interval 0 % to 79 %)."]


@pytest.mark.parametrize(("name", "is_healthy"), [
    ("Normal", True), ("No COVID-19", True), ("CT_NonCOVID", False), ("NonCOVID", True), ("healthy", True),
    ("Nodule", False), ("Pneumonia", False), ("benign", True), ("normal-ish", True),
])
def test_healthy_classes_are_known_by_their_names(name: str, is_healthy: bool) -> None:
    assert aloud.healthy(name) == is_healthy


def test_a_collapsed_model_is_told_with_its_share() -> None:
    found = rows([1] * 5 + [0] * 3, [1] * 5 + [0] * 3, [1] * 8, classes=TWO)
    assert collapsed(found, AFTER) == ("after the attack the model always says Pneumonia: its accuracy of 62.5 % is "
                                       "exactly the share of images that show it, and nothing more")
    assert collapsed(found, BEFORE) == ""
    assert remarks([found])[0].startswith("After the attack the model always says Pneumonia")


def test_a_nearly_collapsed_model_is_told() -> None:
    found = rows([1] * 60 + [0] * 40, [1] * 60 + [0] * 40, [1] * 98 + [0] * 2, classes=TWO)
    assert "says Pneumonia for 98.0 % of the images, of which 60.0 % show it" in collapsed(found, AFTER)


def test_no_collapse_where_all_images_show_that_class_or_are_flipped() -> None:
    assert collapsed(rows([1] * 6, [1] * 6, [1] * 6, classes=TWO), AFTER) == ""
    assert collapsed(rows([0, 1] * 5, [0, 1] * 5, [1, 0] * 5, classes=TWO), AFTER) == ""
    assert collapsed(rows([0, 1], [0, 1], [-1, -1], classes=TWO), AFTER) == ""


def test_a_collapsed_model_that_refuses_some() -> None:
    found = rows([1] * 5 + [0] * 5, [1] * 5 + [0] * 5, [1] * 8 + [-1] * 2, classes=TWO)
    said = collapsed(found, AFTER)
    assert "always says Pneumonia" in said and "exactly" not in said and "50.0 %" in said
    assert any("2 of 10 images got no answer after the attack" in line for line in remarks([found]))


def test_unbalanced_and_rare_classes_are_told() -> None:
    found = remarks([rows([1] * 30 + [0] * 4, [1] * 30 + [0] * 4, [0] * 30 + [1] * 4)])
    assert any(line.startswith("88.2 % of the images show Pneumonia") for line in found)
    assert any("Few images show Normal (4): one image more or less moves a recall by up to 25.0 %" in line
               for line in found)
    assert any("No image here shows COVID-19" in line for line in found)


def test_too_few_images_for_the_difference() -> None:
    before, after = [0] * 20, [0] * 18 + [1] * 2
    found, = (line for line in remarks([rows([0] * 20, before, after)]) if "chance" in line)
    assert found == ("The accuracies before (100.0 %) and after (90.0 %) differ by what chance explains with 20 "
                     "images; some 77 would tell")
    # Ten of twenty is no chance.
    assert not any("chance" in line for line in remarks([rows([0] * 20, before, [1] * 10 + [0] * 10)]))


def test_the_number_needed() -> None:
    # As by Connor's formula written out: discordant 0.1, difference 0.1.
    assert needed(2, 0, 20) == 77
    assert needed(20, 10, 100) > needed(30, 0, 100)


def test_runs_that_cannot_be_told_apart() -> None:
    labels = [0] * 20
    runs = [rows(labels, labels, [0] * right + [1] * (20 - right), spec=make_spec(name, eps=2 / 255))
            for name, right in (("fgsm", 5), ("pgd", 3), ("bim", 20))]
    found = [line for line in remarks(runs) if "chance" in line]
    assert found == ["The accuracies under FGSM at 2/255 (25.0 %) and PGD at 2/255 (15.0 %) differ by what chance "
                     "explains with 20 images; some 77 would tell"]
    # What is known of different images so far is compared on those of both.
    partial = rows(labels[:4], labels[:4], [0] * 4, images=[f"image {i}" for i in range(4)],
                   spec=make_spec("pgd", eps=2 / 255))
    assert not [line for line in remarks([runs[0], partial]) if "The accuracies under" in line]


def test_runs_of_one_attack_at_several_budgets_stay_together() -> None:
    runs = [rows([0], [0], [1], spec=make_spec(name, eps=eps), model=model)
            for model in ("a", "b") for name in ("fgsm", "pgd") for eps in (0.01, 0.02)]
    assert by_budget(runs) == [runs[:2], runs[2:4], runs[4:6], runs[6:]]


@pytest.mark.parametrize("seed", range(5))
def test_something_can_be_said_of_any_rows(seed: int) -> None:
    for refused in (0.0, 0.5, 1.0):
        found = random_rows(seed, 12, 3, refused)
        assert all(isinstance(line, str) for line in (*remarks([found, found]), *sentences([found])))


def test_only_what_differs_tells_runs_apart() -> None:
    labels = [1] * 5 + [0] * 3
    two = [rows(labels, labels, [1] * 8, classes=TWO, model=model) for model in ("a", "b")]
    assert [line.split(":")[0] for line in remarks(two) if "always says" in line] == [
        "FGSM at 2/255 on a", "FGSM at 2/255 on b"]
    blind = [rows(labels, [1] * 8, [0] * 8, classes=TWO, spec=make_spec(name, eps=2 / 255)) for name in ("fgsm", "pgd")]
    found = [line for line in remarks(blind) if "always says" in line]
    assert [line.split(":")[0] for line in found] == ["Before the attack the model always says Pneumonia",
                                                      "FGSM at 2/255", "PGD at 2/255"]
