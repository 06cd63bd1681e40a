"""From files to padded batches: labelled text of several domains."""
