"""One run from options to results: what `jbg run NAME` finds, one folder for each family of systems."""
