import type { Checks } from '../judge';
import { attend } from './attend';
import { compress, writeWindow } from './cache';
import { groupedGemm } from './grouped-gemm';
import { hcHead, hcPost, hcPre } from './hyper-connections';
import { indexSelect } from './index-select';
import { linear } from './linear';
import { rope, ropeTables } from './rope';
import { assignSlots, route, scatterExperts } from './routing';
import { add, embed, gatherRows, rmsNorm, swiglu } from './rows';
import { stage, swigluStage } from './staging';

/** How each operation of the list is judged. One that is missing here does not compile. */
export const CHECKS = {
  embed,
  rmsNorm,
  linear,
  swiglu,
  add,
  gatherRows,
  hcPre,
  hcPost,
  hcHead,
  route,
  assignSlots,
  stage,
  swigluStage,
  groupedGemm,
  scatterExperts,
  ropeTables,
  rope,
  writeWindow,
  compress,
  indexSelect,
  attend,
} as const satisfies Checks;
