/** All breaks, some named more than once for their weight. `right`: what they make is still a call that must be accepted. */
import * as places from './places.mjs';
import * as pretend from './pretend.mjs';
import * as reenter from './reenter.mjs';

const row = (name, apply, weight = 1, right = false) => Array.from({ length: weight }, () => ({ name, apply, right }));

export const BREAKS = [
  ...row('arena', places.arena, 2, true),
  ...row('overlap', places.overlap, 6),
  ...row('twice', places.twice, 2),
  ...row('shared', places.shared, 2),
  ...row('racing', places.racing, 1),
  ...row('detached', places.detached, 1),
  ...row('resizable', places.resizable, 2),
  ...row('length', places.otherLength, 2),
  ...row('realm', pretend.otherRealm, 1, true),
  ...row('subclass', pretend.subclass, 2, true),
  ...row('forged', pretend.forged, 3),
  ...row('prototype', pretend.prototype, 2),
  ...row('type', pretend.otherType, 2),
  ...row('value', pretend.otherValue, 5),
  ...row('number', pretend.otherNumber, 3),
  ...row('count', pretend.otherCount, 1),
  ...row('keys', pretend.otherKeys, 2),
  ...row('object', pretend.otherObject, 1, true),
  ...row('getters', reenter.getters, 3),
  ...row('fickle', reenter.fickle, 2),
  ...row('conversion', reenter.conversions, 2),
  ...row('callback', reenter.callbacks, 2),
];
