"""What is found in labelled text before a run: coded findings, with counts and examples."""
