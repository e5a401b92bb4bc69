import { togetherBut } from '../../vitest.shared';

// It replaces the addon.
export default togetherBut(['test/machine.test.ts']);
