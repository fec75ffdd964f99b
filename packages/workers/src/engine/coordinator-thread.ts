import { Worker } from 'node:worker_threads';
import { workerEntry } from '@pageferry/core';
import { type Remote, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { type NativeLoadGroup, startGroup, whileNoneLoads } from '../system/native-load.ts';
import { installErrorTransfer } from './comlink.ts';
import type { CoordinatorApi } from './protocol.ts';

installErrorTransfer();

/** The thread of a coordinator, and how it is spoken to. It serves one migration. */
export class CoordinatorThread {
  readonly api: Remote<CoordinatorApi>;
  /** Resolves with the cause when the thread ends by itself. */
  readonly died: Promise<string>;
  readonly #worker: Worker;
  readonly #group: NativeLoadGroup;

  constructor() {
    const options = {
      name: 'pageferry-coordinator',
      // Descriptors of `fd:` come from outside and are closed here.
      trackUnmanagedFds: false,
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    };
    const entry = workerEntry(import.meta.url, './coordinator-worker');
    [this.#worker, this.#group] = startGroup(() => new Worker(entry, options));
    this.died = new Promise((resolve) => {
      this.#worker.once('error', (error) => resolve(String(error)));
      this.#worker.once('exit', (code) => resolve(`exit code ${code}`));
    });
    this.api = wrap<CoordinatorApi>(nodeEndpoint(this.#worker));
  }

  async terminate(): Promise<void> {
    await whileNoneLoads(() => this.#worker.terminate(), this.#group);
  }
}
