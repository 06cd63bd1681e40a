"""Methods against each other: the runs of a grid, and the report on them."""
