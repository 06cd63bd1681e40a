"""The next batch is made while the present one is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order, each made in a thread of its own while the one before it is in use.

    What making an item raises is raised where it would have been given.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="hrkd-ahead") as thread:
        following = thread.submit(_take, items)
        while taken := following.result():
            following = thread.submit(_take, items)
            yield taken[0]


def _take(items: Iterator[Item]) -> tuple[()] | tuple[Item]:
    for item in items:
        return (item,)
    return ()
