"""A conversion that is stopped from outside, with a server that never finishes its answer."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def endless_server() -> Iterator[tuple[int, threading.Event]]:
    """An HTTP server that begins to send a large file and stops there; tells when it has begun."""
    begun = threading.Event()
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\nAccept-Ranges: none\r\n\r\n\x08\x07"
                )
                begun.set()
                over.wait(60)

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1], begun
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("number", "times", "code"),
    [(signal.SIGTERM, 1, 143), (signal.SIGINT, 1, 130), (signal.SIGTERM, 2, 143)],
)
def test_a_stopped_run_says_so_and_leaves_nothing(
    number: signal.Signals, times: int, code: int, tmp_path: Path
) -> None:
    scratch, output = tmp_path / "scratch", tmp_path / "output"
    scratch.mkdir()
    with endless_server() as (port, begun):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ovms_converter", "convert", f"http://127.0.0.1:{port}/model.onnx"),
                *(str(output), "--result-file", str(tmp_path / "url")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(scratch)},
        )
        assert begun.wait(60)
        for _ in range(times):
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert err.splitlines()[-1].startswith(("error: interrupted", "error: stopped by a signal"))
    assert "Traceback" not in err
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "url").exists()
    assert not list(output.rglob("*.xml"))
