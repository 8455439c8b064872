"""Read the file of one image."""

from __future__ import annotations

import os
import stat

from frfw.data.decode import BadImage

# A pipe is opened at once instead of waiting for somebody who writes to it, and then refused.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        BadImage: there is none, it cannot be read, or it is a folder, pipe or device.
    """
    try:
        descriptor = os.open(path, _FLAGS)
        with open(descriptor, "rb", buffering=0) as file:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file.read()
    except OSError as error:
        raise BadImage(f"it cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in its name
        raise BadImage(f"it cannot be read: {error}") from error
    raise BadImage("it is no regular file")
