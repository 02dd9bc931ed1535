"""Models trained here are renamed, deleted and had back; bundled ones are not."""

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.zoo import keeping
from engine.zoo.registry import load_model, models
from tests import nets


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(tmp_path))
    nets.register(monkeypatch)
    nets.kept(tmp_path / "models" / "my" / "net.safetensors", outputs=2, classes=("a", "b"), name="my/net")
    return tmp_path


def own() -> list[str]:
    return [entry.name for entry in models() if not entry.bundled]


def test_a_model_is_renamed_deleted_and_had_back(home: Path) -> None:
    weights = load_model("my/net").digest
    keeping.rename("my/net", "better/net-2")
    assert own() == ["better/net-2"] and load_model("better/net-2").digest == weights
    keeping.discard("better/net-2")
    (gone,) = keeping.discarded()
    assert own() == [] and gone.name == "better/net-2"
    nets.kept(home / "models" / "better" / "net-2.safetensors", outputs=2, classes=("a", "b"), name="again")
    with pytest.raises(EngineError, match="again; rename that one first"):
        keeping.restore(gone)
    keeping.rename("better/net-2", "other")
    keeping.restore(gone)
    assert sorted(own()) == ["better/net-2", "other"] and not keeping.discarded()


def test_what_was_deleted_too_long_ago_is_gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping.discard("my/net")
    monkeypatch.setattr(keeping, "KEPT_FOR", -1.0)
    assert not keeping.discarded()
    keeping.tidy()
    assert not list((home / "models-trash").iterdir())


@pytest.mark.parametrize(("new", "line"), [("../out", "cannot be called"), ("", "cannot be called"),
                                           ("phantom-cxr/resnet18", "there is a model"), ("/x", "cannot be called")])
def test_names_that_lead_elsewhere_or_are_taken_are_refused(home: Path, new: str, line: str) -> None:
    with pytest.raises(EngineError, match=line):
        keeping.rename("my/net", new)
    with pytest.raises(EngineError, match="unknown model of your own"):
        keeping.discard("phantom-cxr/resnet18")
    assert own() == ["my/net"]


def test_half_a_change_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = keeping.os.replace

    def fails(source: Path, to: Path) -> None:
        if str(source).endswith(".safetensors"):
            raise PermissionError(13, "Permission denied")
        replace(source, to)

    monkeypatch.setattr(keeping.os, "replace", fails)
    with pytest.raises(EngineError, match=r"could not be moved \(Permission denied\)"):
        keeping.rename("my/net", "other")
    assert own() == ["my/net"]
