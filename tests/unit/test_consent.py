"""Which paths a link may open without a question."""

import os
from pathlib import Path

import pytest

from pages.ui import consent


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """data/x is a folder; data/out leads out of data, data/round back into it, door leads in from elsewhere."""
    for name in ("data/x", "database/x", "secret/x"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "data" / "round").symlink_to(tmp_path / "data" / "x")
    (tmp_path / "door").symlink_to(tmp_path / "data")
    return tmp_path


def test_only_what_lies_in_a_folder_is_within_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(place / "data")
    monkeypatch.chdir(place / "data")
    for inside in (data, f"{data}/", f"{data}/x", f"{data}/not there yet", f"{data}/x/../x/.", f"{data}/round", "x",
                   ".", f"{place}/secret/../data/x"):
        assert consent.within(inside, [data]), inside
    for outside in (f"{place}/database/x", f"{data}/..", f"{data}/../secret", f"{data}/x/../../secret", f"{data}/out",
                    f"{data}/out/x", f"{data}/out/../secret/x", str(place), "/", "../secret", f"{place}/door/x",
                    f"{data}\0", "~root", "~root/x", "./~root", ".//~root/x", "~/x", "./~/x", ""):
        assert outside == "" or not consent.within(outside, [data]), outside
    assert not consent.within(f"{data}/x", [])


def test_a_folder_may_be_named_by_a_link_to_it_or_from_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = str(place / "door")
    for inside in (door, f"{door}/x", f"{place}/data/x"):
        assert consent.within(inside, [door]), inside
    assert not consent.within(f"{door}/out", [door])
    monkeypatch.setenv("HOME", str(place))
    for inside in ("~/data/x", "./~/data/x", f"{place}/data/x"):
        assert consent.within(inside, ["~/data"]), inside
    assert not consent.within("~/secret", ["~/data"])


def test_nothing_outside_is_looked_at(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = watched(monkeypatch)
    secret = str(place / "secret")
    for path in (secret, f"{secret}/x", f"{place}/data/../secret/x", "~root/x", "/mnt/far/x"):
        assert not consent.within(path, [str(place / "data")])
    assert looked, "the folders that are named are followed"
    assert not [path for path in looked if path.startswith((secret, "/mnt", "~"))]


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that anybody looks at from now on."""
    looked: list[str] = []

    def watch(name: str) -> None:
        real = getattr(os, name)

        def watching(path: object, *args: object, **options: object) -> object:
            looked.append(str(path))
            return real(path, *args, **options)

        monkeypatch.setattr(os, name, watching)

    for name in ("stat", "lstat", "readlink", "listdir", "scandir", "open"):
        watch(name)
    return looked


def test_folders_are_named_by_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.FOLDERS, os.pathsep.join([str(place / "data"), "", str(place / "database")]))
    monkeypatch.delenv("PERTURBSCOPE_DATA", raising=False)
    monkeypatch.setenv("PERTURBSCOPE_HOME", str(place / "home"))
    for inside in ("data/x", "database/x", "home/models/my/net.safetensors"):
        consent.check(str(place / inside))
    for outside in ("secret", "home/runs", "home"):
        with pytest.raises(consent.Unopened) as raised:
            consent.check(str(place / outside))
        assert raised.value.path == str(place / outside)
    monkeypatch.setenv("PERTURBSCOPE_DATA", str(place / "secret"))
    consent.check(str(place / "secret" / "x"))
    with pytest.raises(consent.Unopened):
        consent.check(".")
