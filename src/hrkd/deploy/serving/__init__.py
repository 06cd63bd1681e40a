"""A student behind HTTP: questions that come together are answered together."""
