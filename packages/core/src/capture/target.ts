import { MigrationError } from '../error.ts';
import { checkCancelled, fileError } from '../file-error.ts';
import type { DeviceState, GuestMemory, IncomingDescription, IncomingGuest } from '../guest/contract.ts';
import type { RamBlock } from '../memory/ram-block.ts';
import { IGNORE_SHARED_CAPABILITY } from '../wire/configuration.ts';
import type { ConfigurationSection } from '../wire/messages.ts';
import { allocateBlocks, leaveOut } from './allocate.ts';
import { AtomicFile } from './atomic-file.ts';
import { type CaptureFormat, type CaptureProgress, knownUuid } from './capture.ts';
import { configurationToKeep } from './configuration.ts';
import { blocksOfFiles, checkSharedFile, readSharedFile, type SharedFiles } from './shared-files.ts';
import { writeContent } from './write-capture.ts';

export interface CaptureTargetOptions {
  /** The file that the guest goes to; it appears under this name only when it is whole. */
  path: string;
  format: CaptureFormat;
  /** The UUID that the guest must have, 16 bytes. */
  uuid?: Uint8Array;
  /** Limit of the guest's RAM in bytes. */
  maxRamBytes?: number;
  /** Memory that the source has mapped shared: with x-ignore-shared its content is read here, at the end. */
  sharedFiles?: SharedFiles | undefined;
  /** Called while the file is written: bytes of RAM. */
  onProgress?: (progress: CaptureProgress) => void;
}

/** What was captured. */
export interface CaptureResult {
  path: string;
  format: CaptureFormat;
  /** Size of the file; a mapped-ram file takes less room on the disk. */
  bytes: number;
  blocks: { idstr: string; bytes: number }[];
  /** Shared blocks whose content stayed at the source. */
  absent: string[];
  machine: string;
  uuid?: Uint8Array;
}

interface Prepared {
  readonly file: AtomicFile;
  readonly configuration: ConfigurationSection;
  readonly memory: readonly RamBlock[];
  readonly ramSectionId: number;
}

/**
 * A destination that keeps the guest in a file instead of running it. The file is written when the device
 * state has come, so the guest is held in memory until then.
 */
export class CaptureTarget implements IncomingGuest {
  readonly uuid?: Uint8Array;
  readonly #options: CaptureTargetOptions;
  #prepared: Prepared | undefined;
  /** Aborted by `discard`, also while `prepare` or `load` is under way. */
  #abort = new AbortController();
  #result: CaptureResult | undefined;

  constructor(options: CaptureTargetOptions) {
    this.#options = options;
    this.uuid = knownUuid(options.uuid);
  }

  /** What was captured; absent until `load` has resolved. */
  get result(): CaptureResult | undefined {
    return this.#result;
  }

  /**
   * Creates the temporary file, so that a bad path fails before the guest has moved, and allocates the RAM.
   * @throws MigrationError `uuid-mismatch`, `unsupported`, `bad-configuration`, `limit-exceeded`, `file-failed`
   */
  async prepare(description: IncomingDescription): Promise<GuestMemory> {
    const discarded = this.discard();
    // From here on, before anything is waited for, a discard means this call.
    const abort = new AbortController();
    this.#abort = abort;
    await discarded;
    const configuration = configurationToKeep(description, this.uuid);
    const { sharedFiles } = this.#options;
    const ignoreShared = configuration.capabilities?.includes(IGNORE_SHARED_CAPABILITY) === true;
    if (sharedFiles !== undefined && !ignoreShared) {
      throw new MigrationError('bad-option', `shared files are only used with ${IGNORE_SHARED_CAPABILITY}`, {
        found: Object.keys(sharedFiles).join(', '),
      });
    }
    if (this.#options.format === 'mapped-ram' && ignoreShared && sharedFiles === undefined) {
      throw new MigrationError(
        'unsupported',
        `a mapped-ram file of a guest whose shared memory stays behind (${IGNORE_SHARED_CAPABILITY})`,
        { expected: 'the format stream' },
      );
    }
    const file = await AtomicFile.create(this.#options.path);
    try {
      checkCancelled(abort.signal, file.path);
      const memory = allocateBlocks(description.blocks, this.#options.maxRamBytes);
      const files = blocksOfFiles(memory, sharedFiles ?? {});
      for (const [block, path] of files) await checkSharedFile(block, path);
      const { ramSectionId } = description;
      this.#prepared = { file, configuration, memory, ramSectionId };
      const own = new Set(files.map(([block]) => block));
      const blocks = memory.map((block) => ({
        ...block.toMemory(),
        ...(own.has(block) && { shared: true }),
      }));
      return { blocks, dirtyLog: { kind: 'none' }, zeroed: true, partial: true };
    } catch (error) {
      await file.discard();
      throw error;
    }
  }

  /**
   * Makes sure that the file can be made, before anybody sends a guest to it; leaves nothing behind.
   * @throws MigrationError `file-failed`
   */
  async checkPath(): Promise<void> {
    const file = await AtomicFile.create(this.#options.path);
    await file.discard();
  }

  /** Writes the file. Resolves when it is whole, on the disk and under its name. */
  async load(deviceState: DeviceState, absent: readonly string[] = []): Promise<void> {
    const prepared = this.#prepared;
    if (prepared === undefined)
      throw new MigrationError('internal', 'a capture was loaded before it was prepared');
    const { file, configuration, ramSectionId } = prepared;
    const memory = leaveOut(prepared.memory, absent);
    const { signal } = this.#abort;
    const { format, onProgress } = this.#options;
    const content = { configuration, memory, ramSectionId, deviceState };
    let bytes: number;
    try {
      for (const [block, path] of blocksOfFiles(prepared.memory, this.#options.sharedFiles ?? {})) {
        await readSharedFile(block, path);
      }
      await writeContent(file.handle, file.path, format, content, { onProgress, signal });
      bytes = (await file.handle.stat()).size;
      await file.commit(signal);
    } catch (error) {
      this.#prepared = undefined;
      await file.discard();
      // Whatever fails after a discard fails because of it: the file is closed.
      checkCancelled(signal, file.path);
      throw fileError(error, file.path, `write ${file.path}`);
    }
    this.#prepared = undefined;
    this.#result = {
      path: file.path,
      format,
      bytes,
      blocks: memory.map((block) => ({ idstr: block.idstr, bytes: block.usedLengthBytes })),
      absent: [...absent],
      machine: configuration.machine,
      uuid: configuration.uuid,
    };
  }

  /** Nothing runs here. */
  start(): Promise<boolean> {
    return Promise.resolve(false);
  }

  /**
   * Stops writing and removes the temporary file. A file that is complete stays: the source may have been told
   * that its guest is safe in it.
   */
  async discard(): Promise<void> {
    const prepared = this.#prepared;
    this.#prepared = undefined;
    this.#abort.abort();
    await prepared?.file.discard();
  }
}
