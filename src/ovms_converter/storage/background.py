"""Run coroutines to their end: from ordinary code, in a thread of its own, so that a signal is handled at
once; and several side by side.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from ovms_converter.storage.native_threads import rest_before_exit

__all__ = ["Budget", "all_of", "in_thread", "run"]

T = TypeVar("T")
P = ParamSpec("P")

_LOOK_UP_SECONDS = 0.2


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of `work()`.

    The caller only waits, which works inside a running event loop too (a notebook's). What interrupts the
    wait, a signal handler's exception above all, cancels the work, and is raised when the work has stopped.
    """
    rest_before_exit()
    results: list[T] = []
    errors: list[BaseException] = []
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = []
    started, finished = threading.Event(), threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(work())
        running.append((asyncio.get_running_loop(), task))
        started.set()
        results.append(await task)

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 (it is raised in the caller's thread)
            errors.append(error)
        finally:
            started.set()
            finished.set()

    worker = threading.Thread(target=thread, name="storage")
    try:
        worker.start()
        # A wait without an end would miss a signal that the system delivers to another thread.
        while not finished.wait(_LOOK_UP_SECONDS):
            pass
    except BaseException:
        # Interrupted while it starts, the thread may never come to life.
        while not started.wait(_LOOK_UP_SECONDS) and worker.is_alive():
            pass
        for loop, task in running:
            # A loop that has closed meanwhile has nothing left to cancel.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(task.cancel)
        if worker.is_alive():
            worker.join()
        raise
    worker.join()
    if errors:
        raise errors[0]
    return results[0]


async def in_thread(function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """The result of a call that waits for a server, made in a thread that nobody waits for.

    Whoever is cancelled meanwhile goes on at once, and the process ends without it: of an executor's threads
    both would wait until the server's silence has lasted too long.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast("T", result))

    def work() -> None:
        result, failure = None, None
        try:
            result = function(*args, **named)
        except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
            failure = error
        # Of a loop that has closed meanwhile, nobody awaits it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=work, name="storage-request", daemon=True).start()
    return await answer


async def all_of(jobs: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Run all; when one fails, stop the others and raise its error."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        for task in asyncio.as_completed(tasks):
            await task
    finally:
        for unfinished in tasks:
            unfinished.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Budget:
    """So many bytes and no more are held at once; whoever wants some waits in line."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._condition = asyncio.Condition()

    @contextlib.asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes of the budget for the block."""
        async with self._condition:
            await self._condition.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            async with self._condition:
                self._free += size
                self._condition.notify_all()
