"""Cut the four-layer golden model micro-wide to its first layers: python3 cut.py SOURCE_DIR OUT_DIR [LAYERS=2]

Layers depend on nothing above them, so their traces stay true; `logits` and `final_norm` do not and are left out.
Standard library only. Tensors are copied byte for byte."""
import json, os, struct, sys


def read(path):
    data = open(path, "rb").read(); n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n]); meta = header.pop("__metadata__", {})
    return {k: (v, data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in header.items()}, meta


def write(path, tensors, meta):
    header, at = ({"__metadata__": meta} if meta else {}), 0
    for name, (info, data) in tensors.items():
        header[name] = {"dtype": info["dtype"], "shape": info["shape"], "data_offsets": [at, at + len(data)]}; at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode(); text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values(): f.write(data)


source, out, layers = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 2
keep = lambda name: not name.startswith("layers.") or int(name.split(".")[1]) < layers
for file, drop in (("model.safetensors", ()), ("golden.safetensors", ("logits", "final_norm"))):
    tensors, meta = read(os.path.join(source, file))
    write(os.path.join(out, file), {k: v for k, v in tensors.items() if keep(k) and k not in drop}, meta)
config = json.load(open(os.path.join(source, "config.json")))
config["num_hidden_layers"] = layers; config["compress_ratios"] = config["compress_ratios"][:layers]
with open(os.path.join(out, "config.json"), "w") as f: f.write(json.dumps(config, indent=2) + "\n")
