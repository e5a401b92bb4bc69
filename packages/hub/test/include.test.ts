import { describe, expect, it } from 'vitest';
import { byGlobs, whatLoads } from '../src/include';

describe('patterns are those of the Hub: fnmatch', () => {
  it.each<[string, string[], string[]]>([
    ['*', ['a', 'b/c', 'd\ne'], []],
    ['*.json', ['a.json', 'b/c.json'], ['ajson', 'a.json5']],
    ['a?c', ['abc', 'a/c'], ['ac', 'abbc']],
    ['dir/', ['dir/a', 'dir/b/c'], ['dir', 'dirs/a']],
    ['[ab]*', ['a', 'bc'], ['c']],
    ['[!ab]*', ['c'], ['a']],
    ['[]]', [']'], ['[']],
    ['[a', ['[a'], ['a']],
    ['a-[0-9]', ['a-7'], ['a-x']],
    ['[^a]', ['^', 'a'], ['b']],
    ['a.b+(c)|{d}$^\\', ['a.b+(c)|{d}$^\\'], ['axb+(c)|{d}$^\\']],
    ['模?', ['模型'], ['型']],
    ['?', ['🦉'], ['ab']],
  ])('%s', (glob, yes, no) => {
    expect(byGlobs([...yes, ...no], [glob])).toEqual(yes);
  });
});

it('what loads is taken, other formats of it are not', () => {
  const taken = [
    ...['LICENSE', 'LICENSE-MODEL', 'chat_template.jinja', 'config.json', 'encoding/a/b.py', 'generation_config.json'],
    ...[
      'hf_quant_config.json',
      'model-1.safetensors',
      'model.safetensors.index.json',
      'odd.safetensors',
      'tokenizer.json',
    ],
  ];
  const left = [
    ...[
      'README.md',
      'consolidated.safetensors',
      'inference/model.py',
      'model.gguf',
      'model.safetensors',
      'pytorch_model.bin',
    ],
    ...['sub/config.json', 'sub/model-1.safetensors', 'tokenizer.json.bak', 'figures/LICENSE'],
  ];
  expect(whatLoads([...taken, ...left], ['model-1.safetensors', 'odd.safetensors'])).toEqual(taken);
  expect(whatLoads(['model.safetensors', 'x.safetensors', 'config.json'], undefined)).toEqual([
    'model.safetensors',
    'config.json',
  ]);
});
