export { seeded } from './seeded';
export type { Seeded } from './seeded';
export { expectBytes, expectClose } from './compare';
export { readmeTests } from './readme';
export { repositoryFile } from './paths';
export { anyCalls, makeCalls, nearlyRightCalls } from './fuzz';
export type { FuzzCall } from './fuzz';
export { callsOf, changedCalls } from './calls';
export type { OpList } from './calls';
