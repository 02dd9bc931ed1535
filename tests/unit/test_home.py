"""Runs and models stay in the folders where they have been kept since the first version, on every platform."""

from pathlib import Path

import platformdirs
import pytest
from platformdirs import macos, unix, windows

from engine.home import home


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has set nothing."""
    for name in ("PERTURBSCOPE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def on(monkeypatch: pytest.MonkeyPatch, platform: str, folders: type) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(platformdirs, "PlatformDirs", folders)


def test_what_the_user_chose_wins(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(nobody / "data"))
    monkeypatch.setenv("PERTURBSCOPE_HOME", "~/mine")
    assert home() == nobody / "mine"


def test_linux(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "linux", unix.Unix)
    assert home() == nobody / ".local" / "share" / "perturbscope"
    monkeypatch.setenv("XDG_DATA_HOME", str(nobody / "data"))
    assert home() == nobody / "data" / "perturbscope"


@pytest.mark.parametrize("unusable", ["", "data"])
def test_a_data_folder_that_is_not_absolute_counts_as_not_set(nobody: Path, monkeypatch: pytest.MonkeyPatch,
                                                              unusable: str) -> None:
    """As the XDG specification says: runs must not land in whatever folder the dashboard was started from."""
    on(monkeypatch, "linux", unix.Unix)
    monkeypatch.setenv("XDG_DATA_HOME", unusable)
    assert home() == nobody / ".local" / "share" / "perturbscope"


def test_macos(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "darwin", macos.MacOS)
    kept = nobody / "Library" / "Application Support" / "perturbscope"
    assert home() == kept
    kept.mkdir(parents=True)
    monkeypatch.setenv("XDG_DATA_HOME", str(nobody / "data"))
    assert home() == kept, "what lies there is found again"


def test_windows(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "win32", windows.Windows)
    monkeypatch.setattr(windows, "_RESOLVE_WIN_FOLDER", windows.get_win_folder_from_env_vars)
    monkeypatch.setenv("LOCALAPPDATA", str(nobody / "AppData" / "Local"))
    assert home() == nobody / "AppData" / "Local" / "perturbscope"
