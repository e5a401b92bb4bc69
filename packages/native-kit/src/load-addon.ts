import { checkInteger, checkObject, checkString, takeStrings } from '@megamoe/core';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What {@link loadAddon} tried, found and chose: enough for a report such as `megamoe doctor`. */
export interface AddonInfo {
  /** Name of the addon: its file is `NAME.node`. */
  readonly name: string;
  /** The file that was loaded or that failed to load; absent when none was found or none was looked for. */
  readonly path?: string;
  /** True when the addon can be used. */
  readonly loaded: boolean;
  /** One line: where the addon in use comes from and what was passed over for it; or what was tried, why it failed, and what to do. */
  readonly reason: string;
  /** Instruction set that the addon chose by itself, when it says so. */
  readonly isa?: string;
  /** Instruction sets that the processor and the operating system offer, as far as the addon knows them. */
  readonly cpuFeatures?: readonly string[];
}

/** What every megamoe addon exports beside its functions. */
export interface AddonBase {
  /** Raised with every change of the functions' arguments; must equal what the TypeScript side was written for. */
  readonly interfaceVersion: number;
  /** The best instruction set that it can use here. */
  readonly isa: string;
  /** What the processor and the operating system offer. */
  readonly cpuFeatures: readonly string[];
}

/** The addon, when it could be loaded, and always the report. */
export interface AddonResult<T> {
  readonly addon?: T;
  readonly info: AddonInfo;
}

/** What to load. */
export interface LoadAddonOptions {
  /** `import.meta.url` of a module of the package that owns the addon; bundles of CommonJS leave it undefined. */
  readonly packageUrl: string | undefined;
  /**
   * Name of that package. When the module runs from a bundle, the package.json nearest to it is somebody else's: then the package is
   * looked for by its name, from the bundle, the running script and the working directory. Left out, the nearest is taken.
   */
  readonly packageName?: string;
  /** Packages that depend on it, through which it is looked for too: package managers with strict layouts show an application those alone. */
  readonly dependents?: readonly string[];
  /** Name of the addon: the file is `NAME.node`, in the package's `build/Release` or in its {@link platformPackage}. */
  readonly name: string;
  /** The {@link AddonBase.interfaceVersion} that the caller was written for; left out, any will do. */
  readonly interfaceVersion?: number;
}

/** The nearest folder at or above `file` that holds a package.json. */
function packageRoot(file: string): string | undefined {
  for (let dir = dirname(file); ; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return dir;
    if (dir === dirname(dir)) return undefined;
  }
}

/** A string field of a package.json; '' when the file or the field cannot be read. */
function manifestField(file: string, field: 'name' | 'version'): string {
  try {
    const value = (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)[field];
    return typeof value === 'string' ? value : '';
  } catch {
    return '';
  }
}

/**
 * Name of the package that holds the prebuilt addon of `packageName` for a platform: `PACKAGE-PLATFORM-ARCH`, on Linux followed by
 * `-gnu` (glibc). Such packages are optional dependencies of `packageName` at its own version; npm installs the one that fits.
 */
export function platformPackage(
  packageName: string,
  platform: string = process.platform,
  arch: string = process.arch,
): string {
  for (const [arg, v] of Object.entries({ packageName, platform, arch })) checkString('platformPackage', arg, v);
  return `${packageName}-${platform}-${arch}${platform === 'linux' ? '-gnu' : ''}`;
}

/** `packageUrl` as a path; undefined for what is no file: in a bundle it may be anything. */
function pathOf(packageUrl: string | undefined): string | undefined {
  try {
    return packageUrl === undefined ? undefined : fileURLToPath(packageUrl);
  } catch {
    return undefined;
  }
}

/** What to mark as external: all packages of the scope. */
function scopeOf(packageName: string): string {
  return packageName.startsWith('@') ? `${packageName.split('/', 1)[0]!}/*` : packageName;
}

/** Where the package called `name` is installed, seen from `file`. */
function installed(file: string, name: string): string | undefined {
  try {
    return dirname(createRequire(file).resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

/** The package that owns the addon. */
interface Owner {
  /** Its folder; undefined when only its name is known. */
  readonly root: string | undefined;
  readonly name: string;
  /** From where its platform package is looked for. */
  readonly from: string;
  /** The file of the bundle that the asking module runs from, if it does. */
  readonly bundle?: string | undefined;
}

function ownerOf({ packageUrl, packageName, dependents = [] }: LoadAddonOptions): Owner | string {
  const file = pathOf(packageUrl);
  const root = file === undefined ? undefined : packageRoot(file);
  const nearest = root === undefined ? '' : manifestField(join(root, 'package.json'), 'name');
  if (packageName === undefined) {
    if (root === undefined) return `no package.json at or above ${file ?? String(packageUrl)}`;
    return { root, name: nearest, from: file! };
  }
  if (root !== undefined && nearest === packageName) return { root, name: packageName, from: file! };
  const bundle = file ?? process.argv[1];
  const places = [file, process.argv[1], join(process.cwd(), 'index.js')].filter((place) => place !== undefined);
  for (const place of places) {
    const direct = installed(place, packageName);
    if (direct !== undefined) return { root: direct, name: packageName, from: join(direct, 'package.json'), bundle };
    for (const dependent of dependents) {
      const through = installed(place, dependent);
      const found = through === undefined ? undefined : installed(join(through, 'package.json'), packageName);
      if (found !== undefined) return { root: found, name: packageName, from: join(found, 'package.json'), bundle };
    }
  }
  return { root: undefined, name: packageName, from: places[0]!, bundle };
}

/** A place where the addon may be. */
interface Candidate {
  readonly path: string;
  /** For the report, when it is used. */
  readonly origin: string;
}

/**
 * What is wrong with an ELF file that lacks its end, as an interrupted copy leaves it: the loader would map what is not there, and the
 * process would die by SIGBUS. The table of sections comes last, and the header says where it ends.
 */
function cutShort(path: string): string | undefined {
  const header = new DataView(new ArrayBuffer(64));
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const isElf64 =
      readSync(file, header, 0, 64, 0) === 64 && header.getUint32(0) === 0x7f454c46 && header.getUint8(4) === 2;
    if (!isElf64) return undefined; // the loader refuses what is none
    const end = Number(header.getBigUint64(40, true)) + header.getUint16(58, true) * header.getUint16(60, true);
    return size < end ? `is cut short (${size} of ${end} bytes)` : undefined;
  } finally {
    closeSync(file);
  }
}

/** A candidate that was tried: the addon or what is wrong with it. */
function tryLoad(
  require: NodeJS.Require,
  path: string,
  interfaceVersion: number | undefined,
): { addon: Partial<AddonBase> } | { failure: string } {
  try {
    const failure = process.platform === 'linux' ? cutShort(path) : undefined;
    if (failure !== undefined) return { failure };
    const addon = require(path) as Partial<AddonBase>;
    if (interfaceVersion === undefined || addon.interfaceVersion === interfaceVersion) return { addon };
    return { failure: `is built for interface ${String(addon.interfaceVersion)}, but ${interfaceVersion} is needed` };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { failure: `does not load (${message.split('\n', 1)[0]})` };
  }
}

/** Addons that loaded. They stay in the process, and looking for their files again would cost more than a small kernel runs. */
const loaded = new Map<string, AddonResult<object>>();

/**
 * Loads the native addon of a package: the one built from source in `build/Release`, else the prebuilt one of its
 * {@link platformPackage}; or answers with the one that it has loaded. Never throws but for options that are none (KindError): a missing, damaged or outdated file, or
 * `MEGAMOE_DISABLE_NATIVE` set to anything but 0 in the environment, gives no addon and a reason.
 */
export function loadAddon<T extends object>(given: LoadAddonOptions): AddonResult<T> {
  const options = takeOptions(given);
  const { packageUrl, name, interfaceVersion } = options;
  const disabled = process.env['MEGAMOE_DISABLE_NATIVE'];
  if (disabled !== undefined && disabled !== '' && disabled !== '0')
    return { info: { name, loaded: false, reason: `disabled by MEGAMOE_DISABLE_NATIVE=${disabled}` } };
  const key = `${name} ${String(interfaceVersion)} ${String(packageUrl)}`;
  const found = loaded.get(key) ?? findAddon(options);
  if (found.addon !== undefined) loaded.set(key, found);
  return found as AddonResult<T>;
}

/** Options read once, so that what is checked is what is used. */
function takeOptions(options: LoadAddonOptions): LoadAddonOptions {
  const fn = 'loadAddon';
  checkObject(fn, 'options', options);
  const { packageUrl, packageName, dependents, name, interfaceVersion } = options;
  if (packageUrl !== undefined) checkString(fn, 'packageUrl', packageUrl);
  if (packageName !== undefined) checkString(fn, 'packageName', packageName);
  checkString(fn, 'name', name);
  if (interfaceVersion !== undefined) checkInteger(fn, 'interfaceVersion', interfaceVersion, 0);
  const through = dependents === undefined ? [] : takeStrings(fn, 'dependents', dependents);
  return {
    ...{ packageUrl, name, dependents: through },
    ...(packageName !== undefined && { packageName }),
    ...(interfaceVersion !== undefined && { interfaceVersion }),
  };
}

function findAddon(options: LoadAddonOptions): AddonResult<object> {
  const { name, interfaceVersion } = options;
  const owner = ownerOf(options);
  if (typeof owner === 'string') return { info: { name, loaded: false, reason: owner } };
  const { root, name: packageName, from, bundle } = owner;
  const require = createRequire(from);
  const prebuilt = platformPackage(packageName);
  const candidates: (() => Candidate | string)[] = [
    () => {
      if (root === undefined) return `${packageName} is not installed`;
      const path = join(root, 'build', 'Release', `${name}.node`);
      return existsSync(path) ? { path, origin: `built from source: ${path}` } : `${path} is not there`;
    },
    () => {
      try {
        const path = require.resolve(`${prebuilt}/${name}.node`);
        const version = manifestField(join(dirname(path), 'package.json'), 'version');
        return { path, origin: `prebuilt: ${prebuilt} ${version}` };
      } catch {
        return `${prebuilt} is not installed`;
      }
    },
  ];
  const failures: string[] = [];
  let failed: string | undefined;
  for (const find of candidates) {
    const found = find();
    if (typeof found === 'string') {
      failures.push(found);
      continue;
    }
    const { path, origin } = found;
    const result = tryLoad(require, path, interfaceVersion);
    if ('failure' in result) {
      failures.push(`${path} ${result.failure}`);
      failed ??= path;
      continue;
    }
    const { addon } = result;
    const passedOver = failed === undefined ? '' : `; passed over: ${failures.join('; ')}`;
    const { isa, cpuFeatures } = addon;
    return {
      addon,
      info: {
        name,
        path,
        loaded: true,
        reason: origin + passedOver,
        ...(isa !== undefined && { isa }),
        ...(cpuFeatures !== undefined && { cpuFeatures }),
      },
    };
  }
  const help =
    bundle !== undefined && root === undefined
      ? `${bundle} is a bundle that left ${packageName} and its addon behind: have the bundler mark "${scopeOf(packageName)}" as external, and install what it leaves out`
      : `build it with "npx megamoe-build-addon ${packageName}"`;
  return {
    info: {
      name,
      loaded: false,
      reason: `${failed === undefined ? 'not installed' : 'could not be loaded'}: ${failures.join('; ')}; ${help}`,
      ...(failed !== undefined && { path: failed }),
    },
  };
}
