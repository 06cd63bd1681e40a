"""The student in other forms: made, held against the student, and only then put in place."""
