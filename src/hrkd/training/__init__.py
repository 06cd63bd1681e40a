"""One loop, the steps it runs, and what it writes down."""
