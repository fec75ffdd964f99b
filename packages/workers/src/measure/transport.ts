import type { DeviceState, Guest, GuestMemory, IncomingGuest } from '@pageferry/core/guest';
import { RamBlock, type RamBlockMemory } from '@pageferry/core/memory';
import { prepareEngine } from '../engine/engine.ts';
import { migrate } from '../migrate.ts';
import { receive } from '../receive.ts';
import type { Sample } from './sample.ts';

/** What a migration costs beside the compression of its pages. */
export interface TransportCosts {
  /** CPU seconds of both sides together per byte on the wire. */
  readonly cpuSecondsPerByte: number;
  /** From the start to the first page, with threads that wait already, ms. */
  readonly setupMs: number;
  /** From the stop of a guest that has nothing left to send to the destination's answer, ms. */
  readonly switchoverMs: number;
  /** What the channels carried over loopback with both sides on this machine. */
  readonly bytesPerSecond: number;
}

const MULTIFD = { multifd: true, multifdChannels: 2 } as const;
/** What one migration moves: half a second or less. */
const MOVED_BYTES = 512 * 2 ** 20;
const NO_DEVICES: DeviceState = {
  early: [],
  sections: [],
  vmdesc: Buffer.from('{"page_size": 4096, "devices": []}'),
};

/**
 * Migrates the sample's pages, several times over, through loopback: uncompressed and within this process.
 *
 * @throws MigrationError those of a migration; `cancelled`
 */
export async function measureTransport(sample: Sample, signal?: AbortSignal): Promise<TransportCosts> {
  const from = sample.pages;
  const to = new SharedArrayBuffer(from.byteLength);
  // The kernel's first touch of a page is many times slower than a copy.
  Buffer.from(to).fill(1);
  const times = Math.ceil(MOVED_BYTES / from.byteLength);
  const outgoing = prepareEngine({ ...MULTIFD, direction: 'outgoing' });
  const incoming = prepareEngine({ ...MULTIFD, direction: 'incoming' });
  try {
    await Promise.all([outgoing.ready, incoming.ready]);
    const target = new StillTarget(() => memoryOver(to, times));
    const options = { ...MULTIFD, signal };
    const reception = receive('tcp:127.0.0.1:0', { ...options, guest: target, engine: incoming });
    const uri = await reception.listening;
    // A limit of 0: the stop is after the last page, and the downtime is what it costs without any.
    const moving = { ...options, downtimeLimitMs: 0, engine: outgoing };
    const { result: moved } = migrate(stillGuest(from, times), uri, moving);
    const [result] = await Promise.all([moved, reception.result]);
    const bytes = result.ram.transferred;
    return {
      cpuSecondsPerByte: (target.end.cpuMs - target.begin.cpuMs) / 1000 / bytes,
      setupMs: result.setupTimeMs,
      switchoverMs: result.downtimeMs,
      bytesPerSecond: (bytes / (target.end.wallMs - target.begin.wallMs)) * 1000,
    };
  } finally {
    // Those that were used are none of ours any more.
    await Promise.all([outgoing.close(), incoming.close()]);
  }
}

/** A destination that only looks at the clocks. */
class StillTarget implements IncomingGuest {
  /** Between these two nothing but pages moves. */
  begin = readClocks();
  end = this.begin;
  readonly #memory: () => GuestMemory;

  constructor(memory: () => GuestMemory) {
    this.#memory = memory;
  }

  async prepare(): Promise<GuestMemory> {
    this.begin = readClocks();
    return this.#memory();
  }

  async load(): Promise<void> {
    this.end = readClocks();
  }

  async start(): Promise<boolean> {
    return false;
  }

  async discard(): Promise<void> {}
}

function stillGuest(pages: SharedArrayBuffer, times: number): Guest {
  return {
    machine: 'pageferry-bench-10.0',
    ramSectionId: 2,
    memory: memoryOver(pages, times),
    saveDeviceState: async () => NO_DEVICES,
    inactivate: async () => {},
    activate: async () => {},
  };
}

/** Blocks that are all the same memory: what is moved is larger than what is held. */
function memoryOver(buffer: SharedArrayBuffer, times: number): GuestMemory {
  const blocks = Array.from({ length: times }, (_, i): RamBlockMemory => {
    const idstr = `sample.${i}`;
    const usedLengthBytes = buffer.byteLength;
    return new RamBlock({ idstr, usedLengthBytes, pageSizeBytes: 4096, buffer, byteOffset: 0 }).toMemory();
  });
  return { blocks, dirtyLog: { kind: 'none' } };
}

function readClocks(): { cpuMs: number; wallMs: number } {
  const { user, system } = process.cpuUsage();
  return { cpuMs: (user + system) / 1000, wallMs: performance.now() };
}
