// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import type { OpName } from '../table';

/** `run`, and `check` where it throws: the error of `check`, if it has one, goes before that of `run`. */
export type Rechecked = <A>(run: (a: A) => void, check: (a: A) => void) => (a: A) => void;

/**
 * Operations that compare addresses themselves, which costs less than a `.buffer`: what they refuse is looked at again, for an error of the
 * usual class and words. A function for each, because one that serves all is not inlined.
 */
export const RECHECKED: Readonly<Record<OpName, Rechecked>> = {
  embed: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  rmsNorm: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  linear: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  swiglu: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  add: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  gatherRows: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  hcPre: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  hcPost: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  hcHead: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  route: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  assignSlots: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  stage: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  swigluStage: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  groupedGemm: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  scatterExperts: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  ropeTables: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  rope: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  writeWindow: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  compress: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  indexSelect: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
  attend: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw error;
    }
  },
};
