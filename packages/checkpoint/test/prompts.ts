import { readFileSync } from 'node:fs';

/** Prompts that Hugging Face's tokenizer encoded: see goldens/prompts.provenance.json. */
export const PROMPTS = JSON.parse(
  readFileSync(new URL('./goldens/prompts.json', import.meta.url), 'utf8'),
) as readonly {
  readonly id: string;
  readonly text: string;
  readonly inputIds: readonly number[];
}[];
