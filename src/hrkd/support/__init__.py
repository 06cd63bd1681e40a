"""What everything else leans on: files in one step, words for messages, tables of text, progress."""
