"""What one can ASK: one file per method, each a generator that yields results as they are ready; none knows gRPC."""
