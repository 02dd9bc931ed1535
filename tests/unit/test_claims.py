"""Claims, declared and measured: on tiny phantoms and networks, so that what is said of them is known beforehand."""

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from engine.attacks.rows import Rows
from engine.attacks.spec import AttackSpec
from engine.cli import main
from engine.cli.sections import renew
from engine.data import DATASETS, phantom_cxr
from engine.data.base import Dataset, DatasetEntry
from engine.errors import Cancelled
from engine.experiments import attacking
from engine.experiments.claims import CLAIMS, Claim
from engine.experiments.claims.contests import CHANCE, CONTRARY, EQUAL, HOLDS, LEVEL, Score, contests
from engine.experiments.claims.declared import Bundled, Network, entry
from engine.experiments.claims.measures import FARNESS, FOOLED, NEARNESS
from engine.experiments.claims.networks import name_of, ready
from engine.experiments.claims.report import section
from engine.experiments.claims.trials import Trial, trials
from engine.experiments.sources import opened
from engine.progress import Progress, to_the_end
from engine.training import train as training
from engine.training.defenses import defense_of
from engine.work.kinds import Bench
from engine.work.store import Store
from engine.zoo.registry import load_model, model_card, trained_path
from tests import nets

ROOT = Path(__file__).resolve().parents[2]
SMALL = "striped@32"
SIZE = 96  # images of every split
INFO = replace(phantom_cxr.INFO, name="striped")


class Striped(Dataset):
    """Pictures of which a tiny network soon learns the class: brighter above, in the middle or below."""

    def __init__(self, split: str) -> None:
        super().__init__(INFO, split, np.arange(SIZE, dtype=np.int64) % 3)

    def image(self, index: int) -> np.ndarray:
        pixels = np.random.default_rng(index).uniform(0.2, 0.3, (1, 224, 224)).astype(np.float32)
        label = int(self.labels[index])
        pixels[:, 75 * label:75 * (label + 1)] += 0.4
        return pixels

    def item_name(self, index: int) -> str:
        return f"{self.split}/{index}"

    def origin(self, index: int) -> str:
        return f"striped {self.item_name(index)}"


NOTHING, MUCH = {"eps": 0.0, "batch": 3}, {"eps": 0.5, "batch": 3}
STRONG, WEAK = entry("fgsm", [NOTHING, MUCH], "strong"), entry("fgsm", [NOTHING, NOTHING], "weak")


# Of its two comparisons the first, without a budget, cannot come out, and the second must.
CLAIM = Claim(
    name="strong", title="Strength", sentence="the strong fools more than the weak", dataset=SMALL,
    target=Network("small-cnn", 30), pictures=18, budgets=("nothing", "much"), entries=(STRONG, WEAK),
    contests=(("strong", "weak"),), measure=FOOLED, because="without a budget nobody is strong.")
POOR = 8  # epochs after which a network does not know all classes yet
READ, CHOSEN = 6, 6  # batches of all pictures of the split, and of those that are attacked
UNITS = READ + 2 * CHOSEN  # the weak does at both budgets what the strong does at the first


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the networks of two seeds are trained."""
    home = tmp_path_factory.mktemp("networks")
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, home)
        for seed in range(2):
            ready(CLAIM.target, CLAIM.dataset, seed, bench(home))
    return home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks: Path) -> Path:
    """One with these networks, in which nothing was attacked yet."""
    shutil.copytree(networks / "models", tmp_path / "home" / "models")
    prepare(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


def prepare(patch: pytest.MonkeyPatch, home: Path) -> None:
    patch.setenv("PERTURBSCOPE_HOME", str(home))
    patch.setitem(DATASETS._items, INFO.name, DatasetEntry(INFO, Striped))
    nets.register(patch)


@pytest.fixture
def claim(home: Path, monkeypatch: pytest.MonkeyPatch) -> Claim:
    return declared(monkeypatch, CLAIM)


def declared(monkeypatch: pytest.MonkeyPatch, claim: Claim) -> Claim:
    monkeypatch.setitem(CLAIMS._items, claim.name, claim)
    return claim


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The networks that are really trained."""
    return spied(monkeypatch, training, "train", lambda spec, *rest: spec.name)


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """The budgets of the attacks that are really made."""
    return spied(monkeypatch, attacking, "run_attack", lambda spec, *rest: spec.eps)


def spied(monkeypatch: pytest.MonkeyPatch, module: object, name: str, note: Callable[..., object]) -> list:  # type: ignore[type-arg]
    noted: list[object] = []
    real = getattr(module, name)

    def spy(*arguments: object, **options: object) -> object:
        noted.append(note(*arguments))
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, spy)
    return noted


def bench(home: Path, progress: Progress | None = None) -> Bench:
    store = Store(home / "runs")
    return Bench("cpu", store, progress or Progress(), lambda task: task.kept(store))


def measured(claim: Claim, home: Path, seeds: int = 1) -> list[Trial]:
    return to_the_end(trials(claim, seeds, bench(home)))


# ---- declarations


@pytest.mark.parametrize("name", list(CLAIMS))
def test_what_is_declared_can_be_measured(name: str) -> None:
    claim = CLAIMS[name]
    labels = [one.label for one in claim.entries]
    assert len(set(labels)) == len(labels) and {label for pair in claim.contests for label in pair} <= set(labels)
    assert all(len(one.specs) == len(claim.budgets) for one in claim.entries) and claim.papers and claim.sentence
    for network in (*claim.targets, claim.surrogate):
        if isinstance(network, Bundled):
            load_model(network.model)
        elif network is not None:
            trained_path(name_of(network, claim.dataset, 0))
            defense_of(network.defense)
    assert claim.seeds == (1 if isinstance(claim.target, Bundled) else claim.networks)
    comparisons = len(claim.contests) * len(claim.budgets)
    assert Score(claim.pictures, 0).chance <= LEVEL / comparisons  # or nothing could ever be said


def test_what_is_written_of_a_claim_stands_where_it_will_be_renewed() -> None:
    text = (ROOT / "CLAIMS.md").read_text(encoding="utf-8")
    names = re.findall("<!-- (?!/)(.*) -->", text)
    assert names == re.findall("<!-- /(.*) -->", text) and set(names) <= set(CLAIMS)


def test_sign_and_non_sign_take_equal_steps() -> None:
    claim = CLAIMS["nonsign-kermany"]
    by_label = {one.label: one.specs for one in claim.entries}
    for better, other in claim.contests[1:3]:
        for mine, theirs in zip(by_label[better], by_label[other], strict=True):
            assert mine.params["step_size"] == theirs.params["step_size"] == pytest.approx((mine.eps or 0) / 10)
            assert mine.params["steps"] == theirs.params["steps"] == 10


def test_without_a_limit_per_pixel_the_step_is_as_long_and_goes_along_the_gradient(home: Path, claim: Claim) -> None:
    """The row 'FGNM, pixels unlimited': one step of the length (L2) of FGSM's, to which no pixel is limited."""
    nonsign = CLAIMS["nonsign-kermany"]
    assert nonsign.contests[-1] == ("FGNM, pixels unlimited", "FGSM")

    def resized(spec: AttackSpec) -> AttackSpec:  # the claim's pictures have twice as many pixels a side
        eps = (spec.eps or 0) / 2
        return replace(spec, eps=eps, params={**spec.params, "step_size": eps})

    by_label = {one.label: one for one in nonsign.entries}
    free, sign = (by_label[label] for label in nonsign.contests[-1])
    found, = measured(replace(claim, budgets=nonsign.budgets, contests=(), entries=(
        sign, replace(free, specs=tuple(map(resized, free.specs))))), home)
    for limited, unlimited in zip(found.rows["FGSM"], found.rows[free.label], strict=True):
        assert np.allclose(limited.l2, unlimited.l2, rtol=1e-2)
        assert (unlimited.linf > 1.5 * limited.linf).all() and (unlimited.gradients == 1).all()


# ---- what is measured


def test_attacked_are_pictures_that_are_read_correctly_evenly_of_every_class(home: Path, claim: Claim) -> None:
    trial, = measured(claim, home)
    labels = opened(SMALL, "test").labels[list(trial.indices)]
    assert np.bincount(labels).tolist() == [6, 6, 6]
    for rows in trial.rows["strong"]:
        assert rows.attacked.all() and rows.labels.tolist() == labels.tolist()
    for label in range(3):
        own = [index for index in trial.indices if opened(SMALL, "test").labels[index] == label]
        assert max(own) - min(own) > SIZE / 2  # not the first few


def test_every_model_concerned_reads_the_pictures(home: Path, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The surrogate, which learned next to nothing, misreads pictures that the target reads."""
    poor = nets.register(monkeypatch, "poor")
    trial, = measured(replace(claim, surrogate=Network(poor, POOR)), home)
    data = opened(SMALL, "test")
    for name in trial.models:
        predicted = load_model(name)(torch.from_numpy(data.images(trial.indices))).argmax(dim=1)
        assert predicted.tolist() == data.labels[list(trial.indices)].tolist()
    assert 0 < len(trial.indices) < 18
    assert {rows.spec.surrogate for several in trial.rows.values() for rows in several} == {trial.models[1]}
    assert all(rows.provenance.surrogate_digest for several in trial.rows.values() for rows in several)


def test_every_seed_has_a_network_of_its_own_and_none_is_trained_twice(
        home: Path, claim: Claim, trained: list[str], attacked: list[float | None]) -> None:
    first, second = (f"claims/striped-32-small-cnn-s{seed}" for seed in range(2))
    trained_path(second).unlink()
    measured(claim, home)
    assert trained == [] and len(attacked) == UNITS
    attacked.clear()
    found = measured(claim, home, 2)
    assert trained == [second] and [trial.models for trial in found] == [(first,), (second,)]
    assert trained_path(first).read_bytes() != trained_path(second).read_bytes()
    assert len(attacked) == UNITS  # of the second network alone
    attacked.clear()
    measured(claim, home, 2)
    assert trained == [second] and attacked == []


def test_a_network_that_was_trained_otherwise_is_trained_again(home: Path, claim: Claim, trained: list[str]) -> None:
    for _ in range(2):
        measured(replace(claim, target=Network("small-cnn", POOR)), home)
    assert trained == ["claims/striped-32-small-cnn-s0"]


def test_a_network_from_before_there_were_more_settings_is_taken_as_it_is(home: Path, claim: Claim,
                                                                          trained: list[str]) -> None:
    card = home / "models" / "claims" / "striped-32-small-cnn-s0.json"
    facts = json.loads(card.read_text())
    del facts["training"]["settings"]["flips"]
    card.write_text(json.dumps(facts))
    measured(claim, home)
    assert trained == []


def test_a_defended_network_goes_on_from_the_undefended_one(home: Path, claim: Claim, trained: list[str]) -> None:
    defended = Network("small-cnn", 2, "noise:sigma=0.05", cast(Network, claim.target))
    own = replace(claim, entries=(STRONG, replace(WEAK, target=defended)))
    for _ in range(2):
        found = measured(own, home)
    undefended, name = found[0].models
    assert trained == [name] and name == f"{undefended}-noise"
    card = model_card(name)
    assert (card.training["start_from"], card.training["defense"]["written"]) == (undefended, "noise:sigma=0.05")
    assert f"; trained on with `noise:sigma=0.05`, 2 epochs: accuracy {card.evaluations['test']['accuracy']:.1%}." in (
        section(own, found))
    measured(replace(own, entries=(STRONG, replace(WEAK, target=replace(defended, defense="noise")))), home)
    assert trained == [name] * 2  # another sigma is another network


def test_the_pictures_are_the_model_s_where_it_is_bundled(home: Path, claim: Claim, trained: list[str]) -> None:
    bundled = replace(claim, target=Bundled("claims/striped-32-small-cnn-s0"))
    assert bundled.seeds == bundled.seeds_of(5) == 1
    text = section(bundled, measured(bundled, home))
    assert "The model is claims/striped-32-small-cnn-s0." in text and trained == []


def test_it_can_be_stopped_and_what_there_was_is_kept(home: Path, claim: Claim, attacked: list[float | None],
                                                      trained: list[str]) -> None:
    stop = threading.Event()
    steps = trials(claim, 1, bench(home, Progress(cancel=stop)))
    for _ in range(1 + READ + 1):  # the network, all pictures, and a unit
        next(steps)
    stop.set()
    with pytest.raises(Cancelled):
        next(steps)
    known = len(attacked)
    measured(claim, home)
    assert trained == [] and known == READ + 1 and len(attacked) == UNITS


# ---- what is said of it


def test_a_claim_holds_where_it_must_and_not_where_it_cannot(home: Path, claim: Claim) -> None:
    found = measured(claim, home)
    nothing, much = contests(claim, found)
    assert (nothing.verdict, nothing.score) == (EQUAL, Score(0, 0))
    assert much.verdict == HOLDS
    assert much.score == Score(found[0].rows["strong"][1].success.sum(), 0)
    turned = replace(claim, contests=(("weak", "strong"),))
    assert [one.verdict for one in contests(turned, found)] == [EQUAL, CONTRARY]


def test_the_nearer_is_better_and_nothing_found_is_farthest(home: Path, claim: Claim) -> None:
    budgets = [{"norm": "l2", "batch": 3, "params": {"queries": queries}} for queries in (1, 40)]
    patient, hasty = entry("hopskipjump", budgets, "patient"), entry("hopskipjump", budgets[:1] * 2, "hasty")
    far = replace(claim, entries=(patient, hasty), contests=(("patient", "hasty"),), measure=NEARNESS)
    trial, = found = measured(far, home)
    alike, apart = contests(far, found)
    assert not trial.rows["hasty"][1].success.all() and alike.verdict == EQUAL  # infinite distances are equal
    assert apart.verdict == HOLDS and apart.score.worse == 0
    assert "inf" in section(far, found)
    seen = trial.rows["hasty"][1]
    ends = FARNESS.cell([seen])
    assert ends == f"{seen.l2.mean():.3f} / {np.median(seen.l2):.3f} ({seen.success.sum()} of {len(seen.l2)})"
    assert np.isinf(FARNESS.values(seen)).sum() == (~seen.success).sum()


@pytest.mark.parametrize(("better", "worse", "says"), [
    (0, 0, EQUAL), (1, 0, CHANCE), (5, 0, CHANCE), (6, 0, HOLDS), (0, 6, CONTRARY), (15, 6, CHANCE), (16, 5, HOLDS),
])
def test_chance_is_the_exact_test_s(better: int, worse: int, says: str) -> None:
    """Critical values of the two-sided sign test at 5 % as in tables: 6 of 6, 16 of 21."""
    assert Score(better, worse).verdict(LEVEL) == says


def known(claim: Claim, *networks: tuple[str, str]) -> list[Trial]:
    """Trials in which the strong and the weak fool ('x') the networks on known pictures."""
    class Known:
        def __init__(self, marks: str) -> None:
            self.success = np.array([mark == "x" for mark in marks])

    def both(marks: str) -> tuple[Rows, ...]:
        return (Known(marks),) * len(claim.budgets)  # type: ignore[return-value]

    return [Trial(("m",), tuple(range(len(strong))), {"strong": both(strong), "weak": both(weak)})
            for strong, weak in networks]


def test_the_same_picture_counts_once_with_however_many_networks(claim: Claim) -> None:
    """Five pictures, three networks that agree: 15 pairs in favour are five, which chance explains."""
    one, _ = contests(claim, known(claim, *[("xxxxx", ".....")] * 3))
    assert one.score == Score(5, 0) and one.verdict == CHANCE and one.holds_alone == 0
    one, _ = contests(claim, known(claim, *[("x" * 9, "." * 9)] * 2, ("." * 9, "x" * 9)))
    assert one.score == Score(9, 0) and one.verdict == HOLDS and one.holds_alone == 2
    one, _ = contests(claim, known(claim, ("x" * 9, "." * 9), ("." * 9, "x" * 9)))
    assert one.score == Score(0, 0) and one.verdict == EQUAL and one.holds_alone == 1


def test_the_more_is_compared_the_less_may_chance_do(claim: Claim) -> None:
    six = known(claim, ("xxxxxx", "......"))
    assert [one.verdict for one in contests(claim, six)] == [CHANCE, CHANCE]  # 3.1 % is more than half of 5 %
    alone = replace(claim, budgets=("nothing",))
    assert [one.verdict for one in contests(alone, six)] == [HOLDS]


def test_the_report_says_all_of_it(home: Path, claim: Claim) -> None:
    found = measured(claim, home, 2)
    text = section(claim, found)
    shares = [rows.success.mean() for trial in found for rows in (trial.rows["strong"][1],)]
    pooled = np.concatenate([trial.rows["strong"][1].success for trial in found]).mean()
    row = next(line for line in text.splitlines() if line.startswith("| strong |"))
    assert re.search(rf"\| {pooled:.1%} \(\d+% to \d+%\): {shares[0]:.0%}, {shares[1]:.0%} \|$", row), row
    better = contests(claim, found)[1].score.better
    assert f"| strong over weak | much | {better} | 0 | " in text and "| 2 of 2 | holds |" in text
    assert "Claim: the strong fools more than the weak (Goodfellow" in text
    assert "2 networks (Small CNN, trained on striped@32, 30 epochs" in text
    assert "Of 2: in 1 it holds, in 1 there is no difference." in text
    assert "Why not everywhere: without a budget nobody is strong." in text
    assert "shared out among 2" in text and "`python -m engine claims strong --seeds 2`" in text
    assert "`python -m engine claims strong`" in section(replace(claim, networks=2), found)


def test_why_a_claim_fails_is_not_told_of_one_that_holds(home: Path, claim: Claim) -> None:
    strong, weak = entry("fgsm", [MUCH], "strong"), entry("fgsm", [NOTHING], "weak")
    sure = replace(claim, budgets=("much",), entries=(strong, weak))
    text = section(sure, measured(sure, home))
    assert "Of 1: in 1 it holds." in text and "Why not" not in text


# ---- the command


def command(*more: str) -> list[str]:
    return ["claims", "strong", "--device", "cpu", "--seeds", "1", *more]


def test_the_command_prints_and_renews_its_own_section_alone(home: Path, claim: Claim, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "CLAIMS.md"
    kept = "# Mine\n\n<!-- other -->\nas it was\n<!-- /other -->\n"
    file.write_text(f"{kept}\n<!-- strong -->\nold\n<!-- /strong -->\n")
    assert main(command("--out", str(file))) == 0
    printed, written = capsys.readouterr().out, file.read_text()
    assert written == f"{kept}\n<!-- strong -->\n{printed.strip()}\n<!-- /strong -->\n"
    assert main(command("--out", str(tmp_path / "new.md"))) == 0
    new = (tmp_path / "new.md").read_text()
    assert new.startswith("# What the papers claim") and printed.strip() in new


def test_sections_are_written_as_claims_end(home: Path, claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    """The second claim cannot be measured; what the first one gave is not lost."""
    declared(monkeypatch, replace(claim, name="broken", target=Bundled("nobody/has-it")))
    file = tmp_path / "CLAIMS.md"
    assert main(["claims", "strong", "broken", "--seeds", "1", "--device", "cpu", "--out", str(file)]) == 2
    assert "## Strength" in file.read_text() and "<!-- broken -->" not in file.read_text()
    assert "unknown model 'nobody/has-it'" in capsys.readouterr().err


def test_json_is_one_object(home: Path, claim: Claim, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("--json")) == 0
    found, = json.loads(capsys.readouterr().out)["claims"]
    assert found["verdicts"] == {EQUAL: 1, HOLDS: 1} and found["contests"][1]["verdict"] == HOLDS
    assert found["networks"][0]["entries"]["strong"][1]["n"] == len(found["networks"][0]["indices"]) == 18


def test_the_list_names_every_claim_and_measures_none(home: Path, claim: Claim, trained: list[str],
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CLAIMS)
    assert main(["claims", "strong", "--list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["strong"] and trained == []


@pytest.mark.parametrize(("argv", "says"), [
    (["strang"], "did you mean: strong?"), (["strong", "--seeds", "0"], "--seeds must be at least 1"),
    (["--out", "."], "is a folder"), (["--out", "nul\0byte"], "no name of a file"), (["--out", "a" * 5000], "--out"),
    (["nonsign-kermany"], "nonsign-kermany cannot be measured: kermany is not here"),
    (["strong", "--device", "abacus"], "cpu"),
])
def test_bad_input_is_one_line(home: Path, claim: Claim, argv: list[str], says: str, trained: list[str],
                               monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PERTURBSCOPE_DATA", raising=False)
    assert main(["claims", *argv]) == 2
    out, err = capsys.readouterr()
    assert says in err and out == "" and trained == [], err
    assert sum(line.startswith("python -m engine: ") for line in err.splitlines()) == 1


KILLED = """
import os, signal
from engine.cli import main
from engine.data import DATASETS
from engine.data.base import DatasetEntry
from engine.experiments.claims import CLAIMS
from engine.work.store import Store
from engine.zoo.architectures import ARCHITECTURES, Architecture
from tests import nets
from tests.unit.test_claims import CLAIM, INFO, Striped
ARCHITECTURES.add("small-cnn", Architecture("small-cnn", "", "", "", nets.small_cnn, head="head", cam_layers=("conv",)))
DATASETS.add(INFO.name, DatasetEntry(INFO, Striped))
CLAIMS.add("strong", CLAIM)
put, kept = Store.put, []

def until(self, *arguments):
    put(self, *arguments)
    kept.append(arguments)
    if len(kept) == 8:
        os.kill(os.getpid(), signal.SIGKILL)

Store.put = until
main(["claims", "strong", "--device", "cpu", "--seeds", "1"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process is killed so there")
def test_a_command_that_is_killed_goes_on_where_it_was(home: Path, claim: Claim, trained: list[str], tmp_path: Path,
                                                       attacked: list[float | None], monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL and run.stdout == "", run.stderr
    assert main(command()) == 0
    again = capsys.readouterr().out
    assert trained == [] and len(attacked) == UNITS - 8
    shutil.copytree(home / "models", tmp_path / "other home" / "models")
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path / "other home"))
    assert main(command()) == 0
    assert capsys.readouterr().out == again


def test_a_section_alone_is_renewed(tmp_path: Path) -> None:
    file = tmp_path / "A.md"
    renew(file, "a", "first", "# Head\n")
    renew(file, "b", "second", "# Head\n")
    renew(file, "a", r"again \1 \g<0>", "# Another head\n")
    assert file.read_text() == ("# Head\n\n<!-- a -->\nagain \\1 \\g<0>\n<!-- /a -->\n\n"
                                "<!-- b -->\nsecond\n<!-- /b -->\n")
