"""What a page shows on opening, in a home in which nothing was computed: a stored example, and all of it at once."""

import pytest

from engine.experiments.openings import DEVICE, OPENINGS
from engine.experiments.runs.kept import run_kinds
from engine.work.jobs import jobs
from tests.app.visits import opened

pytestmark = pytest.mark.usefixtures("own_home")

PLOTS = {"evaluate": 6, "epsilon": 6, "transfer": 2, "blackbox": 2, "defend": 1}


@pytest.mark.parametrize("page", PLOTS)
def test_an_example_stands_there_at_once_and_is_called_one(page: str) -> None:
    app = opened(page, device=DEVICE)
    said = [caption.value for caption in app.caption]
    assert not app.error and len(app.get("plotly_chart")) == PLOTS[page]
    assert any(line.startswith("A stored example that came with Perturbscope: computed on 20") and "torch" in line
               and "**Run** computes it" in line for line in said), f"no example: python -m engine examples; {said}"
    declared = {task.key for task in OPENINGS[page]()}
    asked = {job.key for job in jobs()._jobs.values() if job.task.kind in run_kinds()}
    assert asked and asked <= declared, "something else was asked for than comes with the program"
    assert jobs().store.search().total == 0, "an example is nobody's run"
