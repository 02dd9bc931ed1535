"""requirements.txt names exactly what the engine and the pages import, each pinned."""

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = {"engine", "pages", "app"}


def imported() -> set[str]:
    """The top-level names of every absolute import in app.py, pages/ and engine/, wherever in the file it stands."""
    found: set[str] = set()
    for path in (ROOT / "app.py", *ROOT.glob("engine/**/*.py"), *ROOT.glob("pages/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - OWN - set(sys.stdlib_module_names)


# Imported where it is asked for, and told where it is not there; in a list of its own.
OPTIONAL = {"ray"}
# Not imported by name: pydicom finds them and decodes with them.
PLUGINS = {"python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls"}


def required() -> dict[str, str]:
    """Lower-case distribution name -> the whole line."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return {re.split(r"[=<>~! ;\[]", line)[0].lower(): line for line in lines if line}


def test_every_requirement_is_pinned() -> None:
    loose = [line for line in required().values() if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", line)]
    assert not loose


def test_every_import_is_required_and_every_requirement_imported() -> None:
    providers = packages_distributions()
    used = {providers[name][0].lower() if name in providers else name for name in imported() - OPTIONAL}
    assert used | PLUGINS == set(required())


# What a machine that only computes may lack: pages, downloads, reports, and what reads and writes special DICOM files.
ABSENT = ("streamlit", "plotly", "requests", "fpdf", "matplotlib", "dicognito", "pylibjpeg", "gdcm", "ray")
ALONE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))  # importing any of them fails
import engine, engine.cli, engine.experiments, engine.attacks.runner
assert len(engine.load_dataset("phantom-cxr", "test")) == 450
"""


def test_the_engine_computes_without_what_only_pages_reports_and_files_need() -> None:
    subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, check=True)
