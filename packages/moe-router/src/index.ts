export { createRouter } from './router';
export type { Router, RouterSpec } from './router';
export { SCORINGS, scoreExperts } from './scores';
export type { Scoring } from './scores';
export { countExperts, expertOfRow, offsetsFromCounts } from './offsets';
export { assignSlots, checkSlotOrder, isIdentitySlots } from './slots';
export { remapLocal } from './remap';
