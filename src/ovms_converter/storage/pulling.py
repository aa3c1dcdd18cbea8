"""Large parts of an object from the socket into the file, in threads of our own.

obstore hands every chunk over through the event loop, which is what limits where a store sends a gigabyte a
second. Only what goes well goes this way: at the first trouble whoever asked goes on with obstore, which
repeats, and tells what is wrong.
"""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ovms_converter.errors import ConverterError
from ovms_converter.storage.background import in_thread
from ovms_converter.storage.bucket import quoted_etag
from ovms_converter.storage.disk import write_at
from ovms_converter.storage.heads import S3Server
from ovms_converter.storage.receiving import Segment, Wanted

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["S3Puller"]

_READ = 4 << 20
"""Bytes that are read at a time: fewer cost turns of Python's lock."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class S3Puller:
    """See `Puller`; of a server that speaks S3's protocol."""

    def __init__(self, server: S3Server) -> None:
        self._server = server

    async def pull(
        self, wanted: Wanted, segment: Segment, handle: int, arrived: Callable[[int], None]
    ) -> None:
        """See `Puller.pull`."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        answers: list[BaseHTTPResponse] = []

        def told(count: int) -> None:
            # Of a loop that has closed meanwhile, nobody listens.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(arrived, count)

        def work(own: int) -> None:
            try:
                self._pull(wanted, segment, own, told, stop, answers)
            finally:
                os.close(own)

        try:
            # A thread that nobody waits for any more must not write to another file of that number.
            await in_thread(work, os.dup(handle))
        except BaseException:
            stop.set()
            for answer in answers:
                # One that has ended has no connection any more; urllib3 says so in three ways.
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    answer.shutdown()
            raise

    def _pull(
        self,
        wanted: Wanted,
        segment: Segment,
        handle: int,
        told: Callable[[int], None],
        stop: threading.Event,
        answers: "list[BaseHTTPResponse]",
    ) -> None:
        from urllib3.exceptions import HTTPError

        asked = {"range": f"bytes={segment.position}-{segment.end - 1}"}
        if wanted.entry.etag:
            asked["if-match"] = wanted.entry.etag
        url = self._server.url(wanted.key)
        try:
            answer = self._server.pool.request(
                "GET",
                url,
                headers=self._server.headers("GET", url, asked),
                redirect=False,
                retries=False,
                preload_content=False,
            )
        except (ConverterError, HTTPError, OSError, ValueError):
            return
        answers.append(answer)
        try:
            if not _is_what_was_asked(answer, wanted, segment):
                return
            while segment.position < segment.end and not stop.is_set():
                try:
                    data = answer.read(min(_READ, segment.end - segment.position), decode_content=False)
                except (HTTPError, OSError, ValueError):
                    return
                if not data or stop.is_set():
                    return
                segment.position = write_at(handle, data, segment.position)
                told(len(data))
        finally:
            # A connection with unread bytes on it is of no use to the next request.
            if segment.position < segment.end:
                answer.close()
            else:
                answer.release_conn()


def _is_what_was_asked(answer: "BaseHTTPResponse", wanted: Wanted, segment: Segment) -> bool:
    """Whether an answer holds just the bytes of the segment, of just that object."""
    range_told = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    etag = quoted_etag(answer.headers.get("etag"))
    return (
        answer.status == 206
        and range_told is not None
        and [int(number) for number in range_told.groups()]
        == [segment.position, segment.end - 1, wanted.size]
        and (not wanted.entry.etag or not etag or etag == wanted.entry.etag)
        and not answer.headers.get("content-encoding")
    )
