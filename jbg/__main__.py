"""`python -m jbg` is `jbg`."""

import sys

from jbg.cli import main

sys.exit(main())
