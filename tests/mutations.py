"""Ways to damage a file's bytes, blindly and where its format says how large something is; by chance, repeatable."""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from random import Random

Mutation = Callable[[Random, bytes], bytes]

# Numbers at which readers stumble: nothing, ends of types, and one off.
WORDS = (0, 1, 2, 3, 7, 8, 9, 16, 31, 127, 128, 255, 256, 4095, 32767, 32768, 65534, 65535, 2**20, 2**24, 2**31 - 1,
         2**31, 2**32 - 2, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
TEXTS = ("", "0", "-1", "1e999", "nan", "NaN", "-0", "99999999999999999999", "1" * 5000, "null", "true", "[]", "{}",
         "\0", "\n", "\x1b[2J", "\u202e", "\ud800", "=cmd|' /C calc'!A0", "@SUM(1)", "../../../etc/passwd",
         "/dev/zero", "/dev/stdin", "a/" * 3000 + "b", "..\\" * 50, "C:\\x", "%s%n", '"', "'", ",", ";", "x" * 200_000)


# ---- of any bytes


def cut(chance: Random, data: bytes) -> bytes:
    return data[:chance.randrange(len(data) + 1)]


def flipped(chance: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if out:
            out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    return bytes(out)


def run_of_one(chance: Random, data: bytes) -> bytes:
    start, length = _span(chance, data)
    return data[:start] + chance.choice((b"\0", b"\xff")) * length + data[start + length:]


def swapped(chance: Random, data: bytes) -> bytes:
    a, b, c = sorted(chance.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def repeated(chance: Random, data: bytes) -> bytes:
    start, length = _span(chance, data)
    return data[:start + length] + data[start:start + length] * chance.choice((1, 3, 50)) + data[start + length:]


def left_out(chance: Random, data: bytes) -> bytes:
    start, length = _span(chance, data)
    return data[:start] + data[start + length:]


def inserted(chance: Random, data: bytes) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 2, 4, 100, 5000))) + data[at:]


def word(chance: Random, data: bytes) -> bytes:
    """A number somewhere, of one, two, four or eight bytes in either order, becomes another."""
    width = chance.choice((1, 2, 4, 8))
    at = chance.randrange(max(1, min(len(data), chance.choice((64, 1024, len(data) + 1)))))
    return data[:at] + _number(chance, width, chance.choice(("little", "big"))) + data[at + width:]


def _span(chance: Random, data: bytes) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data) - start, chance.choice((1, 4, 16, 200, len(data))))


def _number(chance: Random, width: int, order: str) -> bytes:
    return (chance.choice(WORDS) % 256**width).to_bytes(width, order)  # type: ignore[arg-type]


ANY: tuple[Mutation, ...] = (cut, flipped, run_of_one, swapped, repeated, left_out, inserted, word)


# ---- PNG


def png_chunks(chance: Random, data: bytes) -> bytes:
    """Chunks with other contents, in another order, or new ones; lengths and checksums are right."""
    chunks = _png_chunks(data)
    if not chunks:
        return flipped(chance, data)
    at = chance.randrange(len(chunks))
    name, body = chunks[at]
    match chance.randrange(6):
        case 0 | 1:
            body = bytearray(chunks[0][1].ljust(13, b"\0"))  # of IHDR: width, height, bits, kind, and how it is packed
            place = chance.choice((0, 4, 8, 9, 12))
            width = 4 if place < 8 else 1
            body[place:place + width] = _number(chance, width, "big")
            chunks[0] = chunks[0][0], bytes(body)
        case 2:
            chunks[at] = name, chance.choice(ANY)(chance, body)
        case 3:
            other = chance.randrange(len(chunks))
            chunks[at], chunks[other] = chunks[other], chunks[at]
        case 4:
            del chunks[at]
        case _:
            chunks.insert(chance.randrange(len(chunks) + 1), _strange_chunk(chance))
    return data[:8] + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _strange_chunk(chance: Random) -> tuple[bytes, bytes]:
    bomb = _bomb()
    return chance.choice((
        (b"zTXt", b"Comment\0\0" + bomb), (b"iTXt", b"Comment\0\1\0\0\0" + bomb), (b"iCCP", b"x\0\0" + bomb),
        (b"tEXt", b"Comment\0" + b"x" * 100_000), (b"eXIf", b"II*\0" + chance.randbytes(40)),
        (b"acTL", struct.pack(">II", chance.choice(WORDS) % 2**32, 0)),
        (b"tRNS", chance.randbytes(chance.randrange(9))),
        (b"fcTL", struct.pack(">IIIIIHHBB", 0, *(chance.choice(WORDS) % 2**32 for _ in range(4)), 0, 1, 0, 0)),
        (b"pHYs", chance.randbytes(9)), (b"PLTE", chance.randbytes(chance.choice((0, 3, 4, 768, 900)))),
        (bytes(chance.choices(range(256), k=4)), chance.randbytes(20))))


@cache
def _bomb() -> bytes:
    return zlib.compress(bytes(20_000_000), 9)


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at:at + 4])
        chunks.append((data[at + 4:at + 8], data[at + 8:at + 8 + length]))
        at += 12 + length
    return chunks


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# ---- JPEG and TIFF


def jpeg_segments(chance: Random, data: bytes) -> bytes:
    """A segment says another length, size or number of components, is moved, or comes many times."""
    places = [found.start() for found in re.finditer(rb"\xff[\xc0-\xcf\xda-\xef\xfe]", data)]
    if not places:
        return flipped(chance, data)
    sizes = [at for at in places if data[at + 1] in (0xC0, 0xC1, 0xC2)]
    at = chance.choice(sizes) if sizes and chance.random() < 0.4 else chance.choice(places)
    match chance.randrange(4):
        case 0:
            return data[:at + 2] + _number(chance, 2, "big") + data[at + 4:]
        case 1:
            place = at + chance.choice((4, 5, 7, 9, 10, 11))
            return data[:place] + _number(chance, chance.choice((1, 2)), "big") + data[place + 2:]
        case 2:
            end = at + 2 + int.from_bytes(data[at + 2:at + 4])
            return data[:end] + data[at:end] * chance.choice((1, 10, 300)) + data[end:]
        case _:
            return data[:at + 1] + chance.randbytes(1) + data[at + 2:]


def tiff_entries(chance: Random, data: bytes) -> bytes:
    """An entry of the directory says another tag, type, count or value, or the directory lies elsewhere."""
    order = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)  # type: ignore[arg-type]
    count = int.from_bytes(data[start:start + 2], order)  # type: ignore[arg-type]
    if not count or chance.random() < 0.1:
        return data[:4] + _number(chance, 4, order) + data[8:]
    entry = start + 2 + 12 * chance.randrange(count)
    place, width = chance.choice(((0, 2), (2, 2), (4, 4), (8, 4), (8, 2)))
    return data[:entry + place] + _number(chance, width, order) + data[entry + place + width:]


# ---- DICOM

_ELEMENT = re.compile(rb"[\x02\x08\x18\x20\x28\xe0]\x00(?s:..)(AS|CS|DS|IS|LO|OB|OW|PN|SQ|UI|UL|US|SS|UN)|"
                      rb"\x7f\xe0?\x10\x00(OB|OW)|\xfe\xff\x00\xe0|\x28\x00[\x00-\x12]\x00")
_SIZES = {name: struct.pack("<HH", 0x28, element) for name, element in (
    ("samples", 2), ("planar", 6), ("frames", 8), ("rows", 0x10), ("columns", 0x11), ("allocated", 0x100),
    ("stored", 0x101), ("high", 0x102), ("signed", 0x103), ("lut", 0x3002), ("palette", 0x1101), ("slope", 0x1053),
    ("centre", 0x1050), ("width", 0x1051))}


def dicom_elements(chance: Random, data: bytes) -> bytes:
    """An element anywhere has another length, type or value."""
    places = [found.start() for found in _ELEMENT.finditer(data)]
    if not places:
        return flipped(chance, data)
    at = chance.choice(places)
    match chance.randrange(4):
        case 0:
            return data[:at + 6] + _number(chance, 2, "little") + data[at + 8:]
        case 1:
            place = at + chance.choice((4, 8))
            return data[:place] + _number(chance, 4, "little") + data[place + 4:]
        case 2:
            return data[:at + 4] + chance.choice((b"SQ", b"UN", b"OB", b"US", b"DS", b"PN", b"??")) + data[at + 6:]
        case _:
            return data[:at + 8] + chance.randbytes(2) + data[at + 10:]


def dicom_sizes(chance: Random, data: bytes) -> bytes:
    """One of the elements that say how the picture is stored has another value of the same length."""
    at = data.find(_SIZES[chance.choice(list(_SIZES))])
    if at < 0:
        return dicom_elements(chance, data)
    length = int.from_bytes(data[at + 6:at + 8], "little")
    if data[at + 4:at + 6] in (b"IS", b"DS"):
        value = chance.choice((b"99999999", b"0", b"-1", b"1e30", b"nan", b"1e-300", b"7", b"x", b"2147483648"))
        value = value[:length].ljust(length)
    else:
        value = _number(chance, 2, "little") * (length // 2)
    return data[:at + 8] + value + data[at + 8 + length:]


# ---- ZIP, and what lies in one

_ZIP_PLACES = {b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
               b"PK\x01\x02": ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)),
               b"PK\x05\x06": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))}


def zip_fields(chance: Random, data: bytes) -> bytes:
    """A field of a ZIP's headers or of its directory has another value."""
    kind = chance.choice(list(_ZIP_PLACES))
    places = [found.start() for found in re.finditer(re.escape(kind), data)]
    if not places:
        return flipped(chance, data)
    at = chance.choice(places)
    place, width = chance.choice(_ZIP_PLACES[kind])
    return data[:at + place] + _number(chance, width, "little") + data[at + place + width:]


def inside(*mutations: Mutation, suffix: str = "") -> Mutation:
    """A file in a ZIP is mutated, left out, there twice or of another name; the ZIP itself is whole."""

    def mutated(chance: Random, data: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(info.filename, info.compress_type, archive.read(info)) for info in archive.infolist()]
        except Exception:  # mutated before
            return flipped(chance, data)
        chosen = [at for at, (name, _, _) in enumerate(members) if name.endswith(suffix)]
        if not chosen:
            return flipped(chance, data)
        at = chance.choice(chosen)
        name, kind, content = members[at]
        match chance.randrange(12):
            case 0:
                del members[at]
            case 1:
                members.append((name, kind, content))
            case 2:
                members[at] = chance.choice(("../x", "/x", "x" * 3000, "a\0b", "")), kind, content
            case 3:
                members[at] = name, zipfile.ZIP_DEFLATED, bytes(chance.choice((10**5, 2 * 10**6)))
            case _:
                members[at] = name, kind, chance.choice(mutations)(chance, content)
        return zipped(members)

    return mutated


def zipped(members: list[tuple[str, int, bytes]]) -> bytes:
    """A ZIP of these names, ways to pack, and contents, the same at any time of day."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, kind, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = kind
            archive.writestr(info, content)
    return file.getvalue()


# ---- arrays, tensors, JSON and CSV


def npy_header(chance: Random, data: bytes) -> bytes:
    """An array announces another shape or type, or a header of another length."""
    if data[:6] != b"\x93NUMPY":
        return flipped(chance, data)
    if chance.random() < 0.2:
        return data[:chance.choice((6, 8))] + _number(chance, 2, "little") + data[10:]
    length = int.from_bytes(data[8:10], "little")
    header = data[10:10 + length].decode("latin-1")
    numbers = ("0", "1", "-1", "28", "10000000000", str(2**63), str(2**64 + 1), "1e3", "True", "None", "'x'")
    shape = f"({', '.join(chance.choices(numbers, k=chance.randrange(6)))},)"
    kinds = ("|O", "<U99999999", "|V99999999", "<f8", "|u1", "<c16", "|S0", "<M8[ns]", "x", "", "|b1", ">i8")
    typed = r"'descr': '[^']*'"
    header = chance.choice((re.sub(r"\([^)]*\)", shape, header),
                            re.sub(typed, f"'descr': '{chance.choice(kinds)}'", header),
                            header.replace("False", "True"), "{" * 3000, "(" * 9000 + ")" * 9000, "[" * 60_000,
                            re.sub(typed, "'descr': [('a', '|O'), ('b', '<f8')]", header)))
    return data[:8] + struct.pack("<H", len(header) % 65536) + header.encode("latin-1") + data[10 + length:]


def json_values(chance: Random, data: bytes) -> bytes:
    """A value in a JSON text becomes another."""
    text = data.decode("utf-8", "replace")
    places = list(re.finditer(r'-?\d+(?:\.\d+)?|"[^"]*"', text))
    if not places or chance.random() < 0.05:
        return chance.choice((b"[" * 100_000, b"{}", b"[]", b"null", b"1" * 10_000, b'{"a":' * 50_000, b""))
    found = chance.choice(places)
    new = chance.choice((str(chance.choice(WORDS)), json.dumps(chance.choice(TEXTS)), "null", "[]", "{}", "-1", "1e999",
                         "NaN", "0.5", "true", json.dumps(chance.choice(("F64", "BOOL", "U8", "F8_E4M3", "I64", "x")))))
    return (text[:found.start()] + new + text[found.end():]).encode("utf-8", "replace")


def safetensors_header(chance: Random, data: bytes) -> bytes:
    """The header has another length than it says, or says something else of the tensors."""
    length = min(len(data), int.from_bytes(data[:8], "little"))
    if chance.random() < 0.3:
        return _number(chance, 8, "little") + data[8:]
    header = json_values(chance, data[8:8 + length])
    if chance.random() < 0.5:  # of the same length, as the tensors are counted from its end
        header = header[:length].ljust(length)
    return len(header).to_bytes(8, "little") + header + data[8 + length:]


def csv_cells(chance: Random, data: bytes) -> bytes:
    """A cell becomes another text, lines come many times, or the table has another form."""
    lines = data.decode("utf-8", "replace").split("\n")
    at = chance.randrange(len(lines))
    cells = lines[at].split(",")
    match chance.randrange(8):
        case 0:
            lines[at:at] = [lines[at]] * chance.choice((1, 1000))
        case 1:
            lines[at] = ",".join(cells * chance.choice((2, 500)))
        case 2:
            lines = [line.replace(",", chance.choice((";", "\t", ",,", '","'))) for line in lines]
        case 3:
            return "\n".join(lines).encode(chance.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")), "replace")
        case _:
            cells[chance.randrange(len(cells))] = chance.choice((*TEXTS, "1 2 3 4;" * 2000, "1e8 1e8 1e8 1e8", "a.png"))
            lines[at] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")
