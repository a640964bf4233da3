"""Hypothesis: the same cases at every run, and never a failure because a machine was slow.

HYPOTHESIS_PROFILE=more looks at ten times as many.
"""

import gc
import os

import pytest
from hypothesis import settings
from marking import pytest_itemcollected, pytest_runtest_call

__all__ = ["pytest_itemcollected", "pytest_runtest_call"]

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("more", settings.get_profile("ci"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="module")
def _nothing_to_collect() -> None:
    """Garbage of another file may hold descriptors; who counts its own begins without them."""
    gc.collect()
