/**
 * One process that calls the functions of a package for a while, or of several, one after the other. Where it is stands in the file `current`, so that a signal or a hang can be told;
 * findings and counts go to files too.
 */
import { appendFileSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { mix } from './random.mjs';
import { startRacer } from './racer.mjs';
import { makeFuzzer } from './round.mjs';
import { gaps, load } from './surface.mjs';

const { names, milliseconds, rounds, seed, first, work, replay, skip, only } = JSON.parse(process.argv[2]);
mkdirSync(join(work, 'here'), { recursive: true });
process.chdir(join(work, 'here')); // where wrong paths such as "x" lead
const current = openSync(join(work, 'current'), 'w');
const before = (id, f) => writeSync(current, JSON.stringify({ id, name: f }).padEnd(160), 0);
const racer = startRacer();

/** What calls the functions of a package; ends the process where its table has gaps. */
async function fuzzerOf(name) {
  const { module, table, surface } = await load(name);
  const { missing, gone } = gaps(surface, table);
  if (missing.length + gone.length > 0) {
    const text = [
      ...missing.map((n) => `${n} has no calls in the table`),
      ...gone.map((n) => `${n} is not there any more`),
    ];
    process.stderr.write(`${name}: ${text.join('; ')}\n`);
    process.exit(3);
  }
  return makeFuzzer({ module, table, surface, racer, root: work, only, before });
}

async function fuzz(name) {
  const fuzzer = await fuzzerOf(name);
  const known = new Set(skip);
  let [spent, last, saved, i] = [0, performance.now(), 0, first];
  const save = () => writeFileSync(join(work, 'counts'), JSON.stringify({ ...fuzzer.counts, spent, next: i }));
  while (rounds === undefined ? spent < milliseconds : i < rounds) {
    for (const finding of await fuzzer.round(mix(seed, i))) {
      if (known.has(finding.key)) continue;
      known.add(finding.key);
      appendFileSync(join(work, 'findings'), `${JSON.stringify(finding)}\n`);
    }
    i++;
    const now = performance.now();
    spent += Math.min(now - last, 1000); // while the process was stopped, nothing was tried
    last = now;
    if (now - saved > 1000) {
      saved = now;
      save();
    }
  }
  save();
}

if (replay !== undefined) {
  const found = await (await fuzzerOf(names[0])).round(replay);
  for (const { name: f, text, fault } of found) process.stdout.write(`${f}, ${text}\n  ${fault}\n`);
} else for (const name of names) await fuzz(name);
process.exit(0);
