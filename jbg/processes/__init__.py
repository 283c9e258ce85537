"""Several processes that do one run together: where each stands, who watches them, and who writes."""

WORKER = "JBG_WORKER"  # variable that makes a process a worker (`guard`), with what it has to know
