"""Is the source still what it was? Over HTTP, through MLflow, and whatever anybody does to a bucket."""

import asyncio
import contextlib
import hashlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conversions import Conversions
from http_servers import FaultyServer, Page, run_faulty
from ovms_converter import acquisition
from ovms_converter.acquisition import Acquisition, SourceState
from ovms_converter.errors import ConverterError, NotFoundError
from ovms_converter.events import Stage
from ovms_converter.record import hashed
from ovms_converter.request import Given, build_request
from ovms_converter.storage.base import Entry, Progress
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.http_head import Head
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.location import Location
from ovms_converter.storage.objectstore import ObjectSource
from ovms_converter.storage.receiving import Puller
from ovms_converter.storage.store_errors import SourceChangedError, StoreNames

ARTIFACTS = Path(__file__).parent.parent / "data" / "mlflow"
MODEL = (ARTIFACTS / "1.30.1-onnx" / "model" / "model.onnx").read_bytes()
EXTERNAL = ARTIFACTS / "3.18.0-onnx-external" / "model"
WEIGHTS = "e2b5e39e-e679-11f1-b152-02fc00000001.data"


@pytest.fixture
def site() -> Iterator[FaultyServer]:
    with run_faulty() as server:
        yield server


@pytest.fixture
def convert(tmp_path: Path) -> Conversions:
    return Conversions(str(tmp_path / "served"))


def ran_again(convert: Conversions, site: FaultyServer, url: str) -> bool:
    """Whether a second run had to read the model; it must find that it is the same in any case."""
    assert convert(url).published
    site.sent = 0
    assert not convert(url).published
    return site.sent > 0


def test_a_server_that_says_304_sends_nothing(site: FaultyServer, convert: Conversions) -> None:
    for path in ("model.onnx", WEIGHTS):
        site.pages[f"/{path}"] = Page((EXTERNAL / path).read_bytes(), etag=f'"{path[:5]}"')
    assert not ran_again(convert, site, site.url("/model.onnx"))
    assert convert.stages == []


def test_weights_beside_the_graph_are_asked_for_too(site: FaultyServer, convert: Conversions) -> None:
    for path in ("model.onnx", WEIGHTS):
        site.pages[f"/{path}"] = Page((EXTERNAL / path).read_bytes())
    convert(site.url("/model.onnx"))
    page = site.pages[f"/{WEIGHTS}"]
    page.body, page.etag = bytes([page.body[0] ^ 1]) + page.body[1:], '"v2"'
    assert convert(site.url("/model.onnx")).version == 2


def test_an_index_page_is_read_and_its_files_are_not(site: FaultyServer, convert: Conversions) -> None:
    links = "".join(f'<a href="{path.name}">{path.name}</a>' for path in sorted(EXTERNAL.iterdir()))
    site.pages["/model/"] = Page(
        f"<html><title>Index of /model/</title><body>{links}</body></html>".encode(), etag=None
    )
    for path in EXTERNAL.iterdir():
        site.pages[f"/model/{path.name}"] = Page(path.read_bytes())
    assert convert(site.url("/model/")).published
    site.asked.clear()
    site.sent = 0
    assert not convert(site.url("/model/")).published
    assert site.sent == sum(len(site.pages[ask.path].body) for ask in site.asked if ask.path == "/model/")


def test_a_model_that_the_tracking_server_finds_elsewhere_counts_by_its_own_place(
    site: FaultyServer, convert: Conversions
) -> None:
    resolution = "/api/2.0/mlflow/model-versions/get-download-uri"
    for name, model in (("a", MODEL), ("b", (EXTERNAL / "model.onnx").read_bytes())):
        site.pages[f"/{name}/model.onnx"] = Page(model)
    site.pages[f"/b/{WEIGHTS}"] = Page((EXTERNAL / WEIGHTS).read_bytes())
    convert.environ["MLFLOW_TRACKING_URI"] = site.url()
    site.pages[resolution] = Page(json.dumps({"artifact_uri": site.url("/a/model.onnx")}).encode())
    assert convert("models:/net/1").published
    site.sent = 0
    assert not convert("models:/net/1").published
    assert site.sent == len(site.pages[resolution].body)
    site.pages[resolution].body = json.dumps({"artifact_uri": site.url("/b/model.onnx")}).encode()
    assert convert("models:/net/1").version == 2


@pytest.mark.parametrize(
    "page",
    [
        Page(MODEL, etag='W/"v1"'),
        Page(MODEL, etag=None),
        Page(MODEL, etag='""'),
        Page(MODEL, modified="yesterday"),
    ],
    ids=["weak", "none", "empty", "no date"],
)
def test_what_does_not_tell_that_bytes_are_equal_is_not_believed(
    page: Page, site: FaultyServer, convert: Conversions
) -> None:
    site.pages["/model.onnx"] = page
    assert ran_again(convert, site, site.url("/model.onnx"))
    assert convert.record()["source"]["state"] is None


@given(
    etag=st.sampled_from(['"v1"', 'W/"v1"', '""', "v1", None]),
    modified=st.none()
    | st.text(max_size=12)
    | st.integers(0, 1 << 33).map(formatdate)
    | st.sampled_from(["Mon, 01 Jan 2024 00:00:00 -0000", "Mon, 01 Jan 0001 00:00:00 +2359"]),
    date=st.none() | st.text(max_size=12) | st.just(formatdate(1_700_000_000, usegmt=True)),
)
def test_whatever_a_server_says_of_times_an_etag_is_believed_or_not(
    etag: str | None, modified: str | None, date: str | None
) -> None:
    url = HttpUrl.parse("http://host/model.onnx")
    head = Head(url, 1, etag, modified, True, b"", True, {}, date)
    assert head.lasting_etag in (None, '"v1"')
    if etag != '"v1"' and etag != "v1":
        assert head.lasting_etag is None


def test_a_file_that_may_change_once_more_in_this_very_second_is_not_believed(
    site: FaultyServer, convert: Conversions
) -> None:
    site.pages["/model.onnx"] = Page(MODEL)
    site.pages["/model.onnx"].on_request = lambda page: setattr(page, "modified", formatdate(usegmt=True))
    convert(site.url("/model.onnx"))
    assert convert.record()["source"]["state"] is None


def test_an_etag_of_a_file_that_has_settled_is_believed(site: FaultyServer, convert: Conversions) -> None:
    site.pages["/model.onnx"] = Page(MODEL, modified=formatdate(1_700_000_000, usegmt=True))
    assert not ran_again(convert, site, site.url("/model.onnx"))


def test_a_redirect_that_leads_elsewhere_is_noticed_though_the_etag_is_the_same(
    site: FaultyServer, convert: Conversions
) -> None:
    site.pages["/latest.onnx"] = Page(redirect="/1.onnx")
    site.pages["/1.onnx"] = Page(MODEL)
    site.pages["/2.onnx"] = Page((ARTIFACTS / "2.9.2-onnx-external/model/model.onnx").read_bytes())
    assert not ran_again(convert, site, site.url("/latest.onnx"))
    site.pages["/latest.onnx"].redirect = "/2.onnx"
    with pytest.raises(ConverterError):  # its weights are not there
        convert(site.url("/latest.onnx"))


def test_a_query_that_chooses_the_file_is_no_place(site: FaultyServer, convert: Conversions) -> None:
    site.pages["/model.onnx"] = Page(MODEL)
    assert ran_again(convert, site, site.url("/model.onnx?file=a&token=hunter2"))
    assert "hunter2" not in json.dumps(convert.record())


def test_a_link_that_was_signed_anew_leads_to_the_same_file(site: FaultyServer, convert: Conversions) -> None:
    site.pages["/model.onnx"] = Page(MODEL)
    assert convert(site.url("/model.onnx?X-Amz-Expires=60&X-Amz-Signature=aa")).published
    site.sent = 0
    assert not convert(site.url("/model.onnx?X-Amz-Expires=60&X-Amz-Signature=bb")).published
    assert site.sent == 0


@pytest.mark.parametrize(
    ("query", "signed"),
    [
        ("X-Goog-Signature=a&X-Goog-Date=b", True),
        ("sv=1&sr=b&sp=r&sig=a", True),
        ("", False),
        ("X-Amz-Signature=a&versionId=7", False),
        ("sig=a&sr=b&snapshot=1", False),
        ("id=3", False),
    ],
)
def test_a_query_is_a_signature_and_nothing_else(query: str, signed: bool) -> None:
    assert HttpUrl.parse(f"https://host/model.onnx?{query}").is_only_signed is signed


class Memory:
    """A bucket in memory; `tag` makes an ETag of an object's content and of how many were written before."""

    names = StoreNames("s3://bucket", "http://store", None, "")
    ranges = True
    puller: Puller | None = None

    def __init__(self, by_content: bool) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.reads = 0
        self._by_content = by_content
        self._count = itertools.count()

    def write(self, key: str, data: bytes) -> None:
        tag = hashlib.md5(data).hexdigest() if self._by_content else str(next(self._count))
        self.objects[key] = data, f'"{tag}"'

    async def head(self, key: str) -> Entry | None:
        return self._entry(key) if key in self.objects else None

    async def list(self, prefix: str) -> list[Entry]:
        return [self._entry(key) for key in self.objects if key.startswith(f"{prefix}/")]

    async def children(self, prefix: str) -> Sequence[str]:
        start = f"{prefix}/" if prefix else ""
        names = {key.removeprefix(start).partition("/")[0] for key in self.objects if key.startswith(start)}
        return sorted(names)

    async def stream(
        self, key: str, start: int, end: int, entry: Entry, chunk: int = 1
    ) -> AsyncIterator[bytes]:
        self.reads += 1
        await asyncio.sleep(0)
        data, etag = self.objects[key]
        if etag != entry.etag:
            raise SourceChangedError("changed")
        yield data[start:end]

    async def whole(self, key: str, entry: Entry) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def put(self, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        raise NotImplementedError

    async def put_file(self, key: str, path: Path, progress: Progress) -> str | None:
        raise NotImplementedError

    async def copy(self, key: str, target: str) -> None:
        raise NotImplementedError

    async def delete(self, keys: Sequence[str]) -> None:
        raise NotImplementedError

    async def checksum(self, key: str, entry: Entry) -> Checksum | None:
        return None

    async def confirmed(self, key: str, entry: Entry, checksum: Checksum) -> Checksum | None:
        return None

    def _entry(self, key: str) -> Entry:
        data, etag = self.objects[key]
        return Entry(key, len(data), etag)


class Unheard:
    """A meter that nobody reads."""

    def __call__(self, count: int, /) -> None:
        pass

    def expect(self, total: int | None) -> None:
        pass


@contextlib.contextmanager
def no_stage(
    stage: Stage, detail: str = "", total: int | None = None, *, in_place: bool = False
) -> Iterator[Unheard]:
    yield Unheard()


names = st.sampled_from(["model.onnx", WEIGHTS, "MLmodel", "other.onnx", "notes.txt", "deep/model.onnx"])
contents = st.sampled_from(
    [
        MODEL,
        MODEL[:-1] + bytes([MODEL[-1] ^ 1]),
        (EXTERNAL / "model.onnx").read_bytes(),
        (EXTERNAL / WEIGHTS).read_bytes(),
        bytes(len(MODEL)),
        b"",
        b"flavors: {onnx: {data: model.onnx}}\n",
    ]
)
trees = st.dictionaries(names, contents, min_size=1, max_size=4)
"""Files of a model, some of them damaged, of the same size, empty, or beside the point."""
changes = st.lists(st.tuples(names, st.none() | contents), max_size=3)
"""A new content, or None to remove the file."""


class Reader:
    """Acquisitions of one URL from a bucket in memory."""

    def __init__(self, bucket: Memory, url: str) -> None:
        given = {"input_model": url, "output_model": "/out"}
        self.request = build_request({name: Given(value, "argument") for name, value in given.items()})
        self.bucket = bucket

    def acquisition(self) -> Acquisition:
        def opened(location: Location, environ: Mapping[str, str]) -> ObjectSource:
            return ObjectSource(location, self.bucket)

        with mock.patch.object(acquisition, "open_source", opened):
            return Acquisition(self.request, {})

    def result(self) -> tuple[object, SourceState | None]:
        """The model with the digests of its files, and the state; None twice for what is no model."""
        reader = self.acquisition()
        with tempfile.TemporaryDirectory() as directory:
            try:
                reader.look()
                model, tree = reader.fetch(Path(directory, "source"), no_stage)
            except ConverterError:
                return None, None
            files = hashed(tree)
        return (model, sorted((file.path, file.sha256) for file in files)), reader.state()


@settings(max_examples=200, deadline=None)
@given(trees, changes, st.booleans(), st.sampled_from(["s3://bucket/model", "s3://bucket/model/model.onnx"]))
def test_no_change_that_matters_passes_for_none(
    tree: dict[str, bytes], changed: list[tuple[str, bytes | None]], by_content: bool, url: str
) -> None:
    bucket = Memory(by_content)
    for name, data in ({"model.onnx": MODEL} | tree).items():
        bucket.write(f"model/{name}", data)
    contents_before = {key: data for key, (data, _) in bucket.objects.items()}
    reader = Reader(bucket, url)
    before, state = reader.result()
    assume(before is not None)
    assert state is not None
    for name, data_now in changed:
        if data_now is None:
            bucket.objects.pop(f"model/{name}", None)
        else:
            bucket.write(f"model/{name}", data_now)
    bucket.reads = 0
    try:
        same = reader.acquisition().is_still(state)
    except NotFoundError:
        same = False
    assert bucket.reads == 0
    if same:
        assert reader.result()[0] == before
    elif by_content:
        assert {key: data for key, (data, _) in bucket.objects.items()} != contents_before
