"""Reading and writing .safetensors files, F32 only.

The layout is: 8 bytes little-endian length of the header, the header (a JSON
object: tensor name -> dtype, shape, byte range; `__metadata__` -> strings), then
the raw tensor bytes.  Offsets count from the end of the header.  Written here by
hand so that the fixtures need nothing but numpy.
"""
import json
import struct

import numpy as np


def save(path, tensors, metadata=None):
    """Write {name: array} as F32, in the given order; metadata: {str: str}."""
    header, blobs, at = {}, [], 0
    if metadata:
        header["__metadata__"] = metadata
    for name, value in tensors.items():
        blob = np.ascontiguousarray(value, dtype="<f4")
        header[name] = {"dtype": "F32", "shape": list(np.shape(value)),
                        "data_offsets": [at, at + blob.nbytes]}
        blobs.append(blob.tobytes())
        at += blob.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)     # padding keeps the tensor bytes aligned
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        for blob in blobs:
            out.write(blob)


def load(path):
    """Return ({name: float32 array}, metadata) of a file of F32 tensors."""
    with open(path, "rb") as source:
        size, = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(size))
        data = source.read()
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            raise ValueError(f"{path}: {name} is {entry['dtype']}, expected F32")
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors, metadata
