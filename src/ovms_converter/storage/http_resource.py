"""One file behind a URL: what it is, and any range of its bytes through broken connections."""

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from ovms_converter.errors import LocationError
from ovms_converter.storage.http_client import Answer, HttpClient, Refused, told
from ovms_converter.storage.http_digest import expected_digests
from ovms_converter.storage.http_head import Head
from ovms_converter.storage.http_retry import Broken, Patience
from ovms_converter.storage.http_url import HttpUrl

__all__ = ["Resource"]

_PROBE_BYTES = 64 << 10

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Resource:
    """A file at `url`. `secret_headers` are sent to that server only; `shown` names the file in errors."""

    def __init__(
        self, client: HttpClient, url: HttpUrl, secret_headers: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self.limits = client.limits
        self._url = url
        self._secret_headers = secret_headers
        self._head: Head | None = None
        self.shown = str(url)

    def head(self, probe: int = _PROBE_BYTES, interrupted: threading.Event | None = None) -> Head:
        """The first answer: a GET of the first `probe` bytes, as HEAD is refused on presigned URLs.

        Raises `NotFoundError`, `AccessDeniedError`, `LocationError` or `UnavailableError`.
        """
        if self._head is None:
            patience = self.patience(interrupted)
            while self._head is None:
                try:
                    self._head = self._probe(probe, patience)
                except Broken as broken:  # noqa: PERF203 - a network is slower than a try
                    patience.failed(broken)
        return self._head

    @property
    def reads_parts(self) -> bool:
        """Whether a part of the file can be asked for, by its end as well."""
        head = self.head()
        return head.ranges and head.size is not None

    @property
    def mark(self) -> str | None:
        """What `is_still` knows these bytes by: a strong ETag that lasts, and where a redirect led.

        None if there is none, or the file was not asked for yet, or the redirect's query may choose the file.
        """
        head = self._head
        if head is None or head.lasting_etag is None:
            return None
        if head.url == self._url:
            return head.lasting_etag
        if head.url.query and not head.url.is_only_signed:
            return None
        return f"{head.lasting_etag} at {head.url}"

    def is_still(self, mark: str) -> bool:
        """Whether the file is still what had this mark. A server that ignores the condition sends one byte.

        False also where it refuses; `head` then says why. Raises `UnavailableError`.
        """
        etag, _, place = mark.partition(" at ")
        asked = {"if-none-match": etag, "range": "bytes=0-0"}
        patience = self.patience(None)
        while True:
            try:
                answer = self._client.once(self._url, asked, secret_headers=self._secret_headers)
            except Refused as refused:  # noqa: PERF203 - a network is slower than a try
                return refused.status == 304 and str(refused.url) == (place or str(self._url))
            except Broken as broken:
                patience.failed(broken)
            else:
                with answer:
                    same_place = str(answer.url) == (place or str(self._url))
                    return same_place and answer.headers.get("etag") == etag

    def is_at(self, url: HttpUrl) -> bool:
        """Whether this is the file at `url`."""
        return self._url == url

    def read(self, start: int, length: int | None) -> bytes:
        """Up to `length` bytes from `start`, all of the rest if it is None. Raises as `head` does."""
        head = self.head()
        stop = None if length is None else start + length
        if head.size is not None:
            stop = head.size if stop is None else min(stop, head.size)
        if head.delimited and stop is not None and stop <= len(head.start):
            return head.start[start:stop]
        pieces: list[bytes] = []
        wanted = length
        # Where no size is told, the end may come before `stop`.
        for chunk in self.chunks(start, None if head.size is None else stop):
            pieces.append(chunk if wanted is None else chunk[:wanted])
            if wanted is not None:
                wanted -= len(pieces[-1])
                if wanted <= 0:
                    break
        return b"".join(pieces)

    def chunks(
        self, start: int, stop: int | None, interrupted: threading.Event | None = None
    ) -> Iterator[bytes]:
        """The bytes from `start` up to `stop` in order, taken up again where a connection broke.

        `stop` None means to the end, which is then as far as the server tells: a connection that just closes
        is told from a broken one by reading the file a second time. Raises `LocationError` if the file
        changes meanwhile.
        """
        head = self.head()
        # Where every try begins with the first byte, and no strong ETag tells that the file is the same.
        seen = None if head.ranges or "if-match" in head.validator else hashlib.sha256()
        begun = start
        first = head.start[start:stop] if head.delimited else b""
        if first:
            if seen:
                seen.update(first)
            yield first
            start += len(first)
        if stop is None:
            stop = head.size
        patience = self.patience(interrupted)
        ended = False
        while stop is None or start < stop:
            moved = 0
            try:
                with self._open(start, stop, head) as answer:
                    if answer is None:
                        return
                    patience.check()  # whoever interrupts breaks off what is open by then
                    if seen and start > begun:
                        pieces = self._confirmed(_beyond(answer, begun, stop), start - begun, seen.digest())
                    else:
                        pieces = _beyond(answer, start, stop)
                    for piece in pieces:
                        patience.check()
                        moved += len(piece)
                        start += len(piece)
                        if seen:
                            seen.update(piece)
                        yield piece
            except Broken as broken:
                patience.failed(broken, moved)
                continue
            if stop is None:
                if head.delimited or (ended and not moved):
                    return
                ended = True
            elif start < stop:
                patience.failed(Broken(f"the body ended after {start} of {stop} bytes"), moved)

    def _confirmed(self, pieces: Iterator[bytes], known: int, digest: bytes) -> Iterator[bytes]:
        """What comes after `known` bytes that were handed on before, once they are seen to be the same again.

        Raises `LocationError` if they are not.
        """
        again = hashlib.sha256()
        for piece in pieces:
            old, new = piece[:known], piece[known:]
            if known:
                again.update(old)
                known -= len(old)
                if not known and again.digest() != digest:
                    raise _changed(self.shown)
            if new:
                yield new

    def forget_start(self) -> None:
        """Keep no bytes of it: those of many files would fill the memory."""
        if self._head is not None:
            self._head = replace(self._head, start=b"")

    def forget(self) -> None:
        """Ask for everything once more: the first bytes may be damaged ones."""
        self._head = None

    def patience(self, interrupted: threading.Event | None) -> Patience:
        """How often another try is made; a set `interrupted` ends it."""
        return Patience(self.limits, self.shown, interrupted)

    def _probe(self, probe: int, patience: Patience) -> Head:
        answer = self._ask({"range": f"bytes=0-{probe - 1}"})
        if answer is None:  # not a single byte is there, or the server does not like ranges
            answer = self._ask({})
        assert answer is not None, "a refusal of no range is no answer"
        with answer:
            patience.check()
            pieces: list[bytes] = []
            got = 0
            size, last = answer.length, None
            if answer.status == 206:
                first, last, size = self._content_range(answer)
                if first != 0:
                    raise LocationError(f"`{self.shown}` answers with another range than was asked for")
            for chunk in answer.chunks(min(probe, _PROBE_BYTES)):
                pieces.append(chunk)
                got += len(chunk)
                if got >= probe:
                    break
            else:
                if last is not None and got != last + 1:
                    raise Broken("the connection ended too early")
            start = b"".join(pieces)[:probe]
            # A range that ends before the probe does is the whole file, even where its length is told as `*`.
            if answer.status == 206 and size is None and got < probe:
                size = got
            return Head(
                url=answer.url,
                size=size,
                etag=answer.headers.get("etag") or None,
                modified=answer.headers.get("last-modified") or None,
                ranges=answer.status == 206,
                start=start,
                delimited=answer.length is not None or "transfer-encoding" in answer.headers,
                digests=expected_digests(answer.headers, whole=answer.status == 200),
                date=answer.headers.get("date") or None,
            )

    @contextmanager
    def _open(self, start: int, stop: int | None, head: Head) -> Iterator[Answer | None]:
        """The file from `start` on (a 206), or all of it where the server knows no ranges (a 200).

        None if `start` turns out to be the end of a file whose size was not told.
        """
        asked: dict[str, str] = {}
        if head.ranges and (start or stop != head.size):
            asked["range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            asked.update(head.validator)
        answer = self._ask(asked)
        if answer is None and stop is None:
            yield None
            return
        if answer is None:
            raise LocationError(
                f"`{self.shown}` is shorter than its server told before",
                hint="run again when nobody writes the file; if it stays so, the server tells a wrong length",
            )
        with answer:
            self._compare(answer, head, start)
            yield answer

    def _compare(self, answer: Answer, head: Head, start: int) -> None:
        """Raise `LocationError` if this answer is about other content than the first one was."""
        size = answer.length if answer.status == 200 else None
        if answer.status == 206:
            first, _, size = self._content_range(answer)
            if first != start:
                raise LocationError(f"`{self.shown}` answers with another range than was asked for")
        etag, modified = answer.headers.get("etag") or None, answer.headers.get("last-modified") or None
        changed = (
            (head.etag and etag and etag != head.etag)
            or (not head.etag and head.modified and modified and modified != head.modified)
            or (head.size is not None and size is not None and size != head.size)
        )
        if changed:
            raise _changed(self.shown)

    def _ask(self, asked: Mapping[str, str]) -> Answer | None:
        """One try at the place where the file was last found, else at the URL itself; None for a 416."""
        known = self._head.url if self._head is not None else self._url
        try:
            try:
                answer = self._client.once(known, asked, secret_headers=self._secrets_for(known))
            except Refused as refused:
                # The place that a redirect led to may be signed for a short time only.
                if known == self._url or refused.status not in {400, 401, 403, 404, 410}:
                    raise
                answer = self._client.once(self._url, asked, secret_headers=self._secret_headers)
        except Refused as refused:
            if refused.status == 416 and "range" in asked:
                return None
            if refused.status == 412:
                raise _changed(self.shown) from None
            raise told(refused, self.shown) from None
        self._refuse_encoding(answer)
        if "range" in asked and _is_part(answer):
            answer.status = 206
        return answer

    def _secrets_for(self, url: HttpUrl) -> Mapping[str, str] | None:
        return self._secret_headers if url.origin == self._url.origin else None

    def _refuse_encoding(self, answer: Answer) -> None:
        """Raise where the body is compressed though that was refused, unless the file itself is that."""
        encoding = answer.headers.get("content-encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            return
        # Apache and object stores label an archive this way: its bytes are what is wanted.
        if encoding in {"gzip", "x-gzip"} and self._url.path.lower().endswith((".gz", ".tgz")):
            return
        answer.response.close()
        raise LocationError(
            f"`{self.shown}` comes with `Content-Encoding: {encoding[:40]}` although that was refused",
            hint="store the file as it is, without a content encoding",
        )

    def _content_range(self, answer: Answer) -> tuple[int, int | None, int | None]:
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        if match is None or match[1] is None:
            raise LocationError(f"`{self.shown}` answers with a part, but does not tell which")
        return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])


def _is_part(answer: Answer) -> bool:
    """Whether a 200 is a part all the same, as of `rclone serve s3`: taken for the whole, it would be cut."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    if answer.status != 200 or match is None or match[1] is None:
        return False
    size = int(match[2]) - int(match[1]) + 1
    return answer.length == size and match[3] != str(size)


def _beyond(answer: Answer, start: int, stop: int | None) -> Iterator[bytes]:
    """The bytes from `start` to `stop` of an answer that begins there, or of a 200 that begins at 0."""
    position = start if answer.status == 206 else 0
    for chunk in answer.chunks():
        begin, position = position, position + len(chunk)
        piece = chunk[max(0, start - begin) : None if stop is None else max(0, stop - begin)]
        if piece:
            yield piece
        if stop is not None and position >= stop:
            return
    if position < start:
        raise Broken("the connection ended too early")


def _changed(shown: str) -> LocationError:
    return LocationError(f"`{shown}` changed while it was read", hint="run again when nobody writes to it")
