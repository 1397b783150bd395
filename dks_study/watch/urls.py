"""Passwords in the URLs of databases and servers: kept out of every message."""

import re


def without_password(url: str) -> str:
    """Return `url` with *** for its password."""
    return re.sub(r"(://[^/@:]*):.*@", r"\1:***@", url)


def error_line(error: Exception, url: str) -> str:
    """Return the first line of the error at the bottom, without the password of `url`."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    lines = (str(error) or type(error).__name__).strip().splitlines()
    password = re.search(r"://[^/@:]*:(.*)@", url)
    return lines[0].replace(password.group(1), "***") if password and password.group(1) else lines[0]
