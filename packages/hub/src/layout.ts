import { join, sep } from 'node:path';

/**
 * Where the Python library keeps a model, and so where we do:
 *
 *     models--ORG--NAME/refs/REVISION            the commit that a branch or tag meant when it was last asked for
 *     models--ORG--NAME/snapshots/COMMIT/PATH    a link to the blob
 *     models--ORG--NAME/blobs/ETAG               the bytes; named by SHA-256 where git LFS holds them, else by git's own hash
 *     .locks/models--ORG--NAME                   what keeps downloads apart
 */
export class ModelFolder {
  readonly path: string;
  readonly locks: string;
  readonly blobs: string;

  constructor(
    cacheDir: string,
    readonly name: string,
  ) {
    const folder = `models--${name.replace('/', '--')}`;
    this.path = join(cacheDir, folder);
    this.locks = join(cacheDir, '.locks', folder);
    this.blobs = join(this.path, 'blobs');
  }

  ref(revision: string): string {
    return join(this.path, 'refs', ...revision.split('/'));
  }

  snapshot(commit: string): string {
    return join(this.path, 'snapshots', commit);
  }

  file(commit: string, path: string): string {
    return join(this.snapshot(commit), path.split('/').join(sep));
  }

  blob(etag: string): string {
    return join(this.blobs, etag);
  }

  /**
   * What is there of a blob that is not whole. The name is our own: the Python library fills its `ETAG.incomplete` in any order, so that
   * what lies there is no beginning of the file, and it would go on writing into a file that two shared.
   */
  incomplete(etag: string): string {
    return join(this.blobs, `${etag}.megamoe.incomplete`);
  }
}
