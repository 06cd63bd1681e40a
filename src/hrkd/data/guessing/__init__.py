"""Which column of a table is what, told by what is in it, and a little by its name."""
