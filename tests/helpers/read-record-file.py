#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Reads a native record file by what docs/record-format.md says and by nothing else: it shares no code with the programs that write such files.

usage: read-record-file.py FILE    every record as `iog dump --values 1000000` shows it; the last line says where the last whole record ends
"""
import re
import struct
import sys
import numpy as np

M = (1 << 64) - 1
K0, K1, K2, K3, K4 = 0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89, 0x452821E638D01377
TYPES = "i8 i16 i32 i64 u8 u16 u32 u64 f16 f32 f64 c64 c128 bool byte".split()
NUMPY = dict(zip(TYPES, "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 ? u1".split()))
CODECS = [None, "zstd", "jpeg", "png", "delta"]


def mix(a, b):
    return ((a * b) >> 64) ^ (a * b & M)


def hash64(d, seed=0):
    n = len(d)
    w = lambda i: int.from_bytes(d[i : i + 8], "little")
    h = mix(seed ^ K0, n ^ K1) ^ seed
    if n > 64:
        h1, h2, h3 = h ^ K1, h ^ K2, h ^ K3
        for p in [*range(0, n - 64, 64), n - 64]:
            h, h1 = mix(w(p) ^ K1, w(p + 8) ^ h), mix(w(p + 16) ^ K2, w(p + 24) ^ h1)
            h2, h3 = mix(w(p + 32) ^ K3, w(p + 40) ^ h2), mix(w(p + 48) ^ K4, w(p + 56) ^ h3)
        return mix(K3 ^ n, (mix(h ^ K0, h1 ^ K4) + mix(h2 ^ K1, h3 ^ K2)) & M)
    p = 0
    while n - p > 16:
        h, p = mix(w(p) ^ K2, w(p + 8) ^ h), p + 16
    a = b = 0
    if n - p >= 8:
        a, b = w(p), w(n - 8)
    elif n - p >= 4:
        a, b = (int.from_bytes(d[i : i + 4], "little") for i in (p, n - 4))
    elif n - p:
        a = d[p] << 16 | d[p + (n - p) // 2] << 8 | d[n - 1]
    return mix(K3 ^ n, mix(a ^ K4, b ^ h))


def without(d, at, n):
    """d with n bytes at `at` zeroed: what a sum inside its own range is taken of."""
    return d[:at] + bytes(n) + d[at + n :]


def text_schema(text):
    dims, variables = [], []

    def use(word):
        name = re.match(r"\w+", word)[0]
        if name not in dims:
            dims.append(name)
        return dims.index(name)

    parts = lambda s: re.findall(r"\w+(?:<?=\d+)?(?:\([^)]*\))?", s)
    for line in text.splitlines():
        if line.startswith("dims "):
            [use(w) for w in parts(line[5:])]
            continue
        line, *codecs = line.split(" | ")
        static, name, dtype, over, unit = re.fullmatch(r"(static )?(\w+): (\w+)(?:\[(.*)\])?(?: (.*))?", line).groups()
        variables.append((name, unit or "", dtype, bool(static), [use(w) for w in parts(over or "")], codecs))
    return dims, variables


def binary_schema(b):
    word = lambda at: b[at : at + 32].split(b"\0")[0].decode()
    n_dims, n_vars = struct.unpack_from("<II", b, 8)
    dims = [word(16 + 80 * i) for i in range(n_dims)]
    variables = []
    for at in range(1296, 1296 + 88 * n_vars, 88):
        dtype, rank, flags, orig, n_codecs = b[at + 64 : at + 69]
        codecs = [CODECS[c] + (f"({TYPES[orig - 1]})" if CODECS[c] == "delta" else "") for c in b[at + 69 : at + 69 + n_codecs]]
        variables.append((word(at), word(at + 32), TYPES[dtype - 1], bool(flags & 1), list(b[at + 73 : at + 73 + rank]), codecs))
    return dims, variables


def read_record(r, schema_id, dims, variables, before):
    """Step, time and [(extents, values or bytes)]; before: the values of the last record, for static variables that are left out."""
    magic, version, flags, head, head_sum, total, payload_sum, schema, stream, seq, born, step, time = struct.unpack_from("<IHHIIQQQQQQqd", r)
    n_dims, n_vars, n_segs, zero, n_blocks = struct.unpack_from("<HHHHI", r, 96)
    h = hash64(without(r[:head], 12, 4), 0x52474F49)
    assert r[:4] == b"IOGR" and version == 1 and total == len(r) and head % 64 == 0 and (h >> 32 ^ h & 0xFFFFFFFF) == head_sum
    assert schema == schema_id and seq == step + (1 << 63) and n_dims == len(dims) and n_vars == len(variables) and n_segs == 1
    at = 112
    extent = [struct.unpack_from("<q", r, at + 24 * d)[0] for d in range(n_dims)]
    at += 24 * n_dims
    arena, zero, base, length = struct.unpack_from("<IIQQ", r, at)
    assert arena == 0xFFFFFFFF and (hash64(r[base : base + length], 1) or 1) == payload_sum
    counts = struct.unpack_from("<" + "II" * n_vars, r, at + 24)[::2]
    at += 24 + 8 * n_vars
    assert sum(counts) == n_blocks
    values = []
    for (name, unit, dtype, static, over, codecs), count, old in zip(variables, counts, before):
        shape = [extent[d] for d in over]
        array, known = np.zeros(shape, NUMPY[dtype]), np.zeros(shape, bool)
        for _ in range(count):
            rank = len(over)
            seg, zero, offset, size, *where = struct.unpack_from(f"<IIQQ{3 * rank}q", r, at)
            at += 24 + 24 * rank
            start, many, stride = where[:rank], where[rank : 2 * rank], where[2 * rank :]
            if codecs and codecs[-1] in ("zstd", "jpeg", "png"):
                array = r[base + offset : base + offset + size]
                known = np.ones(1, bool)
                continue
            box = tuple(slice(s, s + m) for s, m in zip(start, many))
            array[box] = np.ndarray(many, NUMPY[dtype], r, base + offset, stride)
            known[box] = True
        assert known.all() or not count
        values.append((shape, array) if count else old)
    return step, time, values


def shown(v, dtype):
    return "%02x" % v if dtype == "byte" else "%.7g" % v if dtype == "f32" else "%.12g" % v if dtype == "f64" else str(v)


def main(path):
    d = open(path, "rb").read()
    magic, version, head, n_text, n_schema, schema_id, head_sum = struct.unpack_from("<8sIIIIQQ", d)
    assert magic == b"IOGRECF\n" and version == 1 and n_schema == 6928 and head == -(-(64 + n_text + n_schema) // 64) * 64
    assert hash64(without(d[:head], 32, 8)) == head_sum and not any(d[40:64])
    text = d[64 : 64 + n_text].decode()
    dims, variables = schema = text_schema(text)
    assert schema == binary_schema(d[64 + n_text : head]), (schema, binary_schema(d[64 + n_text : head]))
    identity = re.sub(r"<=\d+", "", re.sub(r"\b(xyz|cell|rgb)<=\d+", r"\1<=?", text))
    assert hash64(identity.encode()) == schema_id == struct.unpack_from("<Q", d, 64 + n_text)[0]
    print("schema\n" + "".join(f"    {line}\n" for line in text.splitlines()), end="")
    at, n, durable, before, last = head, 0, 0, [None] * len(variables), None
    while len(d) - at >= 64:
        f = d[at : at + 64]
        magic, epoch, length, seq, so_far, data_sum, writer, flags, zero, own = struct.unpack("<4sIQQQQIIQQ", f)
        record = d[at + 64 : at + 64 + length]
        if magic != b"RECD" or hash64(without(f, 56, 8)) != own or len(record) != length or hash64(record) != data_sum:
            break
        assert length % 64 == 0 and durable <= so_far <= at and (flags == 1 or (last == (epoch, writer) and before[0]))
        step, time, before = read_record(record, schema_id, dims, variables, before)
        assert seq == step + (1 << 63) and (epoch, writer) == struct.unpack_from("<II", record, 80)
        print(f"\nrecord {n}: step {step}, time {'%.12g' % time}, epoch {epoch}, writer {writer}")
        for (name, unit, dtype, static, over, codecs), (shape, v) in zip(variables, before):
            size = "[" + ",".join(map(str, shape)) + "]" if shape else ""
            what = f"{codecs[-1]}, {len(v)} bytes" if isinstance(v, bytes) else " ".join(shown(x, dtype) for x in v.flat)
            print(f"    {name}{size}{' ' + unit if unit else ''}: {what}".rstrip())
        at, n, durable, last = at + 64 + length, n + 1, so_far, (epoch, writer)
    print(f"\n{n} records, whole to byte {at} of {len(d)}, durable to {durable}")


main(sys.argv[1])
