"""Locust's command line, which alone says how Locust runs: ``python -m loadtests.run``.

Locust also reads ~/.locust.conf, locust.conf and LOCUST_* variables. Somebody's settings for other tests must not change or
break a run here.
"""

from __future__ import annotations

import os
import sys
from typing import Any

for _name in [name for name in os.environ if name.startswith("LOCUST_")]:
    del os.environ[_name]  # before Locust is imported: it reads some of them then

from locust import argument_parser  # noqa: E402 - as above
from locust.main import main  # noqa: E402 - as above

_Parser = argument_parser.LocustArgumentParser


def without_files(*arguments: Any, **options: Any) -> Any:
    """Locust's parser, which reads no files."""
    return _Parser(*arguments, **{**options, "default_config_files": []})


argument_parser.LocustArgumentParser = without_files

if __name__ == "__main__":
    sys.exit(main())
