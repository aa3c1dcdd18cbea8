"""Feed every reader of foreign bytes with damaged files: nothing but an error of this package may come out.

    python tools/fuzz.py --seconds 60                   # every reader in turn
    python tools/fuzz.py --reader onnx --seconds 600
    python tools/fuzz.py --again findings/onnx-1f3a     # what did this file do?
    python tools/fuzz.py --list

Seeds are the small files of `tests/data` and what is made here. With the package atheris installed, one
reader at a time is fuzzed by coverage (`--coverage`); otherwise seeds are cut, joined and overwritten by
chance, the same way for the same `--seed`. A finding is any other exception, an error whose message is no one
line, or more than five CPU seconds or a GiB for one small file. It is kept in `--findings`, and the status is
then 1.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import random
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ovms_converter import formats
from ovms_converter.errors import ConverterError, NotFoundError
from ovms_converter.formats.checkpoint import read_checkpoint, shard_count
from ovms_converter.formats.describe import describe
from ovms_converter.formats.frozen import read_frozen
from ovms_converter.formats.mlmodel import parse_mlmodel
from ovms_converter.formats.npz import read_npz
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.formats.outline import onnx_outline
from ovms_converter.formats.paddle import read_paddle
from ovms_converter.formats.programs import keras_programs, pickle_globals
from ovms_converter.formats.saved_model import describe_saved_model
from ovms_converter.formats.tflite import read_tflite
from ovms_converter.formats.tree import Window
from ovms_converter.formats.wire import Message, fields
from ovms_converter.formats.zipdir import zip_names
from ovms_converter.storage.archive import ArchiveLimits, unpacked
from ovms_converter.storage.base import FetchedFile, FetchedTree

DATA = Path(__file__).parent.parent / "tests" / "data"
LARGEST_SEED = 64 << 10
SECONDS, BYTES = 5, 1 << 30
"""What one file may cost."""

ROUND = 200
"""Files of one reader before the next one has its turn."""


@dataclass(frozen=True)
class Reader:
    """What reads, and which files it begins with: patterns below `tests/data`, and made ones."""

    read: Callable[[bytes], object]
    patterns: tuple[str, ...] = ()
    made: Callable[[], Sequence[bytes]] = tuple

    def seeds(self) -> list[bytes]:
        """Small real files, and an empty one."""
        paths = sorted({path for pattern in self.patterns for path in DATA.rglob(pattern) if path.is_file()})
        found = [path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED]
        return [*found, *self.made(), b""]


def window(data: bytes) -> Window:
    """A file that is read in parts."""
    return Window(lambda start, length: data[start : start + length], len(data))


def wire(data: bytes) -> None:
    """Protocol Buffers."""
    message = Message(memoryview(data))
    for number in range(1, 31):
        with contextlib.suppress(ConverterError):
            message.texts(number)
        with contextlib.suppress(ConverterError):
            message.integers(number)
    for item in fields(memoryview(data)):
        with contextlib.suppress(ConverterError):
            Message(item.data)


def onnx(data: bytes) -> None:
    """An ONNX model, as it is inspected and as it is rewritten before a conversion."""
    with contextlib.suppress(ConverterError):
        onnx_outline(window(data))
    with contextlib.suppress(ConverterError):
        describe_onnx(memoryview(data))
    from ovms_converter.optimizer.onnx_source import OnnxSource
    from ovms_converter.optimizer.source import Plan

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "m.onnx"
        path.write_bytes(data)
        OnnxSource(path).prepare(Plan(), Path(directory) / "scratch")


def checkpoint(data: bytes) -> None:
    """The index of a TensorFlow checkpoint."""
    with contextlib.suppress(ConverterError):
        shard_count(data)
    read_checkpoint(memoryview(data))


def npz(data: bytes) -> None:
    """Arrays that somebody gave to verify with."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "data.npz"
        path.write_bytes(data)
        read_npz(path)


def archive(data: bytes) -> None:
    """A zip, tar or tar.gz file at the source."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "source"
        root.mkdir()
        (root / "model.zip").write_bytes(data)
        tree = FetchedTree(root, (FetchedFile("model.zip", len(data), None),))
        limits = ArchiveLimits(members=1000, total_bytes=64 << 20)
        unpacked(tree, Path(directory) / "unpacked", limits)


class OneFile:
    """A source that has one file."""

    def __init__(self, name: str, data: bytes) -> None:
        self._name = name
        self._data = data

    def sizes(self) -> Mapping[str, int | None]:
        """See `formats.base.Files`."""
        return {self._name: len(self._data)}

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """See `formats.base.Files`."""
        if path != self._name:
            raise NotFoundError(f"there is no `{path}`")
        return self._data[start:] if length is None else self._data[start : start + length]


NAMES = (
    "m",
    "m.onnx",
    "m.h5",
    "m.keras",
    "m.pt",
    "m.pt2",
    "m.tflite",
    "m.pdmodel",
    "m.pb",
    "MLmodel",
    "m.pkl",
)


def tree(data: bytes) -> None:
    """A file of any name at the source: what is it?"""
    for name in NAMES:
        files = OneFile(name, data)
        with contextlib.suppress(ConverterError):
            formats.recognise(files)
        with contextlib.suppress(ConverterError):
            describe(files, formats.identify(formats.open_tree(files)))


def made_archives() -> list[bytes]:
    """A zip, a tar and a tar.gz of small files."""
    members = {
        "model/model.onnx": b"\x08\x08:\x02\n\0",
        "model/MLmodel": b"flavors: {onnx: {data: model.onnx}}",
    }
    stored, packed = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    with tarfile.open(fileobj=stored, mode="w") as target_tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            target_tar.addfile(info, io.BytesIO(content))
    return [packed.getvalue(), stored.getvalue(), gzip.compress(stored.getvalue(), mtime=0)]


def made_arrays() -> list[bytes]:
    """An `.npz` with two arrays, written without numpy."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for name, kind, shape, content in (
            ("x", "<f4", "(2, 2)", bytes(16)),
            ("ids", "<i8", "(1,)", bytes(8)),
        ):
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
            header = header.ljust(117) + b"\n"
            packed.writestr(
                f"{name}.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + content
            )
    return [target.getvalue()]


READERS: Mapping[str, Reader] = {
    "wire": Reader(wire, ("*.onnx", "saved_model.pb")),
    "onnx": Reader(onnx, ("*.onnx",)),
    "saved_model": Reader(lambda data: describe_saved_model(memoryview(data)), ("saved_model.pb",)),
    "frozen": Reader(lambda data: read_frozen(window(data)), ("*frozen*.pb",)),
    "paddle": Reader(lambda data: read_paddle(window(data)), ("*.pdmodel",)),
    "checkpoint": Reader(checkpoint, ("variables.index",)),
    "mlmodel": Reader(parse_mlmodel, ("MLmodel",)),
    "tflite": Reader(lambda data: read_tflite(window(data)), ("*.tflite",)),
    "zip": Reader(lambda data: zip_names(window(data)), ("*.keras", "*.pt", "*.pt2", "*.pth"), made_archives),
    "archive": Reader(archive, (), made_archives),
    "npz": Reader(npz, ("*.npz",), made_arrays),
    "pickle": Reader(
        pickle_globals, ("*.pkl", "*.pickle"), lambda: (b"\x80\4\x8c\2os\x94\x8c\6system\x94\x93.",)
    ),
    "keras_config": Reader(
        keras_programs, ("config.json",), lambda: (b'{"class_name": "Lambda", "config": {}}',)
    ),
    "tree": Reader(
        tree,
        ("*.onnx", "*.h5", "*.keras", "*.pt", "*.pth", "*.pt2", "*.tflite", "*.pdmodel", "MLmodel", "*.pb"),
        made_archives,
    ),
}
"""By name."""


# -------------------------------------------------------------------------------------------------- mutation

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    (1 << 64) - 1,
)


def damaged(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """A seed after one to six changes."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(8)
        end = min(len(data), at + chance.choice((1, 2, 4, 8, 16, 64, 256)))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at:end] = chance.randbytes(end - at)
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * chance.choice((1, 2, 50))
        elif kind == 4:
            width = chance.choice((1, 2, 4, 8))
            number = chance.choice(NUMBERS) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))
        elif kind == 5:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:end] = other[start : start + chance.randrange(1, 512)]
        elif kind == 6:
            data[at:end] = _varint(chance.choice(NUMBERS))
        else:
            del data[at:]
        if len(data) > 4 * LARGEST_SEED:
            del data[4 * LARGEST_SEED :]
    return bytes(data)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


# ------------------------------------------------------------------------------------------------- judgement


def _too_long(_: int, __: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def why_bad(read: Callable[[bytes], object], data: bytes) -> str | None:
    """What is wrong with how a reader takes a file; None if it reads it or tells why not."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        read(data)
    except ConverterError as error:
        if error.exit_code >= 70 or not error.message or "\n" in error.message:
            return f"{type(error).__name__} ({error.exit_code}): {error.message!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def turns(
    readers: Mapping[str, Reader], seconds: float, chance: random.Random
) -> Iterator[tuple[str, bytes]]:
    """Reader and file, one reader after another, until the time is over; every seed as it is first."""
    seeds = {name: reader.seeds() for name, reader in readers.items()}
    for name, files in seeds.items():
        yield from ((name, data) for data in files)
    end = time.monotonic() + seconds
    while True:
        for name, files in seeds.items():
            for _ in range(ROUND):
                if time.monotonic() > end:
                    return
                yield name, damaged(files, chance)


def mutate(readers: Mapping[str, Reader], seconds: float, seed: int, findings: Path) -> int:
    """Fuzz by chance; how many findings of different places there were."""
    counts = dict.fromkeys(readers, 0)
    known: set[str] = set()
    for name, data in turns(readers, seconds, random.Random(seed)):
        counts[name] += 1
        bad = why_bad(readers[name].read, data)
        place = f"{name}: {bad.splitlines()[-3:-1] if bad else ''}"
        if bad and place not in known:
            known.add(place)
            findings.mkdir(parents=True, exist_ok=True)
            path = findings / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}"
            path.write_bytes(data)
            print(f"{path}\n{bad}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"{sum(counts.values())} files, {len(known)} findings")
    return len(known)


def by_coverage(reader: Reader, seconds: float, findings: Path) -> None:
    """Fuzz one reader with atheris, which ends the process at the first finding and keeps it."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    def test(data: bytes) -> None:
        bad = why_bad(reader.read, data)
        if bad:
            raise RuntimeError(bad)

    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(reader.seeds()):
            (Path(corpus) / str(number)).write_bytes(data)
        atheris.instrument_all()
        arguments = [corpus, f"-max_total_time={int(seconds)}", f"-artifact_prefix={findings}/"]
        atheris.Setup([sys.argv[0], *arguments], test)
        atheris.Fuzz()


def main() -> int:
    """Fuzz, or read one file again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reader", choices=READERS, help="this one only")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the chance by which seeds are damaged")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--coverage", action="store_true", help="with atheris; needs --reader")
    parser.add_argument("--again", type=Path, metavar="FILE", help="read a finding once more")
    parser.add_argument("--list", action="store_true", help="tell the readers and how many seeds they have")
    options = parser.parse_args()
    signal.signal(signal.SIGPROF, _too_long)
    if options.list:
        for name, reader in READERS.items():
            print(f"{name:14} {len(reader.seeds()):3} seeds")
        return 0
    if options.again:
        bad = why_bad(
            READERS[options.reader or options.again.name.partition("-")[0]].read, options.again.read_bytes()
        )
        print(bad or "it is read, or told why not")
        return 1 if bad else 0
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    if options.coverage:
        by_coverage(READERS[options.reader], options.seconds, options.findings)
        return 0
    chosen = {options.reader: READERS[options.reader]} if options.reader else READERS
    return 1 if mutate(chosen, options.seconds, options.seed, options.findings) else 0


if __name__ == "__main__":
    sys.exit(main())
