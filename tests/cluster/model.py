"""Writes a safetensors file of random bf16 matrices: model.py FILE COUNT ROWS COLS. Needs Python alone."""

import json
import random
import sys

path, count, rows, cols = sys.argv[1], *map(int, sys.argv[2:5])
entries = random.Random(1)
size, header, data = rows * cols * 2, {}, []
# Exponents near 1 and both signs: no entry is NaN, infinite or tiny.
high = bytes((0x3E, 0x3F, 0xBE, 0xBF)[byte % 4] for byte in range(256))
for i in range(count):
    block = bytearray(size)
    block[0::2] = entries.randbytes(size // 2)
    block[1::2] = entries.randbytes(size // 2).translate(high)
    name = f"model.layers.{i // 4}.mlp.{('up', 'gate', 'down', 'router')[i % 4]}_proj.weight"
    header[name] = {"dtype": "BF16", "shape": [rows, cols], "data_offsets": [i * size, (i + 1) * size]}
    data.append(block)
text = json.dumps(header).encode()
with open(path, "wb") as file:
    file.write(len(text).to_bytes(8, "little") + text + b"".join(data))
