/** Child process of megamoe-build-addon: one cmake-js build, so that its output can be captured whole. Takes one JSON argument. */
import { createRequire } from 'node:module';

const { cmakeJs, directory, out, jobs, kit, nodeAddonApi, nodeApiHeaders } = JSON.parse(process.argv[2]);
const { BuildSystem } = createRequire(import.meta.url)(cmakeJs);
const slashes = (path) => path.replace(/\\/g, '/');
const system = new BuildSystem({
  directory,
  out,
  config: 'Release',
  parallel: jobs,
  cMakeOptions: {
    MEGAMOE_NATIVE_KIT: slashes(kit),
    MEGAMOE_NODE_ADDON_API: slashes(nodeAddonApi),
    MEGAMOE_NODE_API_HEADERS: slashes(nodeApiHeaders),
  },
});
// The addons use Node-API only and bring its headers along (node-api-headers). Without this cmake-js would download the headers of
// the running Node release, or take those that an npm_config_nodedir in the environment points to.
system.options.isNodeApi = true;
try {
  await system.compile();
} catch (error) {
  console.error(String(error?.stack ?? error));
  process.exitCode = 1;
}
