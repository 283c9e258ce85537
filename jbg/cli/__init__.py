"""The command line ``jbg``."""
