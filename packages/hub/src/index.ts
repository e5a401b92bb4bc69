export { findModel } from './find';
export type { FindOptions, FoundModel } from './find';
export { isModelName } from './names';
export { pullModel } from './pull';
export type { PulledFile, PulledModel, PullOptions, PullPlan, PullProgress } from './pull';
export type { RetryOptions } from './retry';
export { hubSettings } from './settings';
export type { Environment, HubSettings } from './settings';
export { HubError, printable } from './errors';
