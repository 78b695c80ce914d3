"""Types of command-line values; their errors say what is allowed."""

import argparse


def positive_int(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed (must be a whole number of at least 1)")
    return int(text)


def seed_list(text: str) -> tuple[int, ...]:
    """Distinct whole numbers in 0..2^32-1, with commas between them: `0,1,2`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) < 2**32 for word in words) or len(set(map(int, words))) < len(words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of seeds (must be distinct whole numbers, like 0,1,2)")
    return tuple(map(int, words))


def two_counts(text: str) -> tuple[int, int]:
    """Two whole numbers of at least 1, with a comma between them: `40,10`."""
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(word.isdecimal() and int(word) >= 1 for word in words):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed (must be two whole numbers of at least 1, like 40,10)"
        )
    return int(words[0]), int(words[1])
