"""One file a verb, thin: read the command line, call the rooms below, print a summary."""
