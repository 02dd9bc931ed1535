"""Walks: how near an attack came after how many queries, by hand and on models so small that it can be run again."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.attacks import ATTACKS
from engine.attacks.base import Others
from engine.attacks.result import FRAMES, AttackResult, Finds
from engine.attacks.rows import COLUMNS, joined
from engine.attacks.runner import Resources, run_attack
from engine.attacks.spec import make_spec
from engine.data import phantom
from engine.errors import EngineError
from engine.experiments.defending.again import Again
from engine.experiments.onepicture import pace
from engine.experiments.queries import walks
from engine.experiments.queries.curves import QueryCurve, grid, quantile, query_curve, table, verified_table
from engine.experiments.queries.walks import (
    Film,
    Walks,
    estimate,
    finds_of,
    payload_of_walks,
    query_curve_task,
    to_verify,
    together,
    verifying,
    walk_task,
    walkers,
    walking,
    walks_joined,
    walks_of,
)
from engine.experiments.queries.words import verified_readable
from engine.experiments.sources import opened
from engine.experiments.sweeps import sweep_of
from engine.experiments.units import rows_of, rows_task, units_of
from engine.metrics.rates import interval
from engine.progress import Progress
from engine.work.kinds import Bench
from engine.work.store import Store
from engine.zoo.registry import load_model
from tests import nets
from tests.tiny import QUICK, attack, small_net, some_images
from tests.walked import HSJ, made_up

# ---- by hand


def test_a_point_is_what_was_known_at_exactly_so_many_queries() -> None:
    some = made_up([(10, 4.0, 0.4), (100, 2.0, 0.2)], [(50, 6.0, 0.6)])
    assert some.distances("l2", [9, 10, 49, 50, 99, 100, 1000]).tolist() == [
        [math.inf, math.inf], [4, math.inf], [4, math.inf], [4, 6], [4, 6], [2, 6], [2, 6]]
    assert some.distances("linf", [100]).tolist() == [[0.2, 0.6]]


def test_median_and_quartiles_count_those_not_fooled_as_infinite_and_the_mean_leaves_them_out() -> None:
    some = made_up([(1, 1.0, 0.1)], [(1, 2.0, 0.2)], [(5, 4.0, 0.3)], [], [(500, 9.0, 0.5)])
    early, late = query_curve(some, [1, 500], [2.0]).points
    assert (early.mean, early.q25, early.median, early.q75) == (1.5, 2.0, None, None)
    assert (late.mean, late.q25, late.median, late.q75) == (4.0, 2.0, 4.0, 9.0)
    assert (early.found.count, late.found.count) == (2, 4)
    assert (late.found.low, late.found.high) == interval(4, 5)


def test_success_is_counted_at_chosen_sizes_with_wilsons_interval() -> None:
    some = made_up([(1, 1.0, 1 / 255)], [(1, 2.0, 2 / 255)], [(5, 4.0, 4 / 255)], [])
    point, = query_curve(some, [5], [0.5, 1.0, 4.0]).points
    assert [s.count for s in point.success] == [0, 1, 3]
    assert [(s.low, s.high) for s in point.success] == [interval(k, 4) for k in (0, 1, 3)]
    in_linf, = query_curve(some, [5], [np.float32(2 / 255)], norm="linf").points
    assert in_linf.success[0].count == 2, "what is exactly at the limit is within it"


def test_what_is_no_success_in_the_end_or_was_wrong_before_does_not_count() -> None:
    some = made_up([(1, 1.0, 0.1)], [(1, 2.0, 0.2)], [(1, 0.0, 0.0)], success=[True, False, True], wrong=(2,))
    curve = query_curve(some, [10])
    assert (curve.n, curve.attacked) == (3, 2)
    assert curve.points[0].found.count == 1 and curve.points[0].median is None
    assert any("1 of 2 images fooled the model on the way, but not in the end" in line for line in curve.warnings)


def test_counts_beyond_the_walk_are_refused() -> None:
    for counts in ([1001], [0], []):
        with pytest.raises(EngineError, match="go to 1,000 queries"):
            query_curve(made_up([(1, 1.0, 0.1)]), counts)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.4, 0.5, 0.75, 1.0])
def test_quantiles_are_numpys_where_all_is_finite(share: float) -> None:
    values = np.array([3.0, 1.0, 2.5, 8.0, 4.0, 4.5])
    assert quantile(values, share) == pytest.approx(np.quantile(values, share))
    assert quantile(np.array([]), share) == math.inf
    assert quantile(np.full(3, math.inf), share) == math.inf


def test_a_grid_has_every_count_that_was_asked_for() -> None:
    counts = grid(5000, [250, 1000, 5000, 9999])
    assert {250, 1000, 5000} < set(counts) and counts == sorted(set(counts))
    assert counts[0] == 1 and counts[-1] == 5000
    assert grid(1) == [1]


def test_the_curve_of_pieces_is_the_curve_of_the_whole() -> None:
    ways = [[(10, 4.0, 0.4), (100, 2.0, 0.2)], [], [(50, 6.0, 0.6)], [(3, 1.0, 0.1), (7, 0.5, 0.05)]]
    counts = [3, 10, 60, 1000]
    whole, pieces = made_up(*ways), walks_joined([made_up(*ways[:1]), made_up(*ways[1:3]), made_up(*ways[3:])])
    assert query_curve(pieces, counts).points == query_curve(whole, counts).points


def test_a_table_says_infinite_as_inf() -> None:
    lines = table([query_curve(made_up([], [(5, 2.0, 0.1)]), [1, 5], [3.0])])
    assert lines["queries"].tolist() == [1, 5] and lines["median"].tolist() == [math.inf, math.inf]
    assert lines["within_3"].tolist() == [0.0, 0.5] and lines["images"].tolist() == [2, 2]


# ---- what real attacks leave


def images_and_labels(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    images = some_images(count)
    return images, small_net()(images).argmax(1)


def walked(name: str, queries: int, **options: object) -> AttackResult:
    images, labels = images_and_labels()
    bank = some_images(30, seed=1)
    info = ATTACKS[name].info
    settings: dict[str, object] = {**QUICK[name], **options, "queries": queries}
    return attack(name, small_net(), images, labels, eps=0.2 if info.bounded else None, norm=info.norms[0],
                  resources=Resources(others=Others(bank, small_net()(bank).argmax(1))), **settings)  # type: ignore


def as_walks(result: AttackResult) -> Walks:
    return Walks.of(result, finds_of(result))


@pytest.mark.parametrize("name", walkers())
def test_the_walk_ends_where_its_rows_say(name: str) -> None:
    """A decision-based attack returns what it found, up to a thousandth further out; another one just that."""
    result = walked(name, 120)
    some = as_walks(result)
    end, norm = some.distances(result.spec.norm, [some.limit])[0], getattr(result, result.spec.norm)
    assert result.success.any(), "nothing was found: this shows nothing"
    assert np.isfinite(end).tolist() == result.success.tolist()
    assert (norm[result.success] <= 1.0011 * end[result.success] + 1e-7).all()
    assert (norm[result.success] >= end[result.success] - 1e-7).all()
    way = some.distances(result.spec.norm, range(1, some.limit + 1))
    assert (way[1:] <= way[:-1]).all(), "it went further away"


# ... whose way does not depend on how many queries there are in all.
STEADY = [name for name in walkers() if not ATTACKS[name].info.plans]


@pytest.mark.parametrize("name", STEADY)
@pytest.mark.parametrize("fewer", [37, 90])
def test_a_walk_read_at_fewer_queries_is_a_run_that_may_ask_only_so_many(name: str, fewer: int) -> None:
    """Who sees decisions alone keeps one query for a last look at what is returned."""
    long, short = as_walks(walked(name, 200)), as_walks(walked(name, 200, max_queries=fewer))
    looks = int(ATTACKS[name].info.knowledge.name == "DECISION")
    norm = long.spec.norm
    both = long.success & short.success
    assert both.any() or not short.success.any()
    read, run = (some.distances(norm, [count])[0] for some, count in ((long, fewer - looks), (short, fewer)))
    assert read[both].tolist() == run[both].tolist()
    assert (np.isfinite(read) >= np.isfinite(run)).all()


@pytest.mark.parametrize("name", [name for name in walkers() if name not in STEADY])
def test_where_the_way_depends_on_the_budget_the_curve_says_so(name: str) -> None:
    curve = query_curve(as_walks(walked(name, 60)), [60])
    assert any(f"not quite a run with so few: {ATTACKS[name].info.plans}" in line for line in curve.warnings)


def test_square_goes_the_same_way_as_long_as_its_own_budget_is_the_same() -> None:
    long, short = walked("square", 200), walked("square", 200, max_queries=37)
    early = long.success & (long.queries <= 37)
    assert early.tolist() == short.success.tolist()


def test_a_film_shows_the_nearest_image_at_its_very_query() -> None:
    result = walked("boundary", 120)
    film, some = result.trace.walk.film, as_walks(result)  # type: ignore[union-attr]
    assert film is not None
    known = [frame for frame in FRAMES if frame <= 100]
    far = some.distances("l2", known)
    shown = np.linalg.norm((film[:len(known)] - result.clean).reshape(len(known), 3, -1), axis=2)
    assert np.isfinite(far[1:]).all()
    assert shown[1:] == pytest.approx(far[1:], rel=1e-5)


def test_what_was_found_is_numbered_over_all_batches() -> None:
    whole, pieces = (as_walks(walked("boundary", 60, batch=batch)) for batch in (3, 1))
    assert set(pieces.finds.image.tolist()) == set(whole.finds.image.tolist()) == {0, 1, 2}
    assert pieces.distances("l2", [60])[0] == pytest.approx(whole.distances("l2", [60])[0], rel=1e-3)


# ---- as work


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    return tmp_path


def bench(home: Path, shown: list[object] | None = None) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, Progress(), lambda task: task.kept(store),
                 publish=(shown if shown is not None else []).append)


def same(some: Walks, others: Walks) -> bool:
    return all(np.array_equal(getattr(some, name), getattr(others, name)) for name in COLUMNS) \
        and all(np.array_equal(getattr(some.finds, f.name), getattr(others.finds, f.name)) for f in fields(Finds)) \
        and [(film.index, film.queries, film.frames.tobytes()) for film in some.films] \
        == [(film.index, film.queries, film.frames.tobytes()) for film in others.films] \
        and {**some.facts(), "seconds": 0} == {**others.facts(), "seconds": 0}


def test_what_is_kept_of_walks_is_all_of_them() -> None:
    film = Film(7, (100, 250), (3.0, 1.5), np.random.default_rng(0).random((2, 1, 4, 4)).astype(np.float16))
    first, second = made_up([(10, 4.0, 0.4), (100, 2.0, 0.2)], []), made_up([(50, 6.0, 0.6)])
    first = Walks.of(first, first.finds, (film,))
    kept = walks_of(payload_of_walks([first, second]))
    assert all(map(same, kept, (first, second)))


RND = replace(HSJ, defenses="rnd(sigma=0.1)")


def test_what_was_luck_before_a_random_defense_is_not_verified_and_what_holds_only_comes_nearer() -> None:
    """Of two images, the first holds at both looks, the nearer one of the second at the first alone."""
    far = np.array([[4.0, 6.0], [2.0, 3.0]])
    again = Again(10, (10, 1000), np.array([[9, 10], [6, 5]]), np.array([[True, False], [True, True]]), far / 10, far)
    walked = made_up([(10, 4.0, 0.4), (100, 2.0, 0.2)], [(10, 6.0, 0.6), (90, 3.0, 0.3)], spec=RND)
    kept, bare = walks_of(payload_of_walks([replace(walked, verified=again), made_up([(10, 4.0, 0.4)])]))
    assert kept.verified is not None and kept.verified.fooled.tolist() == again.fooled.tolist() and not bare.verified
    joined = walks_joined([kept, kept]).verified
    assert joined is not None and joined.linf.shape == (2, 4) and walks_joined([kept, walked]).verified is None
    held = query_curve(kept, [50, 1000]).verified
    assert held is not None and held.times == 10
    assert [(point.queries, point.median, point.found.count) for point in held.served] == [(10, 5.0, 2), (1000, 4.0, 2)]
    assert [point.median for point in held.bare] == [None, 2.5], "one of two holds there at first: infinitely far"
    assert query_curve(kept, [1000]).points[0].median == 2.5, "what the attacker believed"
    told = json.loads(json.dumps(query_curve(kept, [1000]).summary()))
    assert told["verified"]["asked_again"] == 10 and len(told["verified"]["served"]) == 2
    assert query_curve(walked, [1000]).summary()["verified"] is None and "verified" not in query_curve(
        bare, [1000]).summary()
    assert verified_table([query_curve(kept, [1000])])["served_median"].tolist() == [5.0, 4.0]
    assert verified_readable([query_curve(kept, [1000])])["median, without the defense"].tolist() == ["-", "2.5"]
    assert verifying(RND) == 11 * 6 and not verifying(HSJ) and not to_verify(
        replace(HSJ, defenses="jpeg(quality=75)"))


def test_other_results_are_no_walks() -> None:
    payload = payload_of_walks([made_up([(10, 4.0, 0.4)])])
    del payload.arrays["find_l2"]
    with pytest.raises(EngineError, match="no walks"):
        walks_of(payload)


INDICES = (0, 160, 9, 12, 180)  # of which the small network knows two


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A small network for the phantoms."""
    nets.register(monkeypatch)
    path = tmp_path / "m.safetensors"
    nets.kept(path, classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    return str(path)


def test_a_sweep_gives_what_its_units_give_and_grows(home: Path, model: str) -> None:
    specs = [walking(make_spec("hopskipjump", batch=2), 130),
             walking(make_spec("square", eps=8 / 255, batch=3), 130)]
    sweep = sweep_of("phantom-cxr", "test", INDICES, [model], specs)
    shown: list[object] = []
    at = bench(home, shown)
    found = walks_of(at.result(query_curve_task(sweep, "cpu")))
    for run, units in zip(found, walks.plan(sweep, "cpu"), strict=True):
        alone = walks_joined([walks_of(at.result(walk_task(unit, "cpu")))[0] for unit in units])
        assert same(run, alone)
        rows = rows_of(at.recall(rows_task(units[0], "cpu")))  # type: ignore[arg-type]
        assert rows.queries.tolist() == run.queries[:len(rows.queries)].tolist(), "who asks for the rows alone has them"
    growing, = shown
    assert growing.done == growing.steps == 5 and all(map(same, growing.runs(), found))  # type: ignore[attr-defined]
    hopskipjump, square = found
    assert [(film.index, film.queries[0]) for film in hopskipjump.films] == [(160, 10), (180, 10)]
    assert hopskipjump.queries.max() <= 130 and square.queries.max() <= 130
    curve = query_curve(hopskipjump, [2, 130])
    assert curve.at(130).found.count >= curve.at(2).found.count
    assert pace.known(model, "cpu") is not None


def test_who_asks_a_random_defense_is_asked_back(home: Path, model: str) -> None:
    spec = walking(make_spec("hopskipjump", batch=2, defenses="rnd(sigma=0.05)"), 40)
    sweep, at = sweep_of("phantom-cxr", "test", (160, 180), [model], [spec]), bench(home)
    found, = walks_of(at.result(query_curve_task(sweep, "cpu")))
    assert found.verified is not None and found.verified.queries == (10, 25, 40) and found.films
    far = found.verified.distances("l2")
    assert (far[1:] <= far[:-1]).all() and query_curve(found, [40]).verified is not None
    alone, = walks_of(at.recall(walk_task(walks.plan(sweep, "cpu")[0][0], "cpu")))  # type: ignore[arg-type]
    assert alone.verified is None and same(alone, found), "who asks for the walks alone has them"


def test_no_attack_is_made_twice(home: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    """The same sweep with more images walks only from those that are new."""
    spec = walking(make_spec("hopskipjump", batch=1), 30)
    made: list[tuple[int, ...]] = []
    real = walks.attacked
    monkeypatch.setattr(walks, "attacked", lambda unit, *rest, **options: made.append(unit.indices)
                        or real(unit, *rest, **options))
    for indices in ((0, 3), (0, 3, 9)):
        at = bench(home)
        at.result(query_curve_task(sweep_of("phantom-cxr", "test", indices, [model], [spec],
                                            further=(0, 100, 1100, 2100)), "cpu"))
    assert sorted(made) == [(0,), (3,), (9,)]


# ---- before it begins


def test_only_who_asks_the_model_walks() -> None:
    assert {"hopskipjump", "gbba", "boundary", "opt", "signopt", "geoda", "square", "nes", "simba",
            "onepixel"} == set(walkers())
    with pytest.raises(EngineError, match="choose one of onepixel, hopskipjump"):
        walking(make_spec("pgd", eps=2 / 255), 100)
    with pytest.raises(EngineError, match="queries must lie between"):
        walking(HSJ, 10**6)


def test_units_are_small_where_walks_are_long_and_few_images_fill_a_batch() -> None:
    def size(name: str, queries: int, device: str = "cpu", batch: int = 16) -> int:
        eps = 2 / 255 if ATTACKS[name].info.bounded else None
        return together(walking(make_spec(name, eps=eps, batch=batch), queries), device)

    assert [size("hopskipjump", queries) for queries in (10, 50, 100, 20_000)] == [16, 5, 2, 2]
    assert size("square", 20_000) == size("hopskipjump", 20_000, "cuda") == 16
    assert size("opt", 20, batch=4) == 4 and size("opt", 20_000, batch=1) == 1


def test_small_units_are_no_sign_of_short_memory(home: Path, model: str) -> None:
    spec = walking(make_spec("hopskipjump"), 1000)
    data = opened("phantom-cxr", "test")
    units = units_of("phantom-cxr", "test", (0, 3, 9), model, spec, size=together(spec, "cpu"))
    assert [unit.indices for unit in units] == [(0, 3), (9,)]
    few = walking(make_spec("hopskipjump"), 2)
    rows = joined([run_attack(few, load_model(model), torch.from_numpy(data.images(unit.indices)),
                              torch.from_numpy(data.labels[list(unit.indices)]), device="cpu").rows for unit in units])
    assert rows.provenance.batches == (2, 1) and not any("memory" in line for line in rows.warnings)


def test_the_estimate_is_queries_and_seconds_where_the_pace_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_known", {})
    specs = [walking(make_spec("hopskipjump"), 100), walking(make_spec("opt"), 300)]
    unknown = estimate(10, ["a", "b"], specs, "cpu")
    assert (unknown.queries, unknown.seconds) == (2 * 10 * 400, None)
    monkeypatch.setattr(pace, "_known", {("a", "cpu"): pace.Pace(1.0)})
    known = estimate(10, ["a"], specs, "cpu")
    assert known.seconds == pytest.approx(10 * pace.FORWARD * (100 + 300 + 2 * pace.VERDICTS))
    assert estimate(10, ["a", "b"], specs, "cpu").seconds is None


def test_a_curve_is_json_able() -> None:
    import json

    curve: QueryCurve = query_curve(made_up([], [(5, 2.0, 0.1)]), [1, 5], [3.0])
    told = json.loads(json.dumps(curve.summary()))
    assert told["points"][0]["median"] is None and told["points"][1]["success"][0]["norm"] == 3.0
