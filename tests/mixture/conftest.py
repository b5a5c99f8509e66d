"""Fixtures of the tests of the mathematics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread_for_small_matrices() -> Iterator[None]:
    """Threads of a matrix product of 20 columns cost more than they give, and several times as
    much on a machine that is busy."""
    with threadpool_limits(1):
        yield
