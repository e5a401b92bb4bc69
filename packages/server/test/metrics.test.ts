/** What Prometheus reads: the names that people graph, and what is counted. */
import { readEncoding } from '@megamoe/chat';
import { expect, it } from 'vitest';
import { createServer } from '../src/index';
import { FakeEngine } from './fake-engine';
import { TINY, user, WEATHER } from './support';

/** vLLM's, without its prefix. Those of speculative decoding are missing, as it is. */
const NAMES = `
  num_requests_running num_requests_waiting kv_cache_usage_perc prefix_cache_queries_total prefix_cache_hits_total prompt_tokens_total
  generation_tokens_total request_success_total time_to_first_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds
  e2e_request_latency_seconds request_queue_time_seconds request_prefill_time_seconds request_decode_time_seconds
  request_inference_time_seconds request_prompt_tokens request_generation_tokens request_params_n request_params_max_tokens
  iteration_tokens_total tool_call_parser_invocations_total num_preemptions_total
`;

async function start() {
  const engine = new FakeEngine();
  const server = createServer({ open: async () => ({ engine, encoding: await readEncoding(TINY), names: ['tiny'] }) });
  await server.load();
  const ask = async (body: object): Promise<number> => {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const response = await server.fetch(new Request('http://localhost/v1/chat/completions', init));
    await response.text();
    return response.status;
  };
  const text = async (): Promise<string> => (await server.fetch(new Request('http://localhost/metrics'))).text();
  /** The value of a line. */
  const value = async (line: string): Promise<number | undefined> => {
    const found = (await text()).split('\n').find((each) => each.startsWith(`megamoe_${line} `));
    return found === undefined ? undefined : Number(found.split(' ').at(-1));
  };
  return { engine, ask, text, value };
}

it("all of vLLM's names are there with a type and a word on each, before any request", async () => {
  const { text } = await start();
  const said = await text();
  for (const name of NAMES.trim().split(/\s+/)) {
    expect(said, name).toMatch(new RegExp(`^# HELP megamoe_${name} \\S`, 'm'));
    expect(said, name).toMatch(new RegExp(`^# TYPE megamoe_${name} (gauge|counter|histogram)$`, 'm'));
  }
});

it('answers count by how they ended, and with their figures', async () => {
  const { engine, ask, value } = await start();
  engine.script = { says: () => 'Hm.</think>Hello there.' };
  await ask({ messages: user('Hi'), n: 2 });
  await ask({ messages: user('Hi'), max_tokens: 2, stream: true });
  await ask({ messages: user('Hi'), tools: [WEATHER] });
  engine.script = { failAfter: { tokens: 1, error: new Error('no more') } };
  expect(await ask({ messages: user('Hi') })).toBe(500);
  expect(await value('request_success_total{finished_reason="stop"}')).toBe(3);
  expect(await value('request_success_total{finished_reason="length"}')).toBe(1);
  expect(await value('request_success_total{finished_reason="error"}')).toBe(1);
  expect(await value('tool_call_parser_invocations_total{status="none"}')).toBe(1);
  for (const name of ['request_params_n', 'e2e_request_latency_seconds', 'request_generation_tokens']) {
    expect(await value(`${name}_count`), name).toBe(3);
  }
  expect(await value('request_params_n_sum')).toBe(4);
  expect(await value('time_to_first_token_seconds_count')).toBe(4); // of the one that failed too
  expect(await value('http_responses_total{path="/v1/chat/completions",status="200"}')).toBe(3);
  expect(await value('http_responses_total{path="/v1/chat/completions",status="500"}')).toBe(1);
});
