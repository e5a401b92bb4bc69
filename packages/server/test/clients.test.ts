/** The clients that people use, unchanged, against a real server with the shipped model. */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { serveTiny, WEATHER, type Running } from './support';

let running: Running;
beforeAll(async () => {
  running = await serveTiny({ apiKeys: ['sk-test'] });
});
afterAll(() => running.server.close());

describe('openai', () => {
  const client = () => new OpenAI({ baseURL: `${running.url}/v1`, apiKey: 'sk-test', maxRetries: 0 });

  it('streams reasoning, then the answer, then usage', async () => {
    const stream = await client().chat.completions.create({
      model: 'tiny',
      temperature: 0,
      messages: [{ role: 'user', content: 'What is 347 plus 285?' }],
      stream: true,
      stream_options: { include_usage: true },
    });
    let [reasoning, content] = ['', ''];
    const finish: string[] = [];
    let usage: OpenAI.CompletionUsage | undefined;
    for await (const chunk of stream) {
      const delta = chunk.choices[0]?.delta as { content?: string; reasoning_content?: string } | undefined;
      reasoning += delta?.reasoning_content ?? '';
      content += delta?.content ?? '';
      if (chunk.choices[0]?.finish_reason) finish.push(chunk.choices[0].finish_reason);
      usage = chunk.usage ?? usage;
    }
    expect(reasoning).toContain('632');
    expect(content).toBe('347 plus 285 is 632.');
    expect(finish).toEqual(['stop']);
    expect(usage!.prompt_tokens + usage!.completion_tokens).toBe(usage!.total_tokens);
    expect(usage!.completion_tokens_details!.reasoning_tokens).toBeGreaterThan(20);
  });

  it('calls a tool, sends its result back, and finds its KV', async () => {
    const tools = [WEATHER];
    const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: 'user', content: 'What is the weather in Paris?' }];
    const stream = client().chat.completions.stream({ model: 'tiny', temperature: 0, messages, tools });
    const first = await stream.finalChatCompletion();
    const call = first.choices[0]!.message.tool_calls![0]!;
    expect(first.choices[0]!.finish_reason).toBe('tool_calls');
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } });
    // The helper keeps of reasoning its last piece only; other clients drop it.
    const { content, tool_calls: calls } = first.choices[0]!.message;
    messages.push({ role: 'assistant', content, tool_calls: calls! });
    messages.push({
      role: 'tool',
      tool_call_id: call.id,
      content: '{"temperature": 18, "condition": "sunny"}',
    });
    const second = await client().chat.completions.create({ model: 'tiny', temperature: 0, messages, tools });
    expect(second.choices[0]!.message.content).toMatch(/18|sunny/);
    // All of the first prompt and all that was sampled but its end is there.
    const { prompt_tokens: promptTokens, prompt_tokens_details: details } = second.usage!;
    expect(details!.cached_tokens).toBeGreaterThan(0.8 * promptTokens);
  });

  it('gets the errors of its own classes', async () => {
    const wrong = new OpenAI({ baseURL: `${running.url}/v1`, apiKey: 'sk-wrong', maxRetries: 0 });
    await expect(wrong.models.list()).rejects.toThrow(OpenAI.AuthenticationError);
    const asked = client().chat.completions.create({ model: 'gpt-4', messages: [{ role: 'user', content: 'Hi' }] });
    await expect(asked).rejects.toThrow(OpenAI.NotFoundError);
    await expect(client().chat.completions.create({ model: 'tiny', messages: [] })).rejects.toThrow(
      OpenAI.BadRequestError,
    );
    expect((await client().models.list()).data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await client().models.retrieve('tiny')).id).toBe('tiny');
  });

  it('completes text', async () => {
    const { choices, usage } = await client().completions.create({
      model: 'tiny',
      prompt: 'The capital of France is',
      temperature: 0,
      max_tokens: 2,
    });
    expect(choices[0]!.text).toBe(' Paris.');
    expect(usage!.completion_tokens).toBe(2);
  });
});

describe('ai', () => {
  const model = () =>
    createOpenAICompatible({
      name: 'megamoe',
      baseURL: `${running.url}/v1`,
      apiKey: 'sk-test',
      includeUsage: true,
    })('tiny');

  it('streams reasoning and text', async () => {
    const result = streamText({ model: model(), temperature: 0, prompt: 'What is 347 plus 285?' });
    let reasoning = '';
    for await (const part of result.fullStream) {
      if (part.type === 'error') throw part.error;
      if (part.type === 'reasoning-delta') reasoning += part.text;
    }
    expect(reasoning).toContain('632');
    expect(await result.text).toBe('347 plus 285 is 632.');
    expect((await result.usage).reasoningTokens).toBeGreaterThan(20);
  });

  it('runs a tool and answers with its result', async () => {
    const asked: string[] = [];
    const { text, steps } = await generateText({
      model: model(),
      temperature: 0,
      prompt: 'What is the weather in Paris?',
      stopWhen: stepCountIs(3),
      tools: {
        get_weather: tool({
          description: 'Get the weather',
          inputSchema: z.object({ city: z.string() }),
          execute: ({ city }) => {
            asked.push(city);
            return { temperature: 18, condition: 'sunny' };
          },
        }),
      },
    });
    expect(asked).toEqual(['Paris']);
    expect(steps.length).toBe(2);
    expect(text).toMatch(/18|sunny/);
  });
});

const hasCurl = spawnSync('curl', ['--version']).status === 0;

describe.runIf(hasCurl)('curl', () => {
  const curl = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('curl', ['-sS', '--max-time', '60', ...args])).stdout;

  it('gets an answer, a stream, an error and the metrics', async () => {
    const json = ['-H', 'content-type: application/json', '-H', 'authorization: Bearer sk-test'];
    const ask = {
      messages: [{ role: 'user', content: 'What is the capital of France?' }],
      temperature: 0,
      thinking: false,
    };
    const url = `${running.url}/v1/chat/completions`;
    expect(JSON.parse(await curl(url, ...json, '-d', JSON.stringify(ask)))).toMatchObject({
      choices: [{ message: { content: 'The capital of France is Paris.' } }],
    });
    const stream = await curl('-N', url, ...json, '-d', JSON.stringify({ ...ask, stream: true }));
    expect(stream.trimEnd().split('\n\n').at(-1)).toBe('data: [DONE]');
    expect(JSON.parse(await curl(url, ...json, '-d', '{'))).toMatchObject({ error: { type: 'invalid_request_error' } });
    expect(await curl(`${running.url}/metrics`, '-H', 'x-api-key: sk-test')).toMatch(
      /megamoe_prompt_tokens_total [1-9]/,
    );
    expect(await curl(`${running.url}/health`)).toBe('{"status":"ok"}');
  });
});
