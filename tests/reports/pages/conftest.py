"""What the tests of pages share."""

from collections.abc import Iterator

import pytest

from tests.reports.pages.browser import driver as driver
from tests.reports.pages.browser import opened as opened


@pytest.fixture(autouse=True, scope="module")
def short_script(request: pytest.FixtureRequest) -> Iterator[None]:
    """Plotly's script is 5 MB, which only a browser needs."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name != "test_in_browser.py":
            patch.setattr("start_training.reports.pages.page_file.get_plotlyjs", lambda: "const Plotly = {};")
        yield
