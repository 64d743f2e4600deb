"""`python -m otp` is the `otp` command."""

import sys

from otp.cli import main

if __name__ == "__main__":
    sys.exit(main())
