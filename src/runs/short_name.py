"""Names cut to the length that W&B and file systems allow."""

import hashlib

_RESERVED = str.maketrans(dict.fromkeys("/\\#?%:", "-"))


def short_name(text: str, limit: int) -> str:
    """Return a text unchanged if it has at most `limit` bytes, else its beginning and a hash of the whole.

    The limit holds for bytes of UTF-8, and therefore for characters, too. Different texts stay different.

    Example:
        >>> short_name("seed=0", 20), short_name("model.depth=50 seed=0", 20)
        ('seed=0', 'model.depth-737d3bb2')
    """
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{encoded[: limit - len(digest) - 1].decode(errors='ignore')}-{digest}"


def group_name(text: str, limit: int) -> str:
    """Return a text as name of a W&B group: cut as by `short_name`, and without the characters / \\ # ? % :.

    Example:
        >>> group_name("sweep", 20), group_name("a:b", 20)
        ('sweep', 'a-b-6783a31e')
    """
    plain = text.translate(_RESERVED)
    if plain == text:
        return short_name(text, limit)
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return short_name(f"{plain}-{digest}", limit)
