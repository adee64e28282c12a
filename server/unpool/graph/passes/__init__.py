"""What normalisation establishes, one pass per file; each says what it requires, what it does, and what holds afterwards."""
