import type { DeviceState } from '../guest/contract.ts';
import type { RamBlock, RamBlockMemory } from '../memory/ram-block.ts';
import type { ConfigurationSection } from '../wire/messages.ts';
import { isNilUuid } from '../wire/uuid.ts';

/**
 * The two formats of a captured machine, both QEMU's own:
 * - `stream`: the plain migration stream;
 * - `mapped-ram`: every page at a fixed place of the file (QEMU 9.0 and later).
 */
export type CaptureFormat = 'mapped-ram' | 'stream';

/**
 * Why the main channel of a multifd migration is no capture. It shows by MULTIFD_FLUSH records or, with the
 * older way of syncing that has none, by the lack of any page that is not zero.
 */
export const MULTIFD_ALONE = 'the main channel of a multifd migration alone: its pages are in other channels';

/** What a capture file is made of: all that the writers need. */
export interface CaptureContent {
  readonly configuration: ConfigurationSection;
  /** RAM of the stopped guest, in the order of the block list. */
  readonly memory: readonly RamBlockMemory[];
  readonly ramSectionId: number;
  readonly deviceState: DeviceState;
}

/** A captured machine in memory. */
export interface Capture extends CaptureContent {
  readonly path: string;
  readonly format: CaptureFormat;
  readonly memory: readonly RamBlock[];
  /** Whether the vmdescription proves where every device section ends (else they were found by their footers). */
  readonly proven: boolean;
  readonly stats: CaptureStats;
}

export interface CaptureStats {
  /** Size of the file. */
  readonly fileBytes: number;
  /** Where the stream ends in the file. */
  readonly endOffset: number;
  /** Pages whose bytes are in the file; a plain stream may hold a page more than once. */
  readonly pageRecords: number;
  /** Zero pages recorded in a plain stream; in a mapped-ram file a zero page is the lack of a record. */
  readonly zeroRecords: number;
  /** Records of a plain stream with the difference to the page before. */
  readonly xbzrleRecords: number;
  /**
   * Pages of a plain stream without any record, zero in memory. Legitimate where the source knew that the guest
   * does not use them (virtio-mem, free page hinting), and otherwise a sign that something is missing.
   */
  readonly missingPages: number;
}

/** How far reading or writing has come. */
export interface CaptureProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface CaptureIoOptions {
  readonly onProgress?: (progress: CaptureProgress) => void;
  readonly signal?: AbortSignal;
}

/** A UUID that says something: 16 bytes of zeros stand for none. */
export function knownUuid(uuid: Uint8Array | undefined): Uint8Array | undefined {
  return uuid === undefined || isNilUuid(uuid) ? undefined : uuid;
}
