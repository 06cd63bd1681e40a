"""Marks for cases that go the way of others in `make test` and take their time: they wait for `make test-slow`."""

import pytest

slow = pytest.mark.slow


def slowly(*cases):
    """Cases for ``parametrize``; those of several arguments are tuples."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=slow) for case in cases]
