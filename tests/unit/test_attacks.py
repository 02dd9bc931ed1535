"""What holds for every attack, whatever it does: the budget, the range, the seed, the counts, the declaration."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.attacks import ATTACKS
from engine.attacks.base import PRESETS, Budget, length
from engine.attacks.norms import NORMS
from engine.attacks.spec import has_gradients, make_spec, spec_from_facts
from engine.errors import EngineError
from engine.params import build, params_of, values_of
from tests.tiny import QUICK, Counted, Slope, attack, grey, lessons, quick, small_net, some_images

EVERY = [(name, norm) for name in ATTACKS for norm in ATTACKS[name].info.norms]
MODEL = small_net()
LABELS = [0, 1, 2]


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one test learns is not another's."""
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path_factory.mktemp("home")))


def _sizes(clean: torch.Tensor, other: torch.Tensor, norm: str) -> torch.Tensor:
    return length((other.double() - clean.double()), NORMS[norm].order).flatten()


@pytest.mark.parametrize(("name", "norm"), EVERY)
@settings(max_examples=8, deadline=None)
@given(eps=st.one_of(st.sampled_from([0.0, 0.5 / 255, 1 / 255, 1.0]), st.floats(0, 0.5)), seed=st.integers(0, 2**62),
       target=st.one_of(st.none(), st.integers(0, 2)), images=st.integers(0, 2**31), contrast=st.floats(0.5, 3.0))
def test_budget_range_and_seed(name: str, norm: str, eps: float, seed: int, target: int | None, images: int,
                               contrast: float) -> None:
    clean = ((some_images(3, seed=images) - 0.5) * contrast + 0.5).clamp(0, 1)  # many pixels are black or white
    given_bytes = clean.numpy().tobytes()
    if not ATTACKS[name].info.targeted:
        target = None
    first, second = (quick(name, MODEL, clean, LABELS, eps=eps, norm=norm, seed=seed, target=target) for _ in range(2))
    adversarial = torch.tensor(first.adversarial)
    bounded = ATTACKS[name].info.bounded and not ATTACKS[name].info.patched
    assert not bounded or float(_sizes(clean, adversarial, norm).max()) <= eps + 1e-6
    assert float(adversarial.min()) >= 0 and float(adversarial.max()) <= 1
    assert first.adversarial.tobytes() == second.adversarial.tobytes()
    assert clean.numpy().tobytes() == given_bytes == first.clean.tobytes()
    if eps == 0 and bounded:
        assert first.adversarial.tobytes() == given_bytes


@settings(max_examples=40, deadline=None)
@given(norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 20), seed=st.integers(0, 1000), far=st.floats(0, 5))
def test_projection_is_the_nearest_allowed_image(norm: str, eps: float, seed: int, far: float) -> None:
    eps = min(eps, 1.0) if norm == "linf" else eps
    clean = some_images(2, seed=seed)
    images = clean + far * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    ball = Budget(norm, eps).around(clean)
    projected = ball.project_(images.clone())
    assert float(_sizes(clean, projected, norm).max()) <= eps + 1e-6 * max(1.0, eps)
    assert float(projected.min()) >= 0 and float(projected.max()) <= 1
    torch.testing.assert_close(ball.project_(projected.clone()), projected, atol=1e-6, rtol=1e-5)
    inside = clean + (projected - clean) * 0.5
    torch.testing.assert_close(ball.project_(inside.clone()), inside, atol=1e-6, rtol=1e-5)
    swapped = ball.project_(images.flip(0).clone(), torch.tensor([1, 0]))
    assert torch.equal(swapped, projected.flip(0))


# What these do to an image was learned from others, so it may fail on any one.
LEARNED = ["patch", *(n for n in ATTACKS if ATTACKS[n].__module__.endswith(("universal", "generative")))]


@pytest.mark.parametrize(("name", "norm"), [(n, norm) for n, norm in EVERY if ATTACKS[n].info.bounded
                                            and has_gradients(ATTACKS[n].info.knowledge) and n not in LEARNED])
def test_more_steps_than_none_do_something(name: str, norm: str) -> None:
    result = quick(name, MODEL, some_images(3), LABELS, eps=0.1 if norm == "linf" else 1.0, norm=norm)
    # An attack may leave alone what was wrong from the start, and be content once the model is fooled.
    assert ((result.l2 > 0.01) | (result.predicted_clean != LABELS)).all()
    start, end = result.trace.objective[0], -np.log(np.take_along_axis(
        np.exp(result.logits_adversarial) / np.exp(result.logits_adversarial).sum(1, keepdims=True),
        np.array(LABELS)[:, None], axis=1))[:, 0]
    assert ((end > start) | (result.predicted_adversarial != LABELS)).all(), "the loss did not rise"


@pytest.mark.parametrize("name", [n for n in ATTACKS if ATTACKS[n].__module__ == "engine.attacks.gradient"])
def test_the_seed_matters_only_where_something_is_drawn(name: str) -> None:
    one, other = (attack(name, MODEL, some_images(3), LABELS, eps=0.1, seed=seed) for seed in (0, 1))
    same = one.adversarial.tobytes() == other.adversarial.tobytes()
    assert same == (name not in ("pgd", "pgdnm"))


COUNTED = [{}, {"batch": 2}, {"steps": 3, "batch": 2}, {"stop": "first success"}, {"restarts": 2},
           {"restarts": 3, "steps": 2, "stop": "first success"}]


@pytest.mark.parametrize(("name", "options"), [
    (name, options) for name in ATTACKS for options in COUNTED
    if set(options) <= {p.name for p in params_of(ATTACKS[name])} | {"batch"}
])
def test_counts_are_what_really_passed_through_the_model(name: str, options: dict) -> None:
    model = small_net()
    if name in LEARNED:  # what is learned is no image's: learn first, and count what the images cost
        quick(name, model, some_images(5), [0, 1, 2, 0, 1], eps=0.02, memory=lessons(), **options)
    counted = model.module = Counted(model.module)
    result = quick(name, model, some_images(5), [0, 1, 2, 0, 1], eps=0.02, memory=lessons(), **options)
    verdicts = 3 * 5  # clean, adversarial and 8 bits, once each
    assert sum(counted.forwards) - verdicts == result.queries.sum()
    assert sum(counted.backwards) == result.gradients.sum()
    cost = ATTACKS[name](**{k: v for k, v in {**QUICK.get(name, {}), **options}.items() if k != "batch"}).cost()
    assert result.gradients.max() <= cost.gradients and result.queries.max() <= cost.queries
    if "stop" not in options and ATTACKS[name].__module__ == "engine.attacks.gradient":
        assert result.gradients.tolist() == [cost.gradients] * 5
        assert result.queries.tolist() == [cost.queries] * 5


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_declaration_is_complete(name: str) -> None:
    cls = ATTACKS[name]
    info = cls.info
    assert dataclasses.is_dataclass(cls) and cls.__doc__
    assert info.name == name and info.title and info.look_for.endswith(".") and info.formula
    assert info.sentence.endswith(".") and "gradient" not in info.sentence
    for paper in (info.paper, *info.builds_on):
        assert paper.authors and paper.title and (paper.url.startswith("https://") or paper.where)
        assert paper.year is None or 2000 < paper.year < 2100
    assert info.paper not in info.builds_on and info.version >= 1
    for preset, values in info.presets.items():
        assert preset in PRESETS and values and values != values_of(cls())
        values_of(build(cls, values))
    if cls.__module__.endswith(".gradient"):
        assert set(info.norms) <= set(cls.directions)
    for p in params_of(cls):
        assert p.title and p.help.endswith("."), p.name
        assert p.check(p.default) == p.default
        assert p.kind in (bool, str) or (p.low is not None and p.high is not None and p.step), f"{p.name} has no range"
    cls()


@pytest.mark.parametrize("name", list(ATTACKS))
def test_a_formula_can_be_drawn(name: str) -> None:
    """Braces and \\left-like pairs balance; KaTeX shows the rest in red rather than fail."""
    formula = ATTACKS[name].info.formula
    assert formula.count("{") == formula.count("}")
    assert formula.count("(") == formula.count(")")


def test_an_attack_names_its_own_source_before_what_it_builds_on() -> None:
    sources = {name: (ATTACKS[name].info.paper, ATTACKS[name].info.builds_on) for name in ("pwp", "gbba")}
    assert "Patching with Perturbation" in sources["pwp"][0].title and "Arizona" in sources["pwp"][0].where
    assert any("Grad-CAM" in paper.title for paper in sources["pwp"][1])
    assert "Hiroshima" in sources["gbba"][0].where and sources["gbba"][0].year == 2024
    assert {paper.year for paper in sources["gbba"][1]} == {2020}


def test_no_limit_is_none_everywhere() -> None:
    spec = make_spec("cw")
    assert spec.eps is None and json.loads(json.dumps(dataclasses.asdict(spec)))["eps"] is None
    assert spec_from_facts({"spec": dataclasses.asdict(spec)}) == spec
    # Files saved earlier hold the largest number there was.
    assert spec_from_facts({"spec": {**dataclasses.asdict(spec), "eps": 1000.0}}) == spec
    result = attack("cw", MODEL, some_images(1), [0], eps=None, norm="l2", steps=1, rounds=1)
    assert result.facts()["eps"] is None and result.facts()["spec"]["eps"] is None
    far = Budget("l2", None).around(some_images(1, seed=1))
    images = some_images(1, seed=2)
    assert torch.equal(far.project_(images.clone()), images)
    with pytest.raises(EngineError, match="count pixels"):
        Budget("l0", 3.0)


@pytest.mark.parametrize(("norm", "unit", "high"), [("linf", "/255", 1.0), ("l2", "", 1000.0)])
def test_the_step_of_an_attack_has_the_unit_of_its_budget(norm: str, unit: str, high: float) -> None:
    (step,) = (NORMS[norm].resolved(p) for p in params_of(ATTACKS["pgd"]) if p.name == "step_size")
    assert (step.unit, step.high, NORMS[norm].unit) == (unit, high, unit)


def test_attacks_can_be_listed_without_torch() -> None:
    code = "import sys, engine.attacks, engine.attacks.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_attack_is_loaded_before_the_first_that_runs() -> None:
    """And with it only its own family, whose module has the name of the declaration's."""
    code = """if True:
        import sys, torch
        from engine.attacks import ATTACKS
        from engine.attacks.base import _implementation
        families = {cls.__module__.replace("declared.", "") for cls in ATTACKS.values()}
        before = families & set(sys.modules)
        _implementation(ATTACKS["pgd"])
        after = families & set(sys.modules)
        assert not before and after == {"engine.attacks.gradient"}, (before, after)
        for cls in ATTACKS.values():
            _implementation(cls)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("options", "says"), [
    ({"name": "fgms"}, "fgsm"),
    ({"norm": "l7"}, "unknown norm 'l7'"),
    ({"norm": "l2"}, "works in linf"),
    ({"eps": -0.1}, "eps must lie between 0 and 1"),
    ({"eps": 2.0}, "2/255"),
    ({"eps": float("nan")}, "eps must lie"),
    ({"target": 3}, "target must lie between 0 and 2"),
    ({"batch": 0}, "batch must be at least 1"),
    ({"seed": -1}, "seed must be"),
    ({"numerics": "rough"}, "numerics"),
    ({"name": "bim", "steps": 0}, "steps must lie between 1 and"),
    ({"name": "bim", "stop": "never"}, "first success"),
    ({"name": "bim", "step_size": 2.0}, "step_size must lie between 0 and 1,"),
    ({"name": "bim", "moment": 1}, "unknown parameter"),
    ({"name": "bim", "steps": 10, "max_queries": 9}, "needs 10 queries"),
])
def test_a_wrong_setting_is_explained_in_one_line(options: dict, says: str) -> None:
    settings = {"name": "fgsm", "eps": 0.01} | options
    with pytest.raises(EngineError, match=says) as error:
        attack(settings.pop("name"), MODEL, some_images(3), LABELS, **settings)
    assert "\n" not in str(error.value)


def test_a_query_budget_that_suffices_changes_nothing() -> None:
    free, limited = (attack("bim", MODEL, some_images(3), LABELS, eps=0.1, max_queries=most) for most in (None, 10))
    assert free.adversarial.tobytes() == limited.adversarial.tobytes()


def test_the_batch_decides_no_more_than_rounding() -> None:
    """Random numbers belong to an image, wherever it stands in whatever batch."""
    model = grey(Slope((1.0, -2.0, 0.5, 0.0)))
    images = some_images(5, channels=1, size=2)
    one, other = (attack("pgd", model, images, [0] * 5, eps=0.1, batch=batch) for batch in (1, 3))
    np.testing.assert_array_equal(one.trace.images[0], other.trace.images[0])
    np.testing.assert_allclose(one.adversarial, other.adversarial, atol=1e-6)
    alone = attack("pgd", model, images[:2], [0] * 2, eps=0.1)
    np.testing.assert_array_equal(alone.trace.images[0], one.trace.images[0][:2])
