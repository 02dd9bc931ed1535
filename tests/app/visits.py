"""Visits to the pages about whole data sets, without a browser."""

from collections.abc import Mapping

from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from engine.work.jobs import State, jobs
from tests.app.test_pages import APP, SECONDS


def opened(page: str, **query: str) -> AppTest:
    """That page as a link opens it, drawn once."""
    app = AppTest.from_file(str(APP), default_timeout=SECONDS)
    app.switch_page(f"pages/{page}.py")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


def finished(app: AppTest) -> AppTest:
    """Once everything that the page has asked for is there, and what it asked for then, pictures included."""
    for _ in range(3):
        for job in list(jobs()._jobs.values()):
            assert job.wait(3 * SECONDS).state in (State.DONE, State.CANCELLED), job.error  # others run beside it
        app.run()
        assert not app.exception, app.exception
    return app


def model(app: AppTest) -> Selectbox[str]:
    """Explore's box for the model."""
    return next(box for box in app.selectbox if box.label == "Model")


def words(app: AppTest) -> dict[str, str]:
    """What a browser shows in every box for one choice, by the box's id."""
    return {state.id: state.string_value for state in app._tree.get_widget_states().widgets
            if state.WhichOneof("value") == "string_value"}


def sent(app: AppTest, held: Mapping[str, str]) -> AppTest:
    """The page once more with what a browser `held`, by the id of a box or plot."""
    states = app._tree.get_widget_states()
    kept = [state for state in states.widgets if state.id not in held]
    del states.widgets[:]
    states.widgets.extend([*kept, *(WidgetState(id=id, string_value=text) for id, text in held.items())])
    app._run(states)
    assert not app.exception, app.exception
    return app
