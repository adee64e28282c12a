"""The verbs of the client: each file is one verb, a function whose parameters are the options of the command line."""
