import { togetherBut } from '../../vitest.shared';

// One replaces a module, the others measure the memory of their process.
const apart = ['create-backend', 'allocation', 'residency', 'soak'];

export default togetherBut(apart.map((name) => `test/${name}.test.ts`));
