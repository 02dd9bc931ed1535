"""Where runs and trained models are kept on this machine."""

import os
import sys
from pathlib import Path


def expanded(name: str) -> Path:
    """A path as a user writes it: ~ is the home folder; a ~somebody that nobody is called stays as it is."""
    return Path(os.path.expanduser(name))


def home() -> Path:
    """PERTURBSCOPE_HOME, or the platform's user data folder."""
    if chosen := os.environ.get("PERTURBSCOPE_HOME"):
        return expanded(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "perturbscope"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "perturbscope"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "perturbscope"
