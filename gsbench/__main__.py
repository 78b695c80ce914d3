"""`python -m gsbench`: the command, where its script is not on the path."""

import sys

from gsbench.cli import main

sys.exit(main())
