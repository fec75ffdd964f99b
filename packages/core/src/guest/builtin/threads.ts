import { Worker } from 'node:worker_threads';
import { MigrationError } from '../../error.ts';

/**
 * A thread of the machine. Its garbage is small and its data is outside of the heap, so a small young
 * generation bounds what each thread adds to the process.
 */
export function startThread(entry: URL, name: string, workerData?: unknown): Worker {
  return new Worker(entry, {
    name,
    workerData,
    resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 32, stackSizeMb: 1 },
  });
}

/** The next message of a thread; rejects with `guest-failed` when it ends instead. */
export function nextMessage<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
      worker.off('exit', onExit);
    };
    const onMessage = (message: T): void => {
      settle();
      resolve(message);
    };
    const onError = (error: Error): void => {
      settle();
      reject(
        new MigrationError('guest-failed', `a thread of the machine failed: ${error.message}`, {
          cause: error,
        }),
      );
    };
    const onExit = (): void => {
      settle();
      reject(new MigrationError('guest-failed', 'a thread of the machine ended'));
    };
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.on('exit', onExit);
  });
}
