"""A language made on the fly, as `make messages` compiles one: messages in a file, and nothing else."""

import struct
from collections.abc import Mapping
from pathlib import Path

HEADER = "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=n != 1;\n"


def add_language(folder: Path, *, code: str, messages: Mapping[str, str]) -> None:
    """Write the messages, by their English text, into the compiled catalog of a language below `folder`.

    The format is GNU gettext's: a head, then two tables of (length, offset), of texts sorted by the first.
    """
    pairs = sorted((key.encode(), text.encode()) for key, text in {"": HEADER, **messages}.items())
    start = 7 * 4 + 2 * 8 * len(pairs)
    tables: list[bytes] = []
    texts = b""
    for column in (0, 1):
        for pair in pairs:
            tables.append(struct.pack("<II", len(pair[column]), start + len(texts)))
            texts += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    file = folder / code / "LC_MESSAGES" / "django.mo"
    file.parent.mkdir(parents=True)
    file.write_bytes(head + b"".join(tables) + texts)
