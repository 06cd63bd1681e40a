"""A generated corpus of reviews, for demonstrations and tests."""
