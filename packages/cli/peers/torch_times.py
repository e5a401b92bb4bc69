"""Times of torch's kernels on the shapes of `megamoe bench --backend cuda`, one JSON object a line on stdout.

Run by `megamoe bench --peer torch`; by hand: python3 torch_times.py '{"device": 0, "grouped": [...], "scaled": [...], "attention": [...]}'.
A line is {"name", "shape", "seconds", "active"} (active: experts that had rows), or {"name", "shape", "why"} for what cannot be
measured here, or {"error"} when nothing can.
"""

import json
import statistics
import sys

ROUNDS = 9
COLD_BYTES = 256 << 20  # of operands that are used in turn: more than any L2 cache holds


def say(**fields) -> None:
    print(json.dumps(fields), flush=True)


def median_seconds(torch, run) -> float:
    """Median over rounds; `run` is given the number of the round. Kernels wait for the host, not the other way round."""
    times = []
    for i in range(ROUNDS + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000)  # about a millisecond, in which everything below is launched
        begin.record()
        run(i)
        end.record()
        end.synchronize()
        if i >= 2:
            times.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(times)


def grouped(torch, shapes) -> None:
    """torch._grouped_mm in BF16: gate and up of the experts of a layer; experts are drawn anew for each round."""
    weights = None
    for s in shapes:
        experts, topk, n, k, tokens = s["experts"], s["topk"], s["n"], s["k"], s["tokens"]
        if weights is None or weights.shape != (experts, k, n):
            weights = torch.randn(experts, n, k, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
        rows = torch.randn(tokens * topk, k, device="cuda", dtype=torch.bfloat16)
        counts = [
            torch.bincount(torch.rand(tokens, experts).argsort(dim=1)[:, :topk].flatten(), minlength=experts)
            for _ in range(ROUNDS + 2)
        ]
        ends = [c.cumsum(0).to(torch.int32).cuda() for c in counts]
        seconds = median_seconds(torch, lambda i: torch._grouped_mm(rows, weights, offs=ends[i]))
        active = statistics.median([int((c > 0).sum()) for c in counts[2:]])
        say(name="torch-grouped-mm-bf16", shape=s["shape"], seconds=seconds, active=active)


def scaled(torch, shapes) -> None:
    """torch._scaled_mm in FP8, one scale a matrix; rows are padded to 16, which it asks for."""
    one = torch.ones((), device="cuda", dtype=torch.float32)
    for s in shapes:
        n, k, m = s["n"], s["k"], -(-s["m"] // 16) * 16
        copies = max(2, -(-COLD_BYTES // (n * k)))
        weights = [torch.randn(n, k, device="cuda").to(torch.float8_e4m3fn).t() for _ in range(copies)]
        rows = torch.randn(m, k, device="cuda").to(torch.float8_e4m3fn)
        seconds = median_seconds(
            torch,
            lambda i: torch._scaled_mm(rows, weights[i % copies], scale_a=one, scale_b=one, out_dtype=torch.bfloat16),
        )
        say(name="torch-scaled-mm-fp8", shape=s["shape"], seconds=seconds, active=0)


def attention(torch, shapes) -> None:
    """scaled_dot_product_attention in BF16 of one query a sequence; all heads share the keys, which are the values too."""
    for s in shapes:
        sequences, keys, heads, d = s["sequences"], s["keys"], s["heads"], s["d"]
        copies = max(2, -(-COLD_BYTES // (2 * sequences * keys * d)))
        q = torch.randn(sequences, heads, 1, d, device="cuda", dtype=torch.bfloat16)
        kv = [torch.randn(sequences, 1, keys, d, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
        wide = [x.expand(sequences, heads, keys, d) for x in kv]
        run = torch.nn.functional.scaled_dot_product_attention
        seconds = median_seconds(torch, lambda i: run(q, wide[i % copies], wide[i % copies]))
        say(name="torch-attention-bf16", shape=s["shape"], seconds=seconds, active=0)


def main() -> None:
    asked = json.loads(sys.argv[1])
    try:
        import torch
    except ImportError as error:
        say(error=f"torch is not installed for this Python: {error}")
        return
    if not torch.cuda.is_available():
        say(error=f"torch {torch.__version__} finds no GPU")
        return
    torch.cuda.set_device(asked.get("device", 0))
    torch.manual_seed(7)
    say(version=torch.__version__)
    for name, kind, measure in (
        ("torch-grouped-mm-bf16", "grouped", grouped),
        ("torch-scaled-mm-fp8", "scaled", scaled),
        ("torch-attention-bf16", "attention", attention),
    ):
        try:
            with torch.inference_mode():
                measure(torch, asked.get(kind, []))
        except (AttributeError, RuntimeError, TypeError) as error:  # not in this version, or not on this GPU
            say(name=name, shape="", why=str(error).split("\n")[0])
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
