"""``python -m medimg`` is the command ``medimg``."""

import sys

from medimg.cli import main

if __name__ == "__main__":
    sys.exit(main())
