"""Text that is fit to be shown."""

LONGEST = 500  # letters of a message


def one_line(text: str, limit: int = LONGEST) -> str:
    r"""The text as one printable line of at most `limit` letters; what is too much goes from its
    middle. A file's names and values may be megabytes of anything.

    >>> one_line("a\x1b[2Jb\nc"), one_line("0123456789", 7)
    ('a\\x1b[2Jb\\nc', '0123…89')
    """
    if len(text) > limit:
        text = text[:limit] + "…" + text[-limit:]
    shown = escaped(text)
    if len(shown) <= limit:
        return shown
    end = (limit - 1) * 2 // 5
    return f"{shown[: limit - 1 - end]}…{shown[len(shown) - end :]}"


def escaped(text: str, keep: str = "") -> str:
    r"""The text with \x1b and the like for what cannot be printed, but for the letters to keep."""
    return "".join(
        letter
        if letter.isprintable() or letter in keep
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def short(value: object) -> str:
    """A value in a message: it may have come from a file, and be a megabyte of anything."""
    return one_line(repr(value), 100)
