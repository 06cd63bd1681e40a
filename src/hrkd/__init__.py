"""hrkd."""
