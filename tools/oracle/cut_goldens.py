"""Cuts the fixtures of the tests from a folder that make_goldens.py tiny wrote: `python3 cut_goldens.py FOLDER REPOSITORY`.

Bytes are taken over unchanged; nothing is computed but which rows hold a matrix's largest weight. Needs numpy only.
"""
import base64, hashlib, json, os, struct, sys
import numpy as np

GOLDEN, REPO = sys.argv[1:3]
SIZES = {"F32": 4, "I32": 4, "I64": 8, "BF16": 2, "U8": 1, "F8_E4M3": 1}


class Safetensors:
    """All files of a folder, or one file, as one set of tensors: (dtype, shape, bytes)."""
    def __init__(self, path):
        files = [path] if path.endswith(".safetensors") else sorted(os.path.join(path, f) for f in os.listdir(path) if f.endswith(".safetensors"))
        self.found = {}
        for file in files:
            with open(file, "rb") as f: n = struct.unpack("<Q", f.read(8))[0]; head = json.loads(f.read(n))
            self.found.update({k: (file, 8 + n, v) for k, v in head.items() if k != "__metadata__"})

    def __getitem__(self, name):
        file, start, v = self.found[name]; a, b = v["data_offsets"]
        with open(file, "rb") as f: f.seek(start + a); return v["dtype"], v["shape"], f.read(b - a)

    def rows(self, name, start, count):
        dtype, shape, data = self[name]; size = len(data) // shape[0]
        return dtype, [count, *shape[1:]], data[start * size:(start + count) * size]

    def magnitudes(self, name):
        _, shape, data = self[name]
        return np.abs((np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)).reshape(shape)

    def file(self, name): return self.found[name][0]


def write(path, data):
    path = os.path.join(REPO, path)
    with open(path, "wb") as f: f.write(data if isinstance(data, bytes) else data.encode())
    print(f"{hashlib.sha256(open(path, 'rb').read()).hexdigest()}  {os.path.relpath(path, REPO)}")


def write_json(path, value): write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_safetensors(path, tensors, metadata=None):
    head, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, raw) in sorted(tensors.items(), key=lambda t: -SIZES[t[1][0]]):  # wide elements first: all stay aligned
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}; data += raw
    j = json.dumps(head, separators=(",", ":")).encode(); j += b" " * (-len(j) % 8)
    write(path, struct.pack("<Q", len(j)) + j + data)


def sha256(path): return hashlib.sha256(open(path, "rb").read()).hexdigest()


def lines(items, width=118):
    """A JSON list of numbers, filled to `width`, inside an object two levels deep."""
    out, line = [], "        "
    for i, x in enumerate(items):
        word = json.dumps(x) + ("," if i + 1 < len(items) else "")
        if len(line) + len(word) > width: out.append(line.rstrip()); line = "        "
        line += word + " "
    return "[\n" + "\n".join(out + [line.rstrip()]) + "\n      ]"


def model(results):
    """Token ids and greedy text of every prompt; last logits of every prompt, and the negative log-likelihood of all its tokens."""
    by_id = {r["id"]: r for r in results["bf16"]}; parts = []
    for p in results["prompts"]:
        r = by_id[p["id"]]
        fields = [("id", json.dumps(p["id"])), ("input_ids", lines(p["input_ids"])), ("greedy_ids", lines(r["greedy_ids"])), ("gap", lines(r["top1_top2_gap"]))]
        parts.append("    {\n" + ",\n".join(f'      "{k}": {v}' for k, v in fields) + "\n    }")
    write("packages/model/test/goldens/tiny-prompts.json", '{\n  "source": "results.json of make_goldens.py tiny: greedy continuation with BF16 weights, and the gap between the two best logits at each step",\n'
          f'  "transformers": "{results["transformers"]}",\n  "prompts": [\n' + ",\n".join(parts) + "\n  ]\n}\n")
    out = {}
    for precision in ("w4a16", "w4a4"):
        t = Safetensors(os.path.join(GOLDEN, f"logits_{precision}.safetensors"))
        for p in results["prompts"]:
            for what in ("last_logits", "nll"): out[f"{precision}.{p['id']}.{what}"] = t[f"{p['id']}.{what}"]
    write_safetensors("packages/model/test/goldens/tiny-logits.safetensors", out, {"source": "logits_{w4a16,w4a4}.safetensors of make_goldens.py tiny", "made_by": f"Hugging Face transformers {results['transformers']}"})


def checkpoint(results):
    rows = [json.dumps({"id": p["id"], "text": p["text"], "inputIds": p["input_ids"]}, ensure_ascii=False, separators=(",", ":")) for p in results["prompts"]]
    path = "packages/checkpoint/test/goldens/prompts.json"; write(path, "[\n" + ",\n".join(rows) + "\n]\n")
    write_json("packages/checkpoint/test/goldens/prompts.provenance.json", {
        "source": "prompts of the tiny model: tools/oracle/prompts.json encoded with models/tiny/tokenizer.json",
        "version": f"transformers {results['transformers']} and its tokenizers library", "command": "python tools/oracle/make_goldens.py",
        "sha256": sha256(os.path.join(REPO, path))})


def reference(results, bf16, nvfp4):
    out = {}
    for id in ("capital-france", "chat-plus"):
        ids = next(p["input_ids"] for p in results["prompts"] if p["id"] == id)
        out[f"{id}.input_ids"] = ("I32", [len(ids)], np.array(ids, "<i4").tobytes())
        for precision in ("w4a16", "w4a4"): out[f"{id}.{precision}"] = Safetensors(os.path.join(GOLDEN, f"logits_{precision}.safetensors"))[f"{id}.last_logits"]
    write_safetensors("packages/reference/test/goldens/tiny.safetensors", out)
    out = {}
    for module, start in (("layers.0.ffn.experts.0.w1", 0), ("layers.3.ffn.experts.7.w2", 5)):
        out[f"{module}.bf16"] = bf16.rows(f"{module}.weight", start, 16)
        for key in ("weight", "weight_scale"): out[f"{module}.{key}"] = nvfp4.rows(f"{module}.{key}", start, 16)
        out[f"{module}.weight_scale_2"] = nvfp4[f"{module}.weight_scale_2"]
    write_safetensors("packages/reference/test/goldens/nvfp4.safetensors", out)


def gemm(bf16, nvfp4):
    module = "layers.1.ffn.experts.0.w1"
    text = lambda t: base64.b64encode(t[2]).decode()
    write_json("packages/gemm-native/test/goldens/quantize.json", {
        "tensor": f"{module}.weight", "rows": 16, "k": 256, "globalDecodeScale": struct.unpack("<f", nvfp4[f"{module}.weight_scale_2"][2])[0],
        "bf16": text(bf16.rows(f"{module}.weight", 0, 16)), "codes": text(nvfp4.rows(f"{module}.weight", 0, 16)), "sf": text(nvfp4.rows(f"{module}.weight_scale", 0, 16))})
    for t, name in ((bf16, f"{module}.weight"), (nvfp4, f"{module}.weight")): print(f"{sha256(t.file(name))}  tiny/{os.path.relpath(t.file(name), GOLDEN)}")


def quant(bf16, nvfp4):
    """32 or 48 rows of each matrix of an expert, that hold its largest weight."""
    base = "layers.3.ffn.experts.5"; folder = "packages/nvfp4-quant/test/goldens"; tensors = {}
    own = {w: bf16.magnitudes(f"{base}.{w}.weight") for w in ("w1", "w2", "w3")}
    for w, m in (("w1", 32), ("w2", 48), ("w3", 32)):
        rows, k = own[w].shape; at = int(own[w].max(1).argmax()); start = max(0, min(rows - m, at // 16 * 16 - 16))
        both = max(own["w1"].max(), own["w3"].max()) if w != "w2" else own[w].max()
        files = {f"{w}.weight-bf16.bin": bf16.rows(f"{base}.{w}.weight", start, m)[2], **{f"{w}.{key}.bin": nvfp4.rows(f"{base}.{w}.{key}", start, m)[2] for key in ("weight", "weight_scale")}}
        for name, data in files.items(): write(f"{folder}/{name}", data)
        tensors[w] = {"rowStart": start, "m": m, "k": k, "matrixRows": rows, "amax": float(both), "ownAmax": float(own[w].max()),
                      "weightScale2Bits": f"0x{struct.unpack('<I', nvfp4[f'{base}.{w}.weight_scale_2'][2])[0]:08x}", "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}
    write_json(f"{folder}/provenance.json", {
        "format": "nvfp4-golden/1", "source": f"tiny-bf16 (weights) and tiny-nvfp4 (ModelOpt layout) of make_goldens.py tiny, expert {base}", "version": "tools/oracle/nvfp4.py of this repository",
        "command": "tools/oracle/cut_goldens.py: rows [rowStart, rowStart + m) cut from both checkpoints, bytes unchanged", "rounding": "E4M3 and E2M1 nearest, ties to even; true divisions",
        "zeroBlock": "block scale 1.0", "amax": "largest magnitude of the whole matrix; w1 and w3 share the larger one", "tensors": tensors})


results = json.load(open(os.path.join(GOLDEN, "results.json")))
bf16, nvfp4 = (Safetensors(os.path.join(GOLDEN, name)) for name in ("tiny-bf16", "tiny-nvfp4"))
model(results); checkpoint(results); reference(results, bf16, nvfp4); gemm(bf16, nvfp4); quant(bf16, nvfp4)
write_json("packages/cli/test/goldens/tiny-calibration.json", json.load(open(os.path.join(GOLDEN, "calibration.json"))))
