"""How values MOVE: sessions and capture forward, the reverse walk and its policies, the torch executor, devices and memory."""
