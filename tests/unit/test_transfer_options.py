"""What the Transfer page offers as a file asks the command line for the same."""

from pathlib import Path

import pytest

from engine.attacks.spec import make_spec
from engine.cli import _parser, transfer
from engine.experiments.config import config_text
from engine.experiments.transfer import OTHERS, TOGETHER, ensembles, transfer_of
from pages.transferring.options import settings_of_transfer

MODELS = ("phantom-cxr/resnet18", "phantom-cxr/densenet121")
PGD = [make_spec("pgd", eps=eps, seed=seed, params={"steps": 3}) for eps in (1 / 255, 4 / 255) for seed in (0, 5)]
FAST = [make_spec("fgsm", eps=2 / 255, numerics="reference"), make_spec("bim", eps=2 / 255, numerics="reference")]


@pytest.mark.parametrize("attacks", [PGD, FAST, [make_spec("deepfool")], [make_spec("pgd", eps=0.7, norm="l2")]],
                         ids=["budgets and seeds", "attacks", "no budget", "l2"])
@pytest.mark.parametrize("sources", [MODELS, (*MODELS, *ensembles(MODELS, TOGETHER)), MODELS[:1]],
                         ids=["all", "ensemble", "one"])
def test_the_file_asks_for_the_same(attacks: list[object], sources: tuple[str, ...], tmp_path: Path) -> None:
    asked = transfer_of("phantom-cxr", "validation", (3, 17, 4), sources, MODELS, attacks)  # type: ignore[arg-type]
    file = tmp_path / "sweep.toml"
    file.write_text(config_text("transfer", settings_of_transfer(asked)))
    assert transfer._asked(_parser().parse_args(["transfer", "--config", str(file)])) == asked


def test_ensembles_are_called_the_same_by_command_and_engine() -> None:
    assert transfer.ENSEMBLES == (TOGETHER, OTHERS)
