"""The file that hands the URL to the next step."""

import os
import threading
from pathlib import Path

import pytest

from ovms_converter.errors import AccessDeniedError, LocationError
from ovms_converter.workflow.results import check_result_file, write_result

URL = "s3://bucket/models/ovms"

as_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_the_file_holds_the_url_and_nothing_else(tmp_path: Path) -> None:
    write_result(tmp_path / "url", URL)
    assert (tmp_path / "url").read_bytes() == URL.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["url"]
    assert (tmp_path / "url").stat().st_mode & 0o777 == 0o644


def test_an_old_result_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("something much longer than a URL could ever be, " * 9)
    path.chmod(0o606)
    write_result(path, URL)
    assert path.read_text() == URL
    assert path.stat().st_mode & 0o777 == 0o606


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_result(tmp_path / "link", URL)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == URL


def test_a_pipe_receives_the_url(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    write_result(pipe, URL)
    reader.join()
    assert received == [URL]


def test_the_directory_is_made(tmp_path: Path) -> None:
    check_result_file(tmp_path / "a" / "b" / "url")
    write_result(tmp_path / "a" / "b" / "url", URL)
    assert (tmp_path / "a" / "b" / "url").read_text() == URL


def test_a_check_leaves_no_file(tmp_path: Path) -> None:
    check_result_file(tmp_path / "url")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="is a directory"):
        check_result_file(tmp_path)


def test_a_file_in_the_way_of_the_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocationError, match=r"not a directory|file exists"):
        check_result_file(tmp_path / "file" / "url")


def test_a_directory_that_is_gone_at_the_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(LocationError, match="no such file or directory"):
        write_result(tmp_path / "gone" / "url", URL)


@as_a_user
def test_a_directory_that_is_not_ours_is_told_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(AccessDeniedError, match="not writable"):
        check_result_file(tmp_path / "url")


@as_a_user
def test_a_writable_file_in_a_closed_directory_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "termination-log").write_text("old and longer than the new one, which is a URL")
    tmp_path.chmod(0o555)
    check_result_file(tmp_path / "termination-log")
    write_result(tmp_path / "termination-log", URL)
    assert (tmp_path / "termination-log").read_text() == URL
