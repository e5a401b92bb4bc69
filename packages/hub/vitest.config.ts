import { togetherBut } from '../../vitest.shared';

export default togetherBut(['test/folders.test.ts', 'test/lock.test.ts']);
