"""Which rows are train, dev and test, and which of them are used."""
