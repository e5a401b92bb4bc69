import { Counter, Gauge, Histogram, Registry, type Metric } from 'prom-client';
import { STEP_SIZES } from '@megamoe/model';
import type { AnswerUsage } from './answer/types';
import type { EngineHost, Totals } from './engine-host';

const SECONDS = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 10, 20, 40, 80, 160, 640, 2560,
];
const TOKENS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
];
const ANSWERS = [1, 2, 5, 10, 20];

/** What is known of an answer that has ended. */
export interface AnswerRecord {
  readonly usage: AnswerUsage;
  readonly n: number;
  readonly maxTokens: number;
  readonly finishReasons: readonly string[];
  readonly seconds: number;
}

/** vLLM's histogram of the tokens of a step. The engine counts them; here they are only written. */
class StepSizes {
  readonly name = 'megamoe_iteration_tokens_total';
  readonly help = 'Tokens of a step: of prompts, and sampled.';
  readonly type = 'histogram';
  readonly aggregator = 'sum';

  constructor(private readonly host: EngineHost) {}

  /** As prom-client asks its own metrics. */
  get() {
    const { name, help, type, aggregator } = this;
    const totals = this.host.stats()?.totals;
    let count = 0;
    const buckets = [...STEP_SIZES, '+Inf'].map((le, i) => {
      count += totals?.stepSizes[i] ?? 0;
      return { metricName: `${name}_bucket`, labels: { le }, value: count };
    });
    const sum = totals ? totals.promptTokens + totals.completionTokens : 0;
    const values = [
      ...buckets,
      { metricName: `${name}_sum`, labels: {}, value: sum },
      { metricName: `${name}_count`, labels: {}, value: count },
    ];
    return Promise.resolve({ name, help, type, aggregator, values });
  }

  reset(): void {
    // What it writes is the engine's.
  }
}

/** Metrics in Prometheus' text format: vLLM's names with `megamoe_` for `vllm:`. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #ended: Counter<'finished_reason'>;
  readonly #responses: Counter<'path' | 'status'>;
  readonly #ttft: Histogram;
  readonly #itl: Histogram;
  readonly #histograms: Readonly<Record<string, Histogram>>;
  readonly #toolCalls: Counter<'status'>;

  constructor(host: EngineHost) {
    const registers = [this.#registry];
    const gauge = (name: string, help: string, value: () => number | undefined): void => {
      new Gauge({ name: `megamoe_${name}`, help, registers, collect() { this.set(value() ?? 0); } }); // prettier-ignore
    };
    const total = (name: string, help: string, field: keyof Totals): void => {
      new Counter({
        name: `megamoe_${name}`,
        help,
        registers,
        collect() {
          this.reset();
          this.inc(host.stats()?.totals[field] ?? 0);
        },
      });
    };
    const histogram = (name: string, help: string, buckets: number[]): Histogram =>
      new Histogram({ name: `megamoe_${name}`, help, registers, buckets });
    const now = () => host.stats()?.now;
    gauge('num_requests_running', 'Requests that take part in steps.', () => now()?.running);
    gauge('num_requests_waiting', 'Requests that wait for their first step or to be resumed.', () => now()?.waiting);
    gauge('kv_cache_usage_perc', 'Share of the KV memory that is in use, from 0 to 1.', () => {
      const stats = now();
      return stats && stats.kvLimitBytes > 0 && Number.isFinite(stats.kvLimitBytes)
        ? stats.kvBytes / stats.kvLimitBytes
        : 0;
    });
    gauge('kv_cache_bytes', 'Bytes of KV pages in use, kept prefixes included.', () => now()?.kvBytes);
    gauge('prefix_cache_bytes', 'Bytes of KV pages that kept prefixes hold.', () => now()?.cacheBytes);
    gauge('engine_ready', '1 while requests are served.', () => (host.status === 'ready' ? 1 : 0));
    total(
      'prefix_cache_queries_total',
      'Tokens of prompts that were looked for among kept prefixes.',
      'prefixQueryTokens',
    );
    total('prefix_cache_hits_total', 'Tokens of prompts that were found there.', 'prefixHitTokens');
    total('prompt_tokens_total', 'Tokens of prompts taken in, counted chunk by chunk.', 'promptTokens');
    total('generation_tokens_total', 'Tokens sampled.', 'completionTokens');
    total('engine_steps_total', 'Steps of the model.', 'steps');
    total('num_preemptions_total', 'Times that a running sequence was put back.', 'preemptions');
    this.#registry.registerMetric(new StepSizes(host) as unknown as Metric);
    this.#ended = new Counter({
      name: 'megamoe_request_success_total',
      help: 'Answers that ended, by how; requests that were broken off by abort and error.',
      labelNames: ['finished_reason'],
      registers,
    });
    this.#responses = new Counter({
      name: 'megamoe_http_responses_total',
      help: 'Responses by route and status; 499 for clients that went away.',
      labelNames: ['path', 'status'],
      registers,
    });
    this.#toolCalls = new Counter({
      name: 'megamoe_tool_call_parser_invocations_total',
      help: 'Answers parsed with tools declared, by whether a call came of it.',
      labelNames: ['status'],
      registers,
    });
    this.#ttft = histogram('time_to_first_token_seconds', 'From the request to its first token.', SECONDS);
    this.#itl = histogram('inter_token_latency_seconds', 'Between two tokens of an answer.', SECONDS);
    this.#histograms = {
      e2e: histogram('e2e_request_latency_seconds', 'From the request to the end of its answers.', SECONDS),
      queue: histogram('request_queue_time_seconds', 'Waiting for the first step.', SECONDS),
      prefill: histogram('request_prefill_time_seconds', 'Steps that took in the prompt.', SECONDS),
      decode: histogram('request_decode_time_seconds', 'Steps after them.', SECONDS),
      inference: histogram('request_inference_time_seconds', 'All steps of a request.', SECONDS),
      perToken: histogram('request_time_per_output_token_seconds', 'Time of decoding for each token.', SECONDS),
      promptTokens: histogram('request_prompt_tokens', 'Tokens of a prompt.', TOKENS),
      tokens: histogram('request_generation_tokens', 'Tokens of all answers to a request.', TOKENS),
      n: histogram('request_params_n', 'Answers asked for.', ANSWERS),
      maxTokens: histogram('request_params_max_tokens', 'Most tokens of an answer.', TOKENS),
    };
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  response(path: string, status: number): void {
    this.#responses.inc({ path, status: String(status) });
  }

  firstToken(ms: number): void {
    this.#ttft.observe(ms / 1000);
  }

  nextToken(ms: number): void {
    this.#itl.observe(ms / 1000);
  }

  toolsParsed(called: boolean): void {
    this.#toolCalls.inc({ status: called ? 'call' : 'none' });
  }

  /** Answers that were broken off: the client went away, or the engine failed. */
  brokenOff(reason: 'abort' | 'error'): void {
    this.#ended.inc({ finished_reason: reason });
  }

  answered({ usage, n, maxTokens, finishReasons, seconds }: AnswerRecord): void {
    for (const reason of finishReasons) this.#ended.inc({ finished_reason: reason });
    const { queueMs, prefillMs, decodeMs, promptTokens, completionTokens } = usage;
    const values: Record<string, number | undefined> = {
      e2e: seconds,
      queue: queueMs / 1000,
      prefill: prefillMs / 1000,
      decode: decodeMs / 1000,
      inference: (prefillMs + decodeMs) / 1000,
      perToken: completionTokens > n ? decodeMs / 1000 / (completionTokens / n - 1) : undefined,
      promptTokens,
      tokens: completionTokens,
      n,
      maxTokens,
    };
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined && Number.isFinite(value)) this.#histograms[name]!.observe(value);
    }
  }
}
