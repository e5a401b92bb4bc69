import { checkObject, checkString, takeStrings } from '@megamoe/core';
import type { AddonInfo } from './load-addon';

type Needs = readonly (readonly [isa: string, features: readonly string[]])[];

const X64: Needs = [
  [
    'avx512',
    [
      ...['avx2', 'fma', 'f16c', 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'],
      ...['avx512vnni', 'avx512vbmi', 'avx512bf16'],
    ],
  ],
  ['avx2', ['avx2', 'fma', 'f16c']],
];
const ARM64: Needs = [['neon-dotprod', ['dotprod']]];

/** Instruction sets that need more than every such processor has, best first, and what each needs (include/megamoe/isa.h). */
const NEEDS: Readonly<Record<string, Needs>> = { x64: X64, arm64: ARM64 };

/**
 * Why an addon runs the instruction set that it chose: for each better one, which features the processor lacks, its operating system does
 * not save, or `MEGAMOE_CPU_WITHOUT` hides.
 * @returns undefined when the addon is not loaded or does not say what it chose
 */
export function explainIsa(info: AddonInfo, arch: string = process.arch): string | undefined {
  const fn = 'explainIsa';
  checkObject(fn, 'info', info);
  checkString(fn, 'arch', arch);
  const { loaded, isa, cpuFeatures: given } = info;
  if (!loaded || isa === undefined || given === undefined) return undefined;
  checkString(fn, 'info.isa', isa);
  const cpuFeatures = takeStrings(fn, 'info.cpuFeatures', given);
  const lacks: string[] = [];
  for (const [better, needed] of NEEDS[arch] ?? []) {
    if (better === isa) break;
    const missing = needed.filter((feature) => !cpuFeatures.includes(feature));
    if (missing.length > 0) lacks.push(`${better} needs ${missing.join(' ')}`);
  }
  if (lacks.length === 0) return `${isa}: the best that there is`;
  const hidden = process.env['MEGAMOE_CPU_WITHOUT'];
  const why = hidden ? `hidden by MEGAMOE_CPU_WITHOUT=${hidden}` : 'not offered by this processor and operating system';
  return `${isa}: ${lacks.join(', ')} (${why})`;
}
