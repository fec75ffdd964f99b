import { AtomicFile, writeFully } from '@pageferry/core/capture';
import type { BenchReport } from './report.ts';

type Render = (report: BenchReport) => string;

/**
 * The files of a report, made before anything is measured: a name that cannot be written is told at once, and
 * what was there stays until the new one is whole.
 */
export class ReportFiles implements AsyncDisposable {
  readonly #files: { readonly file: AtomicFile; readonly render: Render }[] = [];

  /** @throws MigrationError `file-failed` */
  async add(path: string, render: Render): Promise<void> {
    const file = await AtomicFile.create(path);
    this.#files.push({ file, render });
    // A report holds nothing of the guest's memory: who may read other new files may read it.
    await file.handle.chmod(0o666 & ~process.umask());
  }

  /** Writes all of them. Returns their names. */
  async write(report: BenchReport, signal: AbortSignal): Promise<string[]> {
    for (const { file, render } of this.#files) {
      await writeFully(file.handle, file.path, Buffer.from(render(report)), 0);
      await file.commit(signal);
    }
    return this.#files.map(({ file }) => file.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#files.map(({ file }) => file.discard()));
  }
}
