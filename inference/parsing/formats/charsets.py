"""Charsets of texts that are not Unicode, by the names of the WHATWG Encoding Standard."""

import codecs
import re

HEAD = 4096
"""Bytes at the start of a file that are searched for its declaration; browsers search 1,024."""

XML = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([\w.:-]+)")
META = re.compile(rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)

WIDER = {
    "ascii": "cp1252",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}
"""What the standard reads instead of some charsets: supersets, which files in fact use."""

LEGACY = re.compile(
    r"cp125\d|cp866|cp874|cp932|cp949|iso8859-\d+|koi8-[ru]|mac-(roman|cyrillic)|"
    r"gb18030|big5hkscs|euc_jp|iso2022_jp"
)


def declared(data: bytes) -> str:
    """Return the charset that the start of an XML or HTML file declares, or an empty string."""
    head = data[:HEAD]
    found = XML.match(head) or META.search(COMMENT.sub(b"", head))
    return found[1].decode("ascii", "replace") if found else ""


def legacy_codec(charset: str) -> str | None:
    """Return Python's codec for a charset; None for Unicode's and unknown ones."""
    label = charset.strip().lower().removeprefix("x-")
    try:
        codec = codecs.lookup({"macintosh": "mac-roman"}.get(label, label)).name
    except (LookupError, ValueError):
        return None
    codec = WIDER.get(codec, codec)
    return codec if LEGACY.fullmatch(codec) else None
