"""Options from a TOML file: read as the command line's own, which go before them."""

import argparse
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.parser import Parser, add_config
from engine.errors import EngineError
from engine.experiments.config import config_text, read_config, settings_of

PRINTABLE = st.text(st.characters(exclude_categories=("Cs",)))
SETTINGS = st.one_of(st.booleans(), st.integers(-2**63, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False),
                     PRINTABLE)


def parser() -> Parser:
    made = Parser(prog="engine sweep")
    made.add_argument("--dataset", required=True)
    made.add_argument("--attack", required=True)
    made.add_argument("--limit", type=int)
    made.add_argument("--index", type=int, nargs="+")
    made.add_argument("--max-queries", type=int)
    made.add_argument("--set", nargs="+", action="extend", default=[])
    made.add_argument("--seed", default="0")
    made.add_argument("--json", action="store_true")
    add_config(made)
    return made


def parsed(tmp_path: Path, text: str, *argv: str) -> argparse.Namespace:
    file = tmp_path / "sweep.toml"
    file.write_text(text, encoding="utf-8")
    return parser().parse_args(["--config", str(file), *argv])


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, *argv: str) -> str:
    with pytest.raises(SystemExit) as stop:
        parsed(tmp_path, text, *argv)
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and not out and len(err.splitlines()) == 1
    return err


def test_a_file_gives_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    found = parsed(tmp_path, 'dataset = "d"\nattack = ["fgsm", "pgd"]\nmax_queries = 5\njson = true\nset = ["a=1"]\n',
                   "--seed", "3", "--set", "a=2")
    assert (found.dataset, found.attack, found.max_queries, found.json) == ("d", "fgsm,pgd", 5, True)
    assert found.seed == "3" and found.set == ["a=1", "a=2"]


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    assert parsed(tmp_path, 'dataset = "d"\nattack = "fgsm"\nlimit = 4\n', "--limit", "2", "--attack=pgd").limit == 2


def test_other_images_on_the_command_line_overrule_the_files(tmp_path: Path) -> None:
    found = parsed(tmp_path, 'dataset = "d"\nattack = "fgsm"\nindex = [4, 5]\n', "--lim", "2")
    assert found.index is None and found.limit == 2


def test_an_abbreviated_config_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('dataset = "d"\nattack = "fgsm"\n')
    assert parser().parse_args([f"--conf={file}"]).attack == "fgsm"


def test_what_is_required_is_required_still(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "--attack" in refused(capsys, tmp_path, 'dataset = "d"\n')
    with pytest.raises(SystemExit):
        parser().parse_args(["--dataset", "d"])


@pytest.mark.parametrize(("text", "says"), [
    ("limt = 3", "limit"),
    ("config = 'other.toml'", "unknown option"),
    ("limit = 'many'", "--limit"),
    ("json = 1", "true or false"),
    ("[attack]\nname = 1", "'attack'"),
    ("dataset = ", "no TOML file"),
    ("index = [1, [2]]", "'index'"),
])
def test_a_bad_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str) -> None:
    assert says in refused(capsys, tmp_path, text, "--dataset", "d", "--attack", "fgsm")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "sweep.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match="--config"):
        read_config(str(file))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z-]*", fullmatch=True), st.one_of(SETTINGS, st.lists(SETTINGS))))
@settings(deadline=None)
def test_what_is_written_is_read_again(said: dict[str, object]) -> None:
    assert tomllib.loads(config_text("evaluate", said)) == said  # type: ignore[arg-type]


def test_what_was_said_comes_back_from_its_file(tmp_path: Path) -> None:
    argv = ["--dataset", "d", "--attack", "fgsm,pgd", "--index", "0", "3", "--set", "steps=2", "--json"]
    asked = parser().parse_args(argv)
    found = parsed(tmp_path, config_text("sweep", settings_of(vars(asked))))
    assert {**vars(found), "config": None, "json": True} == vars(asked)


def test_a_name_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(EngineError, match="rename"):
        config_text("evaluate", {"dataset": "folder:\udcff"})
