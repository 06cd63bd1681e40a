"""What a person looks at: tables."""
