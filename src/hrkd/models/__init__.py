"""Encoders, and what is read from them: traces, sizes, starts of students, loading of teachers."""
