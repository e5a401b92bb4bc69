import { togetherBut } from '../../vitest.shared';

// These replace modules or streams of the process, or measure its memory.
const apart = ['bench', 'disk', 'explain', 'progress', 'pull', 'streams'];

export default togetherBut(apart.map((name) => `test/${name}.test.ts`));
