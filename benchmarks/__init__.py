"""Speed and memory beside a peer in one run: ratios, never absolute times, and beside what arithmetic allows."""
