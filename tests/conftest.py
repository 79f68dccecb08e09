"""Options of the whole suite, and its cache."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write the expected texts anew")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of our own, so that what is tested is compiled from the sources that are tested; one for all, so that a
    kernel is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFGRAPH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
