"""python -m tapsdk"""

import sys

from tapsdk.cli import main

sys.exit(main())
