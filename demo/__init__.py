"""The demo: real networks into a repository, a server, and the figures of Zeiler & Fergus 2013 through the client.

`python -m demo` (or `make demo`). Everything here speaks to the server over gRPC; no other room knows of it.
"""
