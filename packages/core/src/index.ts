export { CheckpointError, KindError, namedError, ShapeError, UnsupportedError, ValueError } from './errors';
export type { CheckpointErrorDetails } from './errors';
export {
  ceilDiv,
  checkCapacity,
  checkFinite,
  checkFunction,
  checkInteger,
  checkLength,
  checkMultiple,
  checkNumber,
  checkOneOf,
  checkPositive,
  checkSignal,
  checkString,
  roundUp,
} from './checks';
export {
  ArgPlaces,
  checkApart,
  checkAttached,
  checkApartOrSame,
  checkKind,
  checkObject,
  checkPlacesApart,
  describe,
  isShared,
  newArray,
  plainView,
  placeOf,
  sameBuffer,
  takeIds,
  takeList,
  takeStrings,
} from './arrays';
export type { Memory, Place, TypedArrayClass } from './arrays';
export {
  decodeBf16,
  decodeBf16Array,
  decodeF16,
  E2M1_MAX,
  E2M1_VALUES,
  E4M3_MAX,
  E4M3_MIN,
  E4M3_VALUES,
  E8M0_VALUES,
  encodeBf16,
  encodeBf16Array,
  encodeE2m1,
  encodeE4m3,
} from './codecs';
export { firstNonFinite } from './logits-scan';
export type { LogitsScan } from './logits-scan';
export { philox4x32 } from './philox';
export type { YarnParameters } from './yarn';
