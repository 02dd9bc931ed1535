"""Where runs and trained models are kept on this machine."""

import os
import sys
from pathlib import Path

from platformdirs import user_data_path

_NAME = "perturbscope"


def expanded(name: str) -> Path:
    """A path as a user writes it: ~ is the home folder; a ~somebody that nobody is called stays as it is."""
    return Path(os.path.expanduser(name))


def home() -> Path:
    """PERTURBSCOPE_HOME, or the platform's user data folder."""
    if chosen := os.environ.get("PERTURBSCOPE_HOME"):
        return expanded(chosen)
    if sys.platform == "darwin" and (kept := Path.home() / "Library" / "Application Support" / _NAME).is_dir():
        return kept  # also where XDG_DATA_HOME, which platformdirs follows on macOS too, was set later on
    return user_data_path(_NAME, appauthor=False)
