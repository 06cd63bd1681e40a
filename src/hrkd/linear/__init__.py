"""TF-IDF with logistic regression: what a linear model makes of the whole texts, in seconds."""
