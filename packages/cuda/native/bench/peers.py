"""Times of torch's grouped product in BF16 on the steps of w4a4_bench.cu: python3 peers.py"""

import statistics

import torch

EXPERTS, N, K, TOPK = 256, 4096, 4096, 6


def main() -> None:
    torch.manual_seed(7)
    weights = torch.randn(EXPERTS, N, K, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    for tokens in (1, 2, 4, 8, 16, 64, 256, 512, 1024, 2048, 4096, 16384):
        rows = torch.randn(tokens * TOPK, K, device="cuda", dtype=torch.bfloat16)
        times = []
        for run in range(9):
            chosen = torch.rand(tokens, EXPERTS).argsort(dim=1)[:, :TOPK]
            counts = torch.bincount(chosen.flatten(), minlength=EXPERTS)
            ends = counts.cumsum(0).to(torch.int32).cuda()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            torch._grouped_mm(rows, weights, offs=ends)
            end.record()
            end.synchronize()
            if run >= 2:
                times.append(begin.elapsed_time(end))
        print(f"tokens {tokens:6d}: torch bf16 grouped product {statistics.median(times):.4f} ms", flush=True)


if __name__ == "__main__":
    main()
