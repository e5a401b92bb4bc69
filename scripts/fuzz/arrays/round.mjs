/** One round: builds a valid call of a function, breaks it, makes it, and says what is wrong with what came. */
import { BREAKS } from './breaks.mjs';
import { argumentsOf, digest, faultOf, firstChange, onCopies, oneName, outputs, snapshot } from './judge.mjs';
import { random } from './random.mjs';
import { armed } from './typed.mjs';

const lacksMemory = ({ ok, error }) => !ok && /cannot be allocated|cannot allocate|no memory/.test(error?.message);

/**
 * What calls the functions of one package, of `surface`, with the calls of `table`. `before` is told of each call; `only` names the one function
 * to call.
 */
export function makeFuzzer({ module, table, surface, racer, root, only, before: announce = () => undefined }) {
  const names = Object.keys(table.calls).filter((n) => only === undefined || n === only);
  const backends = table.backends?.(module) ?? [undefined];
  const counts = { calls: 0, accepted: 0, refused: 0, raced: 0, functions: {} };

  /** The call of a function that a seed gives, the same each time. */
  function build(name, callSeed, backend) {
    const { isNew, of } = surface.get(name);
    const made = table.calls[name](random(callSeed), module, { backend, root });
    made.writes ??= [];
    return { isNew, isNative: backend === 'native', ...made, name, f: made.f ?? of(made.self) };
  }

  const breakCall = (call, breakSeed) => {
    const r = random(breakSeed);
    const note = { right: true, race: 0 };
    const words = [];
    for (let n = [0, 1, 1, 1, 1, 1, 2, 2][r.below(8)]; n > 0; n--) {
      for (let tries = 0; tries < 5; tries++) {
        const { name, apply, right } = r.pick(BREAKS);
        const mine = { right: false, race: 0 };
        const word = apply(call, r, mine, racer);
        if (word === undefined) continue;
        words.push(`${name} (${word})`);
        if (!(right || mine.right)) note.right = false;
        note.race = Math.max(note.race, mine.race);
        break;
      }
    }
    return { ...note, words, text: words.join(' and ') || 'nothing' };
  };

  async function attempt(call) {
    armed.on = true;
    try {
      let result = call.isNew ? Reflect.construct(call.f, call.args) : Reflect.apply(call.f, call.self, call.args);
      if (call.isAsync) result = await (call.patience === undefined ? result : within(call.patience, result));
      return { ok: true, result };
    } catch (error) {
      return { ok: false, error };
    } finally {
      armed.on = false;
    }
  }

  /** A text of what a call gave: what it returned, or what its table says to look at. */
  const seen = (call, result) => {
    try {
      return digest(call.observe ? call.observe(result, call) : result, 0, argumentsOf(call));
    } catch (error) {
      return `looking at it throws ${error?.message}`;
    }
  };

  /** The call on memory that another thread rewrites: it may give anything, but in the right way. */
  async function raced(call, end) {
    racer.start(end);
    let fault;
    for (let n = 0, until = performance.now() + 15; n < 200 && performance.now() < until && !fault; n++) {
      const { ok, error } = await attempt(call);
      counts.raced++;
      if (!ok) fault = faultOf(error, call);
    }
    racer.stop();
    return fault === undefined ? [] : [fault];
  }

  /** What is wrong with one call: texts. */
  async function judge(name, callSeed, breakSeed, backend, other) {
    const call = build(name, callSeed, backend);
    call.fresh = () => {
      const again = build(name, callSeed, backend);
      const result = Reflect.apply(again.f, call.self, again.args);
      if (again.isAsync) Promise.resolve(result).catch(() => undefined);
      return result;
    };
    const broken = breakCall(call, breakSeed);
    const found = { text: broken.text, words: broken.words, faults: [] };
    if (broken.race > 0) return { ...found, faults: await raced(call, broken.race) };
    const copies = [onCopies(call, build(name, callSeed, backend))];
    call.afterwards = () => {
      armed.on = false;
      copies.push(onCopies(call, build(name, callSeed, backend)));
      armed.on = true;
    };
    const before = snapshot(call);
    const state = call.state?.(call);
    const outcome = await attempt(call);
    counts.calls++;
    counts[outcome.ok ? 'accepted' : 'refused']++;
    const tally = (counts.functions[name] ??= [0, 0]);
    tally[outcome.ok ? 0 : 1]++;
    if (outcome.ok) {
      found.faults.push(...(await foreign(call, copies, before, outcome)));
    } else {
      const fault = faultOf(outcome.error, call);
      if (fault) found.faults.push(fault);
      if (!call.dirty) {
        const change = firstChange(before);
        if (change) found.faults.push(`refused (${outcome.error?.message}), but ${change}`);
        if (call.state && call.state(call) !== state)
          found.faults.push(`refused (${outcome.error?.message}), but its state changed`);
      }
      if (broken.right && !call.mayRefuse && (await attempt(copies[0])).ok)
        found.faults.push(`refused though right: ${outcome.error?.message}`);
    }
    if (other !== undefined) {
      const twin = { ...build(name, callSeed, other), isNative: call.isNative }; // so that it is broken alike
      breakCall(twin, breakSeed);
      const theirs = await attempt(twin);
      if ([theirs, outcome].some(lacksMemory)) {
        // The other one holds it.
      } else if (theirs.ok !== outcome.ok) {
        const said = (o, b) => `${b} ${o.ok ? 'takes it' : `says ${o.error?.message}`}`;
        found.faults.push(`${said(outcome, backend)}, ${said(theirs, other)}`);
      } else if (!theirs.ok && broken.words.length < 2 && theirs.error?.code !== outcome.error?.code) {
        found.faults.push(`${backend}: ${outcome.error?.message}, ${other}: ${theirs.error?.message}`);
      } else if (theirs.ok && table.isExact !== false && !call.isLoose) {
        if (digest([...outputs(call)]) !== digest([...outputs(twin)]))
          found.faults.push(`${backend} and ${other} give other bits`);
      }
    }
    return found;
  }

  /**
   * What an accepted call did otherwise than the same call on fresh separate copies, as the arguments were at first, or after something in them
   * had changed them on the way.
   */
  async function foreign(call, copies, before, outcome) {
    let faults = [];
    for (const other of copies) {
      const found = await difference(call, other, before, outcome);
      if (found.length === 0) return found;
      if (faults.length === 0) faults = found;
    }
    return faults;
  }

  async function difference(call, copies, before, { result }) {
    const reference = await attempt(copies);
    if (lacksMemory(reference)) return []; // the first one holds it
    if (!reference.ok) return [`taken, though fresh copies are refused: ${reference.error?.message}`];
    const faults = [];
    const [got, want] = [outputs(call), outputs(copies)];
    for (const [path, bytes] of want) {
      const [mine, was] = [got.get(path), before.views.get(path)?.was];
      if (mine === undefined || mine.length === bytes.length || was === undefined) continue;
      if (Buffer.compare(was, bytes) !== 0) faults.push(`foreign result: "${path}" was written while it went away`);
    }
    const [a, b] = [seen(call, result), seen(copies, reference.result)].map((text) => oneName(call, text));
    if (a !== b) faults.push(`foreign result: ${a.slice(0, 200)}, of separate copies ${b.slice(0, 200)}`);
    if (faults.length === 0 && !call.wild) {
      const change = firstChange(before, want);
      if (change) faults.push(`taken, but ${change}`);
    }
    return faults;
  }

  return {
    counts,
    /** The findings of the round with this number. */
    async round(id) {
      const r = random(id);
      const name = r.pick(names);
      const backend = r.pick(backends);
      const other = backends.length > 1 && r.below(2) === 0 ? backends.find((b) => b !== backend) : undefined;
      announce(id, name);
      const { text, words, faults } = await judge(name, r.below(2 ** 31), r.below(2 ** 31), backend, other);
      const where = backend === undefined ? '' : `${backend}: `;
      return faults.map((fault) => {
        const key = `${name}: ${words.map((w) => w.split(' ')[0])[0]} ${kindOf(fault)}`;
        return { id, name, text: where + text, fault, key };
      });
    },
  };
}

/** Waits for a promise no longer than that; what takes longer is given up, which is no fault of it. */
function within(ms, promise) {
  const late = Object.assign(new Error('it takes longer'), { userMade: true });
  return Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(late), ms))]);
}

/** What a finding is about, without what differs between two of a kind. */
const kindOf = (text) =>
  text
    .replace(/^foreign result.*/, 'foreign result')
    .replace(/ got .*/, ' got')
    .replace(/ Received .*/s, '')
    .replace(/-?\d+(\.\d+)?(e[+-]?\d+)?/g, '#')
    .slice(0, 160);
