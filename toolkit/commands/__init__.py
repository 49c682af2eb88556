"""The verbs of the command line, a module a topic. Each imports what it needs when it runs."""
