import type { OwnOperations } from '../own';
import { attend, createAttendScratch } from './attend';
import { compress, createCompressScratch } from './compress';
import { createSelectScratch, indexSelect } from './index-select';
import { rope } from './rope';
import { ropeTables } from './rope-tables';
import { writeWindow } from './write-window';

/** The operations in TypeScript; their scratch grows to the largest shape seen and then stays. */
export function createJsOperations(): OwnOperations {
  const attendScratch = createAttendScratch();
  const compressScratch = createCompressScratch();
  const selectScratch = createSelectScratch();
  return {
    ropeTables,
    rope,
    writeWindow,
    compress: (a) => compress(compressScratch, a),
    indexSelect: (a) => indexSelect(selectScratch, a),
    attend: (a) => attend(attendScratch, a),
  };
}
