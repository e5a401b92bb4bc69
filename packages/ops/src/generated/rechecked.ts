// Made by scripts/generate.mjs from the list of operations in table.ts. Do not edit.

import { namedError } from '@megamoe/core';
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
      throw namedError(error);
    }
  },
  rmsNorm: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  linear: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  swiglu: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  add: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  gatherRows: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  hcPre: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  hcPost: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  hcHead: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  route: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  assignSlots: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  stage: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  swigluStage: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  groupedGemm: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  scatterExperts: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  ropeTables: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  rope: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  writeWindow: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  compress: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  indexSelect: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
  attend: (run, check) => (a) => {
    try {
      run(a);
    } catch (error) {
      check(a);
      throw namedError(error);
    }
  },
};
