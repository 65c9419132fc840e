#!/usr/bin/env python3
"""Zeroes in a CUDA library what one GPU does not need, so that it packs small: NCCL 2.32 from 344 MB to 16 MB of xz.

tools/prune_fatbin.py LIBRARY SM OUT: keeps machine code for SM (90 for an H200); code for others, PTX, debug sections and
the copies that are for linking device code lose their contents, not their place. For carrying a library to a test
machine, never for a release: whoever needs another architecture's code finds zeros.

Layout of a fat binary: a header {u32 magic, u16 version, u16 header bytes, u64 bytes that follow}, then entries {u16
kind (1 PTX, 2 machine code), u16, u32 header bytes, u64 payload bytes, .., u32 architecture at byte 28}.
"""

import struct
import sys

MAGIC = 0xBA55ED50
MACHINE_CODE = 2


def sections(image):
    """(name, offset, bytes) of every section of a 64-bit ELF file."""
    table = struct.unpack_from("<Q", image, 40)[0]
    entry_bytes, count, names_index = struct.unpack_from("<HHH", image, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * entry_bytes) for i in range(count)]
    names = headers[names_index][4]
    for header in headers:
        begin = names + header[0]
        yield image[begin:image.index(0, begin)].decode(), header[4], header[5]


def prune(image, begin, end, architecture):
    at = begin
    while at < end:
        magic, _, header_bytes, size = struct.unpack_from("<IHHQ", image, at)
        if magic != MAGIC:
            at += 8  # padding
            continue
        entry = at + header_bytes
        at = entry + size
        while entry < at:
            kind, _, entry_header_bytes, payload = struct.unpack_from("<HHIQ", image, entry)
            entry_architecture = struct.unpack_from("<I", image, entry + 28)[0]
            entry += entry_header_bytes
            if kind != MACHINE_CODE or entry_architecture != architecture:
                image[entry:entry + payload] = bytes(payload)
            entry += payload


def main():
    library, architecture, out = sys.argv[1:]
    with open(library, "rb") as file:
        image = bytearray(file.read())
    for name, offset, size in list(sections(image)):
        if name == "__nv_relfatbin" or name.startswith(".debug"):
            image[offset:offset + size] = bytes(size)
        elif name == ".nv_fatbin":
            prune(image, offset, offset + size, int(architecture))
    with open(out, "wb") as file:
        file.write(image)


if __name__ == "__main__":
    main()
