"""A program of a few bytes for Linux on amd64: it says a line and ends, and needs nothing of its image."""

import struct

_ADDRESS = 0x400000
_HEADERS = 64 + 56
"""Of the file and of its only segment: ELF64, see https://refspecs.linuxfoundation.org/elf/elf.pdf."""


def program_that_says(line: str) -> bytes:
    """Return the bytes of an executable that writes `line` to its standard output and exits with 0."""
    text = line.encode()
    code = (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
        b"\xbf\x01\x00\x00\x00"  # mov edi, 1
        b"\xbe"
        + struct.pack("<I", _ADDRESS + _HEADERS + 34)  # mov esi, text
        + b"\xba"
        + struct.pack("<I", len(text))  # mov edx, length
        + b"\x0f\x05"  # syscall
        b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
        b"\x31\xff\x90\x90\x90"  # xor edi, edi
        b"\x0f\x05"  # syscall
    )
    size = _HEADERS + len(code) + len(text)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000)
    return header + segment + code + text
