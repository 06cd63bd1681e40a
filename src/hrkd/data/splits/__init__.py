"""Which rows are train, dev and test, and which of them are used."""

from hrkd.data.splits.split import split_domains

__all__ = ["split_domains"]
