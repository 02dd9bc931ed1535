"""What attacks do to the models that come with it, as the tables of a document."""

from pathlib import Path

import pytest

from engine.attacks.spec import make_spec
from engine.cli import main
from engine.data import DATASETS, phantom
from engine.experiments.evaluation.declared import TABLES, Table, section
from engine.zoo.registry import model_card
from tests import nets
from tests.rows import rows

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_what_is_declared_is_there_and_has_its_place(table: Table) -> None:
    assert table.dataset in DATASETS and model_card(table.model).classes
    readme = (ROOT / "README.md").read_text()
    assert readme.count(f"<!-- {table.name} -->") == readme.count(f"<!-- /{table.name} -->") == 1


def test_a_section_says_what_the_rows_say() -> None:
    after = [rows([0, 0, 0, 1], [0, 0, 0, 0], said, spec=make_spec("pgd", eps=eps / 255))
             for eps, said in ((0.5, [0, 0, 1, 0]), (2, [1, 1, 1, 0]))]
    text = section(Table(name="a", dataset="kermany", model="m", images="pictures", attacks=("pgd",), budgets=(0.5, 2),
                         limit=4), after)
    assert "`m` on 4 pictures (seed 0, cpu; in brackets the 95 % interval)" in text
    assert "before the attack 75.0 % (30.1 to 95.4) right" in text
    assert "| PGD-10 | 0.5/255 | 50.0 % (15.0 to 85.0) | 50.0 % (15.0 to 85.0) |" in text
    assert "| PGD-10 | 2/255 | 0.0 % (0.0 to 49.0) | 0.0 % (0.0 to 49.0) |" in text
    assert "saving helps" not in text
    assert "--dataset kermany --model m --attack pgd --eps 0.5/255,2/255 --limit 4\n" in text


def test_the_command_renews_the_table_s_own_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    nets.register(monkeypatch)
    nets.kept(tmp_path / "m.safetensors", classes=phantom.CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    small = Table(name="small", dataset="phantom-cxr", model=str(tmp_path / "m.safetensors"), images="phantoms",
                  attacks=("fgsm",), budgets=(0, 8), limit=2)
    monkeypatch.setitem(TABLES._items, small.name, small)
    file = tmp_path / "A.md"
    file.write_text("# Mine\n\n<!-- small -->\nold\n<!-- /small -->\n\nas it was\n")
    assert main(["tables", "small", "--device", "cpu", "--out", str(file)]) == 0
    printed = capsys.readouterr().out.strip()
    assert printed.count("\n| FGSM | ") == 2 and "on 2 phantoms" in printed
    assert file.read_text() == f"# Mine\n\n<!-- small -->\n{printed}\n<!-- /small -->\n\nas it was\n"
