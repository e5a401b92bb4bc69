/** The tests of clients with another version of `openai` than the one that is installed. */
import { fileURLToPath } from 'node:url';
import { mergeConfig } from 'vitest/config';
import shared from '../../vitest.shared.ts';

const root = fileURLToPath(new URL('../../packages/server', import.meta.url));
const openai = process.env.MEGAMOE_OPENAI;

export default mergeConfig(shared, { root, ...(openai ? { resolve: { alias: { openai } } } : {}) });
