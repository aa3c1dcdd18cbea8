"""Protocol Buffers at the wire level: enough to read and edit `.onnx` and `saved_model.pb` without schemas.

Reading is lazy and never copies a payload, so a message may be a memory-mapped file of any size. Source of
the rules: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import NamedTuple

from ovms_converter.errors import CorruptModelError

__all__ = [
    "Field",
    "Message",
    "bytes_field",
    "bytes_head",
    "encode_varint",
    "fields",
    "read_varint",
    "text",
    "varint_field",
]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number, wire type, value, and the bytes `start:end` it takes with its key.

    The value of a length-delimited field is a view of its payload, which begins at `payload` in the enclosing
    view.
    """

    number: int
    wire_type: int
    value: int | memoryview
    start: int
    end: int
    payload: int

    @property
    def data(self) -> memoryview:
        """The payload of a length-delimited field."""
        if not isinstance(self.value, memoryview):
            raise CorruptModelError(f"protobuf field {self.number} is a number where a message was expected")
        return self.value

    @property
    def integer(self) -> int:
        """The value of a varint field."""
        if not isinstance(self.value, int):
            raise CorruptModelError(f"protobuf field {self.number} is a message where a number was expected")
        return self.value

    @property
    def text(self) -> str:
        """The payload as UTF-8 text."""
        return text(self.data)


def text(data: memoryview) -> str:
    """UTF-8 text; raises `CorruptModelError` if it is none."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise CorruptModelError("protobuf text is not UTF-8") from None


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The varint at an offset and the offset after it; raises `CorruptModelError`."""
    value = shift = 0
    while shift < 70:
        try:
            byte = data[at]
        except IndexError:
            raise CorruptModelError("protobuf message is truncated") from None
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise CorruptModelError("protobuf number is longer than ten bytes")


def fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message in order; raises `CorruptModelError` where the bytes are no message."""
    at, size = 0, len(data)
    # A SavedModel has hundreds of thousands of fields, and nearly every key and length is a single byte: that
    # case is decoded here, and the tuple is made without the detour through `Field.__new__`.
    new = tuple.__new__
    while at < size:
        start = at
        key = data[at]
        if key < 0x80:
            at += 1
        else:
            key, at = read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        value: int | memoryview
        payload = at
        if wire_type == LENGTH:
            if at < size and (length := data[at]) < 0x80:
                payload = at + 1
            else:
                length, payload = read_varint(data, at)
            at = payload + length
            value = data[payload:at]
        elif wire_type == VARINT:
            value, at = read_varint(data, at)
        elif wire_type in (FIXED64, FIXED32):
            at += 8 if wire_type == FIXED64 else 4
            value = data[payload:at]
        else:
            raise CorruptModelError(f"protobuf wire type {wire_type} does not exist")
        if at > size or number == 0:
            raise CorruptModelError("protobuf message is truncated or damaged")
        yield new(Field, (number, wire_type, value, start, at, payload))


class Message:
    """A message whose fields were read once, for access by number."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._fields: dict[int, list[Field]] = {}
        for item in fields(data):
            self._fields.setdefault(item.number, []).append(item)

    def all(self, number: int) -> list[Field]:
        """Every occurrence of a field, in order."""
        return self._fields.get(number, [])

    def messages(self, number: int) -> list["Message"]:
        """Every occurrence of a field as a message."""
        return [Message(item.data) for item in self.all(number)]

    def message(self, number: int) -> "Message":
        """The last occurrence of a field as a message; an empty one if there is none."""
        found = self.all(number)
        return Message(found[-1].data if found else memoryview(b""))

    def text(self, number: int, default: str = "") -> str:
        """The last occurrence of a text field."""
        found = self.all(number)
        return found[-1].text if found else default

    def texts(self, number: int) -> list[str]:
        """Every occurrence of a text field."""
        return [item.text for item in self.all(number)]

    def integer(self, number: int, default: int = 0) -> int:
        """The last occurrence of a varint field."""
        found = self.all(number)
        return found[-1].integer if found else default

    def integers(self, number: int) -> list[int]:
        """Every number of a repeated varint field, packed or not, as two's complement 64-bit numbers."""
        values: list[int] = []
        for item in self.all(number):
            if item.wire_type == VARINT:
                values.append(item.integer)
                continue
            at = 0
            while at < len(item.data):
                value, at = read_varint(item.data, at)
                values.append(value)
        return [value - (1 << 64) if value >> 63 else value for value in values]


def encode_varint(number: int) -> bytes:
    """A number as a varint; negative ones take ten bytes, as in protobuf."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """A varint field with its key."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)


def bytes_field(number: int, value: bytes | memoryview | str) -> bytes:
    """A length-delimited field with its key."""
    payload = value.encode() if isinstance(value, str) else bytes(value)
    return bytes_head(number, len(payload)) + payload


def bytes_head(number: int, size: int) -> bytes:
    """The key and the length of a length-delimited field of `size` bytes."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(size)
