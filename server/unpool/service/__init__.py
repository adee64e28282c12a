"""The gRPC edge: handlers that know no transport, messages to and from Python, the scheduler, limits, errors and logs.

Nothing is imported here: the command line asks for ``unpool.service.command`` where its libraries may be missing.
"""
