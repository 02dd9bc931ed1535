"""What the Transfer page offers as a file asks the command line for the same."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.attacks.spec import make_spec
from engine.cli import _parser, transfer
from engine.data import phantom
from engine.experiments.config import config_text
from engine.experiments.runs.repeating import asked as said
from engine.experiments.runs.repeating import command
from engine.experiments.transfers.transfer import OTHERS, TOGETHER, as_asked, ensembles, transfer_of
from pages.running.links import texts
from pages.transferring.options import settings_of_transfer

MODELS = ("phantom-cxr/resnet18", "phantom-cxr/densenet121")
PGD = [make_spec("pgd", eps=eps, seed=seed, params={"steps": 3}) for eps in (1 / 255, 4 / 255) for seed in (0, 5)]
SOME = [make_spec("fgsm", eps=2 / 255, numerics="reference"),
        make_spec("bim", eps=2 / 255, numerics="reference", params={"steps": 4})]
EACH = (pytest.mark.parametrize("attacks", [PGD, SOME, [make_spec("deepfool")], [make_spec("pgd", eps=0.7, norm="l2")]],
                                ids=["budgets and seeds", "attacks", "no budget", "l2"]),
        pytest.mark.parametrize("sources", [MODELS, (*MODELS, *ensembles(MODELS, TOGETHER)), MODELS[:1]],
                                ids=["all", "ensemble", "one"]))


def each(test: Callable[..., None]) -> Callable[..., None]:
    for mark in EACH:
        test = mark(test)
    return test


@each
def test_the_file_asks_for_the_same(attacks: list[object], sources: tuple[str, ...], tmp_path: Path) -> None:
    asked = transfer_of("phantom-cxr", "validation", (3, 17, 4), sources, MODELS, attacks)  # type: ignore[arg-type]
    file = tmp_path / "sweep.toml"
    file.write_text(config_text("transfer", settings_of_transfer(asked)))
    assert transfer._asked(_parser().parse_args(["transfer", "--config", str(file)])) == asked


@each
def test_the_command_of_a_kept_run_asks_for_the_same(attacks: list[object], sources: tuple[str, ...]) -> None:
    asked = transfer_of("phantom-cxr", "validation", (3, 17, 4), sources, MODELS, attacks)  # type: ignore[arg-type]
    words = shlex.split(command("transfer", asked, phantom.CLASSES))
    assert words[:3] == ["python", "-m", "engine"]
    assert transfer._asked(_parser().parse_args(words[3:])) == asked


def test_a_link_to_the_page_names_sources_and_ensembles() -> None:
    whole = transfer_of("phantom-cxr", "test", (3,), (*MODELS[::-1], *ensembles(MODELS[::-1], TOGETHER)), MODELS, PGD)
    what = said(whole)
    assert what is not None
    found = texts(what, "auto")
    assert (found["sources"], found["ensemble"]) == (",".join(MODELS[::-1]), TOGETHER)


def test_every_kind_of_ensemble_is_known_again() -> None:
    models = ("a", "b", "c")
    for kind in (TOGETHER, OTHERS):
        assert as_asked((*models, *ensembles(models, kind))) == (models, kind)
    assert as_asked(models) == (models, "")


def test_ensembles_are_called_the_same_by_command_and_engine() -> None:
    assert transfer.ENSEMBLES == (TOGETHER, OTHERS)
