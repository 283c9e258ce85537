"""`python -m jbg` is `jbg`."""

import sys

from jbg.cli.main import main

sys.exit(main())
