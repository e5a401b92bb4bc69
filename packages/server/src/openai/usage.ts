import type { AnswerUsage } from '../answer/types';

/** `usage` of OpenAI's API, with DeepSeek's two figures of the cache. */
export function usageOf({ promptTokens, cachedTokens, completionTokens, reasoningTokens }: AnswerUsage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    completion_tokens_details: { reasoning_tokens: reasoningTokens },
    ...(cachedTokens === undefined
      ? {}
      : {
          prompt_tokens_details: { cached_tokens: cachedTokens },
          prompt_cache_hit_tokens: cachedTokens,
          prompt_cache_miss_tokens: promptTokens - cachedTokens,
        }),
  };
}

const round = (x: number): number => Math.round(x * 1000) / 1000;
const per = (ms: number, n: number): number => (n > 0 ? round(ms / n) : 0);
const rate = (n: number, ms: number): number => (ms > 0 ? round((n / ms) * 1000) : 0);

/** llama.cpp's `timings`: what was computed, and how fast. */
export function timingsOf(usage: AnswerUsage) {
  const { promptTokens, cachedTokens = 0, completionTokens, queueMs, prefillMs, decodeMs } = usage;
  const prompt = promptTokens - cachedTokens;
  return {
    cache_n: cachedTokens,
    prompt_n: prompt,
    prompt_ms: round(prefillMs),
    prompt_per_token_ms: per(prefillMs, prompt),
    prompt_per_second: rate(prompt, prefillMs),
    predicted_n: completionTokens,
    predicted_ms: round(decodeMs),
    predicted_per_token_ms: per(decodeMs, completionTokens),
    predicted_per_second: rate(completionTokens, decodeMs),
    queue_ms: round(queueMs),
  };
}
