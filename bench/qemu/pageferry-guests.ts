import { CapturedMachine, loadCapture } from '@pageferry/core/capture';
import {
  BuiltinMachine,
  BuiltinMachineTarget,
  type Guest,
  type GuestMemory,
  type IncomingDescription,
  type IncomingGuest,
} from '@pageferry/core/guest';
import { RamBlock } from '@pageferry/core/memory';
import { vcpuPages } from '../../packages/core/src/guest/builtin/layout.ts';
import { firstDifference } from './compare-ram.ts';
import { type Beat, type HeartbeatPlace, HeartbeatWatch } from './heartbeat.ts';
import type { GuestSpec } from './pageferry-side.ts';
import { BEATS_PER_SECOND, type HeartbeatGuest, RAM_BLOCK } from './sides.ts';

export interface SourceGuest {
  readonly guest: Guest;
  beats(): Promise<Beat[]>;
}

export interface DestinationGuest {
  readonly guest: IncomingGuest;
  /** Of a guest that stands still: the first byte of RAM that is not the image's, or -1. */
  difference(rawPath: string): number;
  beats(): Promise<Beat[]>;
}

const PAGE_BYTES = 4096;

/** A guest whose RAM is filled and touched; one with a heartbeat runs. */
export async function sourceGuest(spec: GuestSpec): Promise<SourceGuest> {
  if (spec.kind === 'still') {
    const capture = await loadCapture(spec.capturePath);
    for (const block of capture.memory) touch(block);
    return { guest: new CapturedMachine(capture), beats: async () => [] };
  }
  const machine = await BuiltinMachine.create({
    memoryBytes: spec.memoryBytes,
    preallocate: true,
    content: 'random',
    workload: 'sequential',
    ...workOf(spec),
  });
  const watch = await HeartbeatWatch.start();
  watch.watch(ledgerOf(machine.memory, spec));
  machine.start();
  return { guest: machine, beats: () => watch.end() };
}

/** Memory for what will come, touched. */
export async function destinationGuest(spec: GuestSpec): Promise<DestinationGuest> {
  return spec.kind === 'still' ? stillDestination(spec.memoryBytes) : heartbeatDestination(spec);
}

function stillDestination(memoryBytes: number): DestinationGuest {
  const ram = RamBlock.allocate(RAM_BLOCK, memoryBytes);
  touch(ram);
  return {
    guest: {
      prepare: async ({ blocks }: IncomingDescription) => ({
        blocks: blocks.map(({ idstr, usedLengthBytes }) => {
          const isRam = idstr === RAM_BLOCK && usedLengthBytes === memoryBytes;
          return (isRam ? ram : RamBlock.allocate(idstr, usedLengthBytes)).toMemory();
        }),
        dirtyLog: { kind: 'none' },
        zeroed: true,
      }),
      load: async () => {},
      start: async () => false,
      discard: async () => {},
    },
    difference: (rawPath) => firstDifference(rawPath, (at, bytes) => ram.bytes.subarray(at, at + bytes)),
    beats: async () => [],
  };
}

async function heartbeatDestination(spec: HeartbeatGuest): Promise<DestinationGuest> {
  const target = new BuiltinMachineTarget({ memoryBytes: spec.memoryBytes });
  await target.warmUp();
  const watch = await HeartbeatWatch.start();
  const guest: IncomingGuest = {
    prepare: async (description) => {
      const memory = await target.prepare(description);
      watch.watch(ledgerOf(memory, spec));
      return memory;
    },
    load: (state) => target.load(state),
    start: () => target.start(),
    discard: () => target.discard(),
  };
  return { guest, difference: () => -1, beats: () => watch.end() };
}

/**
 * The machine has no other heartbeat than its writes: one that is idle otherwise writes one page, again and
 * again.
 */
function workOf({ dirtyRateBytesPerSecond, workingSetBytes }: HeartbeatGuest): {
  dirtyRateBytesPerSecond: number;
  workingSetBytes: number;
} {
  if (dirtyRateBytesPerSecond > 0) return { dirtyRateBytesPerSecond, workingSetBytes };
  return { dirtyRateBytesPerSecond: BEATS_PER_SECOND * PAGE_BYTES, workingSetBytes: PAGE_BYTES };
}

/**
 * Every write raises one word of the ledger, which lies behind the data pages: nearly at the end of RAM, so
 * that its pages are among the last that a pass carries.
 */
function ledgerOf(memory: GuestMemory, spec: HeartbeatGuest): HeartbeatPlace {
  const ram = memory.blocks.find(({ usedLengthBytes }) => usedLengthBytes === spec.memoryBytes)!;
  const { ledgerFirst } = vcpuPages(ram.usedLengthBytes / PAGE_BYTES, 1, 0);
  return {
    kind: 'words',
    buffer: ram.buffer,
    byteOffset: ram.byteOffset + ledgerFirst * PAGE_BYTES,
    words: workOf(spec).workingSetBytes / PAGE_BYTES,
  };
}

/** Writes to every page, which gives it memory of its own; what is in it stays. */
function touch({ bytes }: RamBlock): void {
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) bytes[at] = bytes[at]!;
}
