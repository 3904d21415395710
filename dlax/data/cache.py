"""Where dlax keeps what it can make again: fetched data sets and compiled programs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The folder for everything that may be deleted and comes back by itself.

    `$DLAX_CACHE` when set; else `dlax` in `$XDG_CACHE_HOME`; else `~/.cache/dlax`. Nothing is created here:
    whoever writes makes the folder.

    Returns:
      An absolute path, which need not exist yet.
    """
    own = os.environ.get("DLAX_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification asks to ignore a relative path.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dlax"
