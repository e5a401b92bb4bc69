/**
 * Breaks in the middle of a call: getters, conversions and functions of the caller that detach, resize or overwrite arrays, or call the same
 * function again, while it is at work.
 */
import {
  armed,
  arraysIn,
  at,
  bufferOf,
  bytesOf,
  classOf,
  copyBytes,
  detach,
  isOpen,
  lengthOf,
  parts,
  put,
  standsFor,
  strange,
} from './typed.mjs';

/** Moves an array onto a buffer that can be resized; returns that. */
function onResizable(call, path, value) {
  const bytes = Math.max(bytesOf(value), classOf(value).BYTES_PER_ELEMENT);
  const buffer = new ArrayBuffer(bytes, { maxByteLength: 2 * bytes });
  new Uint8Array(buffer).set(copyBytes(value));
  put(call.args, path, new (classOf(value))(buffer, 0, lengthOf(value)));
  return buffer;
}

/** Something that happens once, at the given time of asking. */
function mischief(call, r) {
  const all = arraysIn(call.args).filter(({ value }) => bufferOf(value) instanceof ArrayBuffer);
  const how = all.length === 0 ? 2 : r.below(call.state ? 2 : 3);
  const when = r.below(4);
  let asked = 0;
  const once = (f) => () => {
    if (!armed.on || asked++ !== when) return;
    f();
    call.afterwards?.();
  };
  if (how === 2) {
    let isIn = false;
    const again = () => {
      if (isIn) return;
      isIn = true;
      try {
        const { fresh } = call;
        if (fresh && !call.state) fresh();
      } catch {
        // what matters is the call that is at work
      }
      isIn = false;
    };
    return { word: 'calls again', act: once(again) };
  }
  const { path, value } = r.pick(all);
  if (how === 0) return { word: `detaches ${path}`, act: once(() => bytesOf(value) > 0 && detach(bufferOf(value))) };
  const buffer = onResizable(call, path, value);
  const to = r.below(2) === 0 ? 0 : buffer.byteLength >> 1;
  return { word: `shrinks ${path}`, act: once(() => buffer.byteLength > to && buffer.resize(to)) };
}

/** An object of options whose properties do something when they are read. */
export function getters(call, r) {
  const { word, act } = mischief(call, r);
  const all = parts(call.args).filter(
    ({ value }) => isOpen(value) && !Array.isArray(value) && Object.keys(value).length > 0,
  );
  if (all.length === 0) return undefined;
  const { path } = r.pick(all);
  const plain = at(call.args, path);
  const made = {};
  for (const key of Object.keys(plain)) {
    Object.defineProperty(made, key, {
      get() {
        act();
        return plain[key];
      },
      enumerable: true,
      configurable: true,
    });
  }
  standsFor.set(made, plain);
  put(call.args, path, made);
  return `${path}: a getter ${word}`;
}

/** Properties that are another value each time: the first is what counts. */
export function fickle(call, r) {
  if (call.isData) return undefined; // requests are what JSON gives: data without getters
  const all = parts(call.args).filter(
    ({ value }) => isOpen(value) && !Array.isArray(value) && Object.keys(value).length > 0,
  );
  if (all.length === 0) return undefined;
  const { path } = r.pick(all);
  const plain = at(call.args, path);
  const key = r.pick(Object.keys(plain));
  const truth = plain[key];
  const later =
    typeof truth === 'number'
      ? r.pick([truth + 1, truth * 1000, -1, NaN, 2 ** 31, 0])
      : r.pick([undefined, null, new Float32Array(1), 'x', 3, {}]);
  let asked = 0;
  const made = { ...plain };
  Object.defineProperty(made, key, {
    get: () => (!armed.on || asked++ === 0 ? truth : later),
    enumerable: true,
    configurable: true,
  });
  standsFor.set(made, plain);
  put(call.args, path, made);
  return `${path}.${key} is read twice`;
}

/** A number that is an object, whose conversion does something. */
export function conversions(call, r) {
  if (call.anyObject) return undefined; // where an object is as right as a number
  const all = parts(call.args).filter(
    ({ path, value }) => (typeof value === 'number' || typeof value === 'string') && !call.replaced?.has(path),
  );
  if (all.length === 0) return undefined;
  const { word, act } = mischief(call, r);
  const { path, value } = r.pick(all);
  const made = {
    valueOf() {
      act();
      return value;
    },
    toString() {
      act();
      return String(value);
    },
  };
  standsFor.set(made, value);
  put(call.args, path, r.below(3) === 0 ? [value] : made);
  return `${path}: a conversion ${word}`;
}

/** A function of the caller that does something before it answers. */
export function callbacks(call, r) {
  if (call.anyObject) return undefined;
  const all = parts(call.args).filter(
    ({ value }) => typeof value === 'function' && !/^class/.test(Function.prototype.toString.call(value)),
  );
  if (all.length === 0) return undefined;
  const { path, value } = r.pick(all);
  if (strange.has(value)) return undefined;
  const { word, act } = mischief(call, r);
  const how = r.below(4);
  const made = function (...args) {
    act();
    if (how === 0) return undefined;
    return Reflect.apply(value, this, args);
  };
  if (how === 0) strange.add(made);
  else standsFor.set(made, undefined);
  put(call.args, path, made);
  return how === 0 ? `${path}: a function returns nothing` : `${path}: a function ${word}`;
}
