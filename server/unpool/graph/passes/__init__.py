"""What normalisation establishes, one pass per file; each says what it requires, does and ensures."""
