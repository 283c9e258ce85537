"""`python -m jbg` is `jbg`."""

from jbg.cli import main

main()
