"""URLs of folders in buckets and on servers, as they may be told: without what logs somebody in."""


def shown(url: str) -> str:
    """Return `url` without keys and options: neither belongs into a log."""
    scheme, mark, rest = url.partition("?")[0].rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
