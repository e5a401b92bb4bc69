import { togetherBut } from '../../vitest.shared';

export default togetherBut(['test/faults.test.ts']);
