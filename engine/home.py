"""Where runs and trained models are kept on this machine."""

import os
import sys
from pathlib import Path

from platformdirs import user_data_path

_NAME = "perturbscope"


def home() -> Path:
    """PERTURBSCOPE_HOME, or the platform's user data folder."""
    if chosen := os.environ.get("PERTURBSCOPE_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin" and (kept := Path.home() / "Library" / "Application Support" / _NAME).is_dir():
        return kept  # also where XDG_DATA_HOME, which platformdirs follows on macOS too, was set later on
    return user_data_path(_NAME, appauthor=False)
