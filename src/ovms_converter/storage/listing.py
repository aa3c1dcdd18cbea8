"""What obstore's listings need: an end, and a prefix that every server reads as it was signed."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ovms_converter.errors import UnavailableError

if TYPE_CHECKING:
    from obstore import ObjectMeta

__all__ = ["ending", "next_page", "plainly_written"]

LISTING_SECONDS = 120
"""How long a listing may bring nothing: versioned buckets have empty pages, but not without end."""
_FORM_LETTERS = frozenset(" *~")
"""What HTML's forms write as `+`, `*` and `%7E`, and a signature as `%20`, `%2A` and `~`."""

T = TypeVar("T")


async def ending(answer: Awaitable[T], where: str) -> T:
    """What a listing of `where` brings. obstore asks for page after page as long as all of them are empty."""
    try:
        return await asyncio.wait_for(answer, LISTING_SECONDS)
    except asyncio.TimeoutError:
        raise UnavailableError(
            f"the listing of `{where}` brings nothing, and does not end",
            hint="another client may show what is there; name a prefix further down",
        ) from None


async def next_page(pages: AsyncIterator[Sequence["ObjectMeta"]]) -> Sequence["ObjectMeta"]:
    """The next page, an empty one after the last. `anext` with a default does not get along with obstore."""
    async for page in pages:
        return page
    return ()


def plainly_written(prefix: str) -> str:
    """The directories at the beginning of a prefix whose letters every client writes alike in a query."""
    plain = itertools.takewhile(lambda part: not _FORM_LETTERS & set(part), prefix.split("/"))
    return "/".join(plain)
