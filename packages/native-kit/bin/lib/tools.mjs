import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const EXTENSIONS = process.platform === 'win32' ? ['.exe', '.cmd', '.bat'] : [''];

/** The first executable file called one of `names` on `path` (a PATH string), or undefined. */
export function findOnPath(names, path) {
  for (const dir of path.split(delimiter).filter(Boolean)) {
    for (const name of names) {
      for (const extension of EXTENSIONS) {
        const file = join(dir, name + extension);
        try {
          accessSync(file, constants.X_OK);
          if (statSync(file).isFile()) return file;
        } catch {
          // not here
        }
      }
    }
  }
  return undefined;
}

/** What a native build needs, looked for on `path`. cmake-js asks for g++ or clang++ by name; on Windows it finds Visual Studio itself. */
export function findTools(path) {
  const cmake = findOnPath(['cmake'], path);
  const compiler = process.platform === 'win32' ? 'Visual Studio' : findOnPath(['g++', 'clang++'], path);
  const make = process.platform === 'win32' ? 'Visual Studio' : findOnPath(['ninja', 'make'], path);
  return { cmake, compiler, make, ready: Boolean(cmake && compiler && make) };
}

/** What is missing, as a clause. */
export function describeTools({ cmake, compiler, make }) {
  const missing = [!cmake && 'cmake', !compiler && 'a C++ compiler (g++ or clang++)', !make && 'ninja or make'].filter(
    Boolean,
  );
  return `${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} not on the PATH`;
}
