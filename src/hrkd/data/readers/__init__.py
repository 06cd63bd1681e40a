"""From files, folders and data sets to chunks of rows, and from rows to tables."""
