/** Platforms that addons are prebuilt for: one package for each addon and platform, with the version of the addon's package. */
export const PLATFORMS = [
  { id: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc' },
  { id: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc' },
  { id: 'darwin-x64', os: 'darwin', cpu: 'x64' },
  { id: 'darwin-arm64', os: 'darwin', cpu: 'arm64' },
  { id: 'win32-x64', os: 'win32', cpu: 'x64' },
];

/** Packages that own an addon, by folder; the addon's file is FOLDER.node. Where it is not prebuilt for every platform, for which. */
const ADDONS = { 'gemm-native': PLATFORMS, attention: PLATFORMS, cuda: [PLATFORMS[0]] };

export const ADDON_FOLDERS = Object.keys(ADDONS);

/** Platforms that the addon of a package is prebuilt for; none when it owns no addon. */
export const platformsOf = (folder) => ADDONS[folder] ?? [];

/** Folders of the packages whose addon is prebuilt for a platform. */
export const addonsFor = ({ id }) => ADDON_FOLDERS.filter((folder) => ADDONS[folder].some((p) => p.id === id));

/** The newest glibc whose symbols a prebuilt addon may ask for. */
export const MAX_GLIBC = [2, 28];

/** Largest size of an addon's file in MB. */
const MOST_MB = { 'gemm-native': 1.5, attention: 1, cuda: 6 };

export const mostBytes = (folder) => 1e6 * MOST_MB[folder];

/** The platform of this process; undefined where no addon is prebuilt for it. */
export function thisPlatform() {
  const musl = process.platform === 'linux' && !process.report.getReport().header.glibcVersionRuntime;
  return musl ? undefined : PLATFORMS.find((p) => p.os === process.platform && p.cpu === process.arch);
}
