"""What defenses cost and are worth: read from rows made by hand, and worked from end to end on a tiny network."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from engine.attacks.spec import AttackSpec, make_spec
from engine.cli import main
from engine.data import phantom
from engine.experiments import further
from engine.experiments.defending import tables, watched, watching, words
from engine.experiments.defending.again import Again
from engine.experiments.defending.apart import BESIDE, across
from engine.experiments.defending.facing import Face
from engine.experiments.defending.judged import Judged, judged
from engine.experiments.defending.judging import (
    VAST,
    Checked,
    Defended,
    defended_of,
    payload_of,
    with_checks,
    without_checks,
)
from engine.experiments.defending.plots import roc, trade_off
from engine.experiments.defending.watching import Crowd, Scores
from engine.training.defenses import TRAINING_DEFENSES
from engine.zoo.registry import TRAINED_HOW
from tests import nets
from tests.defended import registered
from tests.rows import rows
from tests.tiny import attack, grey
from tests.walked import made_up

DETECTOR = "mahalanobis(alarms=0.1)"
NOISE, SHIFT = "noise(sigma=0.02, every=0)", "shift(by=0.05, bias=0.0)"
EPS, N = 2 / 255, 20
PLAIN = make_spec("pgd", eps=EPS)


@pytest.fixture(autouse=True)
def known_defenses() -> Iterator[None]:
    with registered():
        yield


def spec(attack: str = "pgd", eps: float | None = EPS, **options: object) -> AttackSpec:
    return make_spec(attack, eps=eps, norm="linf", **options)  # type: ignore[arg-type]


def run(held: int, right: int = N, refused: int = 0, **options: object) -> Checked:
    """Of N images of the first class `right` are read correctly, the last of the others `refused`; the attack leaves
    the first `held`."""
    clean = [0] * right + [1] * (N - right - refused) + [-1] * refused
    after = [0] * held + [1] * (right - held) + clean[right:]
    return Checked.of_rows(rows([0] * N, clean, after, spec=spec(**options)))  # type: ignore[arg-type]


def face(defenses: str = "", ratio: float = 1.0) -> Face:
    return Face("some/model", defenses, 0.01, 0.01 * ratio, (), (), np.zeros((0, 0), np.int64))


def told(*runs: Checked, faces: tuple[Face, ...] = ()) -> Judged:
    return judged(Defended(runs, faces))


KNOWN = {"defenses": NOISE, "attacker": "adaptive", "draws": 5}


def test_the_minimum_over_attacks_is_taken_image_by_image() -> None:
    """Each attack leaves 12 of 20; no image outlives both. Who knows of a defense may also do what others do."""
    first, second = run(12), run(12)
    second = replace(second, logits_adversarial=second.logits_adversarial[::-1].copy(),
                     logits_8bit=second.logits_8bit[::-1].copy(), spec=spec("mifgsm"))
    one, = told(first, second).standings
    assert one.adaptive is one.oblivious and one.worth is not None
    assert (one.worth.robust.counted, one.worth.robust.of) == (4, 20), "an average is no minimum"
    _, one = told(run(20), run(12, defenses=NOISE), run(15, **KNOWN)).standings
    assert one.oblivious is not None and one.adaptive is not None
    assert (one.oblivious.robust.counted, one.adaptive.robust.counted) == (12, 12)


def test_what_has_no_budget_counts_only_within_it_and_by_the_queries_it_took() -> None:
    """Linf 2/255 is reached by the first walk after 40 queries, by the second never; the third was wrong before."""
    hsj = make_spec("hopskipjump", norm="linf", params={"queries": 100})
    walks = made_up([(10, 9.0, 0.5), (40, 1.0, 0.007)], [(20, 5.0, 0.2)], [(5, 1.0, 0.001)], wrong=(2,), spec=hsj)
    checked = Checked.of_walks(replace(walks, linf=np.array([0.007, 0.2, 0.001], np.float32)))
    bounded = Checked.of_rows(replace(rows([0] * 3, [0, 0, 1], [0, 0, 1], classes=("no", "yes"), model="a model",
                                           spec=spec(), images=("0", "1", "2"))))
    one, = told(bounded, checked).standings
    assert one.worth is not None and one.worth.held.tolist() == [False, True, False]
    assert (one.worth.queries, one.worth.distance) == (None, pytest.approx((0.007 + 0.2) / 2)), "one of two is no half"
    assert one.worth.worst == "HopSkipJump"
    sizes = np.array([[0.5, 0.2, 0.1]])
    twice = Again(10, (100,), np.array([[10, 9, 0]]), sizes > 0, sizes, sizes)
    one, = told(bounded, replace(checked, verified=twice)).standings
    assert one.worth is not None and one.worth.distance == pytest.approx(0.35), "what was asked again counts"


def test_a_refused_picture_is_a_false_alarm_if_clean_and_no_success_if_attacked() -> None:
    stopped = run(4, right=16, refused=3, defenses=SHIFT)
    never = stopped.refused_adversarial.copy()
    never[4:16] = True
    stopped = replace(stopped, refused_adversarial=never)
    one = told(run(0), stopped).standings[1]
    assert (one.clean.counted, one.alarms.counted) == (16, 3)
    assert one.oblivious is not None and one.oblivious.robust.counted == 16, "who gets no answer is not fooled"
    assert one.adaptive is None, "nobody who knows of it tried"


def test_one_model_alone_is_compared_with_nothing() -> None:
    assert "nothing to compare it with" in words.verdict(told(run(5)), EPS)[0]


def verdict(*runs: Checked, ratio: float = 1.5, bare: int = 2) -> tuple[str, str]:
    defenses = runs[-1].spec.defenses
    first, second = words.verdict(told(run(bare), *runs, faces=(face(), face(defenses, ratio))), EPS)
    return first, second


def test_the_verdict_says_whom_a_defense_stops_and_what_it_costs() -> None:
    first, line = verdict(run(15, right=19, defenses=NOISE), run(2, right=19, **KNOWN))
    assert first == ("None of these defenses is seen to be worth its price: once the attacker knows of it, none keeps "
                     "more of 20 pictures right within 2/255 than no defense.")
    assert line == ("Noise: it stops an attacker who does not know of it (15 of 20 stay right instead of 2); against "
                    "one who knows of it 2 of 20 stay right instead of 2. Its price: 19 of 20 untouched pictures right "
                    "instead of 20, which may be chance with so few; an answer takes 1.5 times as long.")
    first, line = verdict(run(15, defenses=NOISE), run(14, **KNOWN), ratio=1.0)
    assert first == ("Noise is worth most: against an attacker who knows of it within 2/255, 14 of 20 pictures stay "
                     "right instead of 2. Its price: none in accuracy (20 of 20 untouched pictures right, as many as "
                     "without it); an answer takes no longer.")
    assert "it holds even against an attacker who knows of it (14 of 20 stay right instead of 2). Its price" in line
    _, line = verdict(run(2, defenses=NOISE), run(2, **KNOWN))
    assert "it is not seen to stop anybody (2 of 20 stay right instead of 2)" in line
    _, line = verdict(run(0, right=0, refused=N, defenses=SHIFT))
    assert line.endswith("refuses every picture, sick or healthy: nobody is served.")
    _, line = verdict(run(4, right=10, defenses=NOISE), run(4, right=10, **KNOWN))
    assert "Its price: 50.0 points of accuracy (10 of 20 untouched pictures right instead of 20)" in line


def test_a_gain_that_chance_would_explain_is_neither_worth_nor_worthless() -> None:
    """Five pictures more than two: too few to be told from coins that fell so."""
    first, line = verdict(run(15, defenses=NOISE), run(7, **KNOWN))
    assert "against one who knows of it 7 of 20 stay right instead of 2 (too few pictures to tell)." in line
    assert first.endswith("none keeps so many more of 20 pictures right within 2/255 than no defense that it could not "
                          "be chance.")
    _, line = verdict(run(5, defenses=NOISE), run(0, **KNOWN), bare=0)
    assert ("Noise: against an attacker who does not know of it 5 of 20 stay right instead of 0 (too few pictures to "
            "tell); against one who knows of it 0 of 20 stay right instead of 0.") in line


def test_what_helps_against_small_changes_alone_is_said_in_one_sentence_whatever_budget_is_looked_at() -> None:
    def small(held: int, **options: object) -> Checked:
        return replace(run(held, eps=EPS / 2, **options), linf=np.full(N, EPS / 2, np.float32))

    found = told(small(4), run(2), small(15, defenses=NOISE), run(3, defenses=NOISE), small(14, **KNOWN),
                 run(2, **KNOWN))
    said = words.headline(found, EPS)
    assert said.startswith("Noise helps against an attacker who knows of it within 1/255 (14 of 20 pictures stay right "
                           "instead of 4), but is not seen to within 2/255 (2 instead of 2). Its price: none")
    assert words.headline(found, EPS / 2) == said


def test_of_a_detector_what_is_read_refused_and_read_wrongly_is_told_apart() -> None:
    """Of 20 pictures 16 were read correctly: 4 of these still are, 9 are refused, 3 fool it; 4 were wrong before."""
    caught = run(4, right=16, defenses=SHIFT)
    silent = caught.refused_adversarial.copy()
    silent[4:13] = True
    caught = replace(caught, refused_adversarial=silent)
    found = told(run(0), caught)
    one = found.standings[1].oblivious
    assert one is not None and (one.read, one.silent.counted, one.robust.counted) == (4, 9, 13)
    assert ("of 20 attacked pictures 4 are read right, 9 refused and 7 read wrongly; without it 0 are read right"
            in words.verdict(found, EPS)[1])
    table = words.readable(found.standings)
    assert table["refused, attacked"].tolist() == ["0 %", "45 %"]
    assert table["holds, attacker unaware"].str.split().str[0].tolist() == ["0", "65"]
    turned = run(4, right=16, refused=3, defenses=SHIFT)
    assert "it turns away 3 of 20 untouched ones" in words.verdict(told(run(0), turned), EPS)[1]


def test_an_accuracy_that_chance_has_as_well_is_said_to_protect_nothing_beside_the_claim_and_below() -> None:
    half = Checked.of_rows(rows([0, 1] * 10, [0] * 20, [0] * 20, spec=spec(defenses=NOISE)))
    knows = Checked.of_rows(rows([0, 1] * 10, [0] * 20, [0] * 20, spec=spec(**KNOWN)))
    good = Checked.of_rows(rows([0, 1] * 10, [0, 1] * 10, [1, 0] * 10, spec=spec()))
    found = told(good, half, knows)
    guessing, watching = words.doubts(found, EPS)
    assert watching.startswith("Noise watches who asks what, and none of these attackers asks")
    assert guessing == ("Noise: right on 10 of 20 untouched pictures, and always answering the most frequent class "
                        "would be right on 10: nothing is left to protect")
    line, = words.lines(found, EPS)
    doubt = "but always answering the most frequent class would do as well: 10 of 20"
    assert line.doubted and f"(10 of 20 stay right instead of 0), {doubt}." in line.said
    assert words.headline(found, EPS).startswith("Noise seems to be worth most") and doubt in words.headline(found, EPS)


def test_where_a_check_doubts_what_a_defense_keeps_the_claim_says_so() -> None:
    one_step = replace(run(10, **KNOWN), spec=spec("fgsm", **KNOWN))
    line, = words.lines(told(run(2), run(15, defenses=NOISE), run(15, **KNOWN), one_step), EPS)
    assert "but that may only look so (one step beats many; see what the checks found)" in line.said and line.doubted


def test_models_are_named_in_words_and_how_they_were_trained() -> None:
    plain_, trained = "kermany/mobilenet_v3_small", "kermany/mobilenet_v3_small-at"
    of = {name: replace(run(5).provenance, model=name) for name in (plain_, trained)}
    runs = [replace(one, provenance=of[name]) for name in of for one in (run(5), run(9, defenses=NOISE))]
    found = told(*runs)
    called = "MobileNetV3 small trained on attacked pictures (AT)"
    assert words.names_of(found.standings) == ["MobileNetV3 small, no defense", "Noise on MobileNetV3 small",
                                               f"{called}, no filter", f"Noise on {called}"]
    assert words.heading(found, EPS, "Chest X-rays") == (f"Chest X-rays, MobileNetV3 small and {called}, 20 pictures, "
                                                         "within 2/255")
    assert set(TRAINED_HOW) == set(TRAINING_DEFENSES), "a defense at training time is not said in words"


def test_hidden_gradients_are_looked_for_in_attacks_of_who_knows_of_the_defense() -> None:
    one_step = spec("fgsm", **KNOWN)
    found = told(run(9), run(1, defenses=NOISE), run(15, **KNOWN),
                 replace(run(10, **KNOWN), spec=one_step), replace(run(6, **KNOWN), spec=spec(eps=VAST, **KNOWN)))
    named = {(sign["defense"], sign["check"]) for sign in tables.masking(found)}
    other = replace(run(9), provenance=replace(run(9).provenance, model="another/model"))
    assert {name for name, _ in words.warnings(told(*found.defended.known, other), EPS)} == {
        f"Noise on {found.standings[0].model}"}, "of several models the sign's is named"
    assert named == {(NOISE, "one step beats many"), (NOISE, "a huge budget does not reach 0")}
    assert found.budgets == [EPS], "what leaves nothing of a picture is a check, and no budget"


def test_points_that_would_hide_each_other_stand_side_by_side() -> None:
    """The first two are right as often, with and without an attack; the third is not."""
    found = told(run(5), run(5, defenses=SHIFT), run(9, defenses=NOISE))
    assert across(found.standings) == [1.0, 1.0 - BESIDE, 1.0]


def again(*fooled: list[int], sizes: list[float], times: int = 10) -> Again:
    """Of one image."""
    far = np.array(sizes)[:, None]
    votes = np.array(fooled)
    return Again(times, tuple(range(10, 10 * len(sizes) + 1, 10)), votes, votes > 0, far, far)


def test_a_distance_that_holds_never_rises_with_the_number_of_queries() -> None:
    """The second image was luck (4 of 10), the last one lies further out than the third."""
    one = again([9], [4], [6], [10], sizes=[4.0, 1.0, 3.0, 3.5])
    assert one.distances("l2")[:, 0].tolist() == [4.0, 4.0, 3.0, 3.0]
    assert one.distances("l2", bare=True)[:, 0].tolist() == [4.0, 1.0, 1.0, 1.0]
    random = np.random.default_rng(0)
    many = Again(10, tuple(range(1, 9)), random.integers(0, 11, (8, 50)), random.random((8, 50)) < 0.5,
                 *random.random((2, 8, 50)))
    with np.errstate(invalid="ignore"):
        steps = [np.diff(many.distances(norm, bare), axis=0) for norm in ("l2", "linf") for bare in (False, True)]
    assert all(not (step > 0).any() for step in steps)
    assert Again.joined([many, many]).distances("l2").shape == (8, 100)


def test_what_is_kept_comes_back_and_is_drawn() -> None:
    walk = Checked.of_walks(replace(
        made_up([(10, 1.0, 0.1)], spec=make_spec("hopskipjump", norm="linf", defenses=NOISE)),
        verified=again([7], sizes=[1.0])))
    found = Defended((run(5), run(9, defenses=NOISE), run(7, **KNOWN)), (face(), face(NOISE, 2.0)))
    back = defended_of(payload_of(found))
    assert tables.summaries(judged(back)) == tables.summaries(judged(found)) and back.faces[1].ratio == 2.0
    assert len(trade_off(judged(back).standings).axes) == 1 and not back.crowds
    kept = defended_of(payload_of(Defended((walk,), ()))).known[0]
    assert kept.verified is not None and kept.verified.fooled.tolist() == [[7]] and kept.verified.queries == (10,)


def test_checks_are_added_to_who_has_the_model_and_knows_of_the_defense_and_taken_off_again() -> None:
    hsj = spec("hopskipjump", eps=None)
    chosen = [spec(), spec(defenses=NOISE), spec(**KNOWN), hsj]
    whole = with_checks(chosen)
    assert [(one.attack, one.eps, one.attacker) for one in whole[4:]] == [
        ("bim", VAST, "oblivious"), ("fgsm", EPS, "oblivious"), ("bim", VAST, "adaptive"), ("fgsm", EPS, "adaptive")]
    assert with_checks([spec(), spec("mifgsm")])[2:] == whole[4:6], "one of each for all attacks on a front"
    assert without_checks(whole) == (tuple(chosen), True) and without_checks(chosen) == (tuple(chosen), False)


def watched_run() -> Checked:
    """Ten untouched pictures score 0 to 9, of which the last is refused; of ten the attack moved all but one."""
    attacked = run(2, defenses=DETECTOR)
    scores = Scores(DETECTOR, 0.1, 18.5, np.arange(20.0), np.arange(20.0) + 10)
    return replace(attacked, linf=np.float32([0, *[EPS] * 19]), scores=(scores,))


def test_what_detectors_catch_and_whom_they_refuse_wrongly_is_counted_kept_and_told() -> None:
    found = Defended((run(2), watched_run()), (), (Crowd("some/model", "stateful", np.arange(100) < 4),))
    back = judged(defended_of(payload_of(found)))
    one, = watched.summaries(back)
    assert (one["n_clean"], one["n_attacked"]) == (20, 19), "what the attack left as it was is no attacked picture"
    assert (one["false_alarms"], one["attacked_refused"]) == (1 / 20, 11 / 19)
    below = sum((clean < hit) + (clean == hit) / 2 for clean in range(20) for hit in range(11, 30)) / (20 * 19)
    assert one["auc"] == pytest.approx(below)
    assert one["false_alarms_low"] < 0.05 < one["false_alarms_high"] and one["false_alarms_chosen"] == 0.1
    line, = watched.sentences(watched.watches(back, EPS))
    assert line.endswith("refuses 11 of 19 pictures attacked by PGD within 2/255; and 1 of 20 untouched ones: its "
                         "threshold was set to refuse 10.0 % of these, which agrees with what was measured (95 % "
                         "interval 0.89 to 24 %)")
    line, = watched.crowd_sentences(back)
    assert "refuses 4 of 100 untouched pictures" in line
    assert len(roc(watched.watches(back, EPS)).axes) == 1 and not watched.watches(back, 2 * EPS)


class Terraces(nn.Module):
    """A linear model that looks at pictures in steps of 1/255, so that its gradient is 0, if not `let_through`."""

    def __init__(self, let_through: bool) -> None:
        super().__init__()
        self.let_through = let_through

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rounded = (images * 255).round() / 255
        seen = images + (rounded - images).detach() if self.let_through else rounded
        dark = 40 * (seen.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([dark, -dark], dim=1)


@pytest.mark.parametrize(("let_through", "strikes"), [(True, False), (False, True)])
def test_the_huge_budget_reaches_whom_it_can_and_strikes_who_hides_gradients(let_through: bool, strikes: bool) -> None:
    vast = next(one for one in with_checks([spec()]) if one.eps == VAST)
    model = grey(Terraces(let_through))
    images = 0.6 + 0.1 * torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    result = attack(vast.attack, model, images, torch.zeros(4, dtype=torch.long), eps=VAST, **vast.params)
    found = told(Checked.of_rows(result.rows))
    assert ("a huge budget does not reach 0" in {sign.name for _, sign in words.warnings(found, VAST)}) is strikes


def test_from_end_to_end_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    """A stack of two, both attackers, one with the model and one who asks; the rows are those that the numbers are of,
    and what is asked again is found again."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    nets.register(monkeypatch)
    path, out = tmp_path / "net.safetensors", tmp_path / "out"
    nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    words_ = ["defend", "--dataset", "phantom-cxr", "--model", str(path), "--attack", "bim,hopskipjump", "--eps",
              "8/255", "--norm", "linf", "--limit", "2", "--set", "bim.steps=2", "hopskipjump.queries=21", "--defense",
              "noise:every=0,sigma=0.2+shift", "--draws", "3", "--out", str(out)]
    assert main([*words_, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    bare, defended = facts["defenses"]
    assert bare["defense"] == "" and defended["defense"] == "noise(sigma=0.2, every=0), shift(by=0.05, bias=0.0)"
    assert all(one["seconds_per_query"] > 0 for one in (bare, defended))
    assert defended["robust_accuracy_adaptive"] <= defended["robust_accuracy_oblivious"]
    table = pd.read_parquet(out / "rows.parquet")
    assert set(zip(table["attack"], table["attacker"], strict=True)) >= {
        ("bim", "adaptive"), ("hopskipjump", "adaptive"), ("hopskipjump", "oblivious"), ("fgsm", "adaptive")}
    averaged = table[(table["attack"] == "hopskipjump") & (table["attacker"] == "adaptive")]
    assert (averaged["queries"] % 3 == 0).all() and (averaged["queries"] <= 21).all()
    asked = pd.read_csv(out / "asked-again.csv")
    for _, same in asked.groupby(["attack", "attacker"]):
        assert (same["median_defended"].diff().dropna() <= 0).all() or same["median_defended"].isin([np.inf]).any()
    assert main(["defend", "--config", str(out / "sweep.toml"), "--json"]) == 0
    again_facts = json.loads(capsys.readouterr().out)
    assert again_facts["defenses"] == facts["defenses"], "a second time something else was found"


def test_detectors_and_who_remembers_are_watched_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    """What is counted of scores is what the defended model itself refused."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(further, "REFERENCE_EACH", 4)
    monkeypatch.setattr(watching, "CROWD", 3)
    nets.register(monkeypatch)
    path, out = tmp_path / "net.safetensors", tmp_path / "out"
    nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    assert main(["defend", "--dataset", "phantom-cxr", "--model", str(path), "--attack", "fgsm", "--eps", "8/255",
                 "--limit", "3", "--no-checks", "--defense", "shift+squeeze:smooth=false,alarms=0.4+stateful", "rnd",
                 "--attacker", "oblivious", "--json", "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out)
    one, = facts["detectors"]
    table = pd.read_parquet(out / "rows.parquet")
    refused = table[table["defense"].str.contains("squeeze")]["predicted_adversarial"].isna()
    assert (one["n_clean"], one["n_attacked"], one["false_alarms_chosen"]) == (3, 3, 0.4)
    assert one["attacked_refused"] == pytest.approx(refused.mean()) and 0 <= one["auc"] <= 1
    assert one["false_alarms"] == pytest.approx(facts["defenses"][1]["false_alarms"])
    crowd, = facts["one_client"]
    assert (crowd["n"], crowd["refused"]) == (3, 0) and "stateful" in crowd["defense"]
    assert (out / "detectors.csv").exists() and (out / "detectors-roc.svg").exists()
