"""`python -m ballot`: the same as the command `ballot`."""

import sys

from ballot.cli import main

sys.exit(main())
