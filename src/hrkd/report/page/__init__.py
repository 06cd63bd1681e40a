"""The page of a run: one HTML file of figures and tables, without scripts and without anything from elsewhere."""
