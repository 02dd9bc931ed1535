"""Visits to the pages about whole data sets, without a browser."""

from streamlit.testing.v1 import AppTest

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
