import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What {@link loadAddon} looked for, found and chose: enough for a report such as `megamoe doctor`. */
export interface AddonInfo {
  /** Name of the addon, as in `build/Release/NAME.node`. */
  readonly name: string;
  /** The file that was loaded or that failed to load; absent when none was found or none was looked for. */
  readonly path?: string;
  /** True when the addon can be used. */
  readonly loaded: boolean;
  /** One sentence: why it is used, or why not. */
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
  /** `import.meta.url` of a module of the package that owns the addon. */
  readonly packageUrl: string;
  /** Name of the addon: the file is `build/Release/NAME.node` or `prebuilds/PLATFORM-ARCH/NAME.node` in that package. */
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

/** Addons that loaded. They stay in the process, and looking for their files again would cost more than a small kernel runs. */
const loaded = new Map<string, AddonResult<object>>();

/**
 * Loads the native addon of a package, or answers with the one that it has loaded. Never throws: a missing, damaged or outdated file, or
 * `MEGAMOE_DISABLE_NATIVE` set to anything but 0 in the environment, gives no addon and a reason.
 */
export function loadAddon<T extends object>({ packageUrl, name, interfaceVersion }: LoadAddonOptions): AddonResult<T> {
  const disabled = process.env['MEGAMOE_DISABLE_NATIVE'];
  if (disabled !== undefined && disabled !== '' && disabled !== '0')
    return { info: { name, loaded: false, reason: `disabled by MEGAMOE_DISABLE_NATIVE=${disabled}` } };
  const key = `${name} ${String(interfaceVersion)} ${packageUrl}`;
  const found = loaded.get(key) ?? findAddon(packageUrl, name, interfaceVersion);
  if (found.addon !== undefined) loaded.set(key, found);
  return found as AddonResult<T>;
}

function findAddon(packageUrl: string, name: string, interfaceVersion: number | undefined): AddonResult<object> {
  const root = packageRoot(fileURLToPath(packageUrl));
  if (root === undefined)
    return { info: { name, loaded: false, reason: `no package.json at or above ${fileURLToPath(packageUrl)}` } };
  const candidates = [
    join(root, 'build', 'Release', `${name}.node`),
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, `${name}.node`),
  ];
  const path = candidates.find((file) => existsSync(file));
  if (path === undefined)
    return { info: { name, loaded: false, reason: `not built: looked for ${candidates.join(' and ')}` } };
  let addon: Partial<AddonBase>;
  try {
    addon = createRequire(packageUrl)(path) as Partial<AddonBase>;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { info: { name, path, loaded: false, reason: `could not be loaded: ${message.split('\n', 1)[0]}` } };
  }
  if (interfaceVersion !== undefined && addon.interfaceVersion !== interfaceVersion) {
    const reason = `built for interface ${String(addon.interfaceVersion)}, but ${interfaceVersion} is needed: build it again`;
    return { info: { name, path, loaded: false, reason } };
  }
  const { isa, cpuFeatures } = addon;
  return {
    addon,
    info: {
      name,
      path,
      loaded: true,
      reason: 'found and loaded',
      ...(isa !== undefined && { isa }),
      ...(cpuFeatures !== undefined && { cpuFeatures }),
    },
  };
}
