"""The student before training: its layers, widths and first weights."""
