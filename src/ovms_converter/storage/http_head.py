"""What the first answer tells about a file behind a URL."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime

from ovms_converter.storage.bucket import quoted_etag
from ovms_converter.storage.http_url import HttpUrl

__all__ = ["Head", "looks_like_html"]

_SETTLED = timedelta(seconds=2)
_HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)[\s>]", re.I | re.S
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Head:
    """What the first answer tells about a file.

    `size` in bytes, None if it is not told; `ranges` whether parts of it can be asked for; `start` its first
    bytes; `delimited` whether a body that was cut can be told from one that is whole; `date` when the answer
    was made, by the server's clock.
    """

    url: HttpUrl
    size: int | None
    etag: str | None
    modified: str | None
    ranges: bool
    start: bytes = field(repr=False)
    delimited: bool
    digests: Mapping[str, bytes]
    date: str | None = None

    @property
    def validator(self) -> dict[str, str]:
        """`If-Match` where there is a strong ETag, else `If-Range` with the date, else nothing."""
        if self.etag and not self.etag.startswith("W/"):
            return {"if-match": self.etag}
        return {"if-range": self.modified} if self.modified else {}

    @property
    def tag(self) -> str | None:
        """Whatever changes with the content: the ETag, or the date."""
        return self.etag or self.modified

    @property
    def lasting_etag(self) -> str | None:
        """The strong ETag, unless the file may change once more and keep it.

        Servers make ETags of the second in which a file was written: one that is as young as the answer is
        not strong yet (RFC 9110, 8.8.2.2).
        """
        etag = quoted_etag(self.etag)
        if etag is None or self.modified is None:
            return etag
        try:
            written, answered = (parsedate_to_datetime(text) for text in (self.modified, self.date or ""))
            return etag if answered - written >= _SETTLED else None
        except (TypeError, ValueError, OverflowError):
            return None  # no date, or one of the two without a time zone


def looks_like_html(start: bytes) -> bool:
    """True if these first bytes are those of a web page."""
    return _HTML.match(start.removeprefix(_BYTE_ORDER_MARK)) is not None
