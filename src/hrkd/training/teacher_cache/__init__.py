"""What the teacher says of every training row, computed once and kept on disk."""
