/**
 * The messages of the main stream, as the decoder gives them and the encoders take them. Names and numbers
 * are QEMU's (migration/savevm.h, migration/ram.h). Pure data: no I/O, no Node.
 */

export const SectionType = {
  eof: 0x00,
  start: 0x01,
  part: 0x02,
  end: 0x03,
  full: 0x04,
  subsection: 0x05,
  vmdescription: 0x06,
  configuration: 0x07,
  command: 0x08,
  footer: 0x7e,
} as const;

export const RamFlag = {
  zero: 0x002,
  memSize: 0x004,
  page: 0x008,
  eos: 0x010,
  continue: 0x020,
  xbzrle: 0x040,
  hook: 0x080,
  compressPage: 0x100,
  multifdFlush: 0x200,
} as const;

export const Command = {
  openReturnPath: 0x0001,
  ping: 0x0002,
  postcopyAdvise: 0x0003,
  postcopyListen: 0x0004,
  postcopyRun: 0x0005,
  postcopyRamDiscard: 0x0006,
  packaged: 0x0007,
  enableColo: 0x0008,
  postcopyResume: 0x0009,
  recvBitmap: 0x000a,
  switchoverStart: 0x000b,
} as const;

/** The configuration section: machine name and subsections, each only when present. */
export interface ConfigurationSection {
  readonly machine: string;
  readonly targetPageBits?: number;
  /** Validated capabilities by QAPI name, in stream order. */
  readonly capabilities?: readonly string[];
  /** 16 bytes, RFC 4122 order. */
  readonly uuid?: Uint8Array;
}

/** The identity in a START or FULL header. */
export interface SectionHeader {
  readonly sectionId: number;
  readonly idstr: string;
  readonly instanceId: number;
  readonly versionId: number;
}

/** A device's FULL section; `data` is the payload without header and footer. */
export interface DeviceSection extends SectionHeader {
  readonly data: Uint8Array;
}

/** One entry of the MEM_SIZE block list. */
export interface RamBlockDescriptor {
  readonly idstr: string;
  readonly usedLengthBytes: number;
  /** Where the guest sees the block; only with x-ignore-shared. */
  readonly guestPhysicalAddress?: bigint;
  /** Only with mapped-ram. */
  readonly mappedRam?: MappedRamHeader;
}

/** The 28-byte header of a block in a mapped-ram file; offsets are absolute in the file. */
export interface MappedRamHeader {
  readonly version: number;
  readonly pageSizeBytes: number;
  readonly bitmapOffset: number;
  readonly pagesOffset: number;
}

/**
 * What `StreamDecoder.next()` gives. A message of type `ram-page` is one reused object, and its `data` is
 * a view that is valid until the next call, or push.
 */
export type StreamMessage =
  | { readonly type: 'header'; readonly version: number }
  | { readonly type: 'configuration'; readonly configuration: ConfigurationSection }
  | { readonly type: 'section-start'; readonly section: SectionHeader }
  | { readonly type: 'section-part'; readonly sectionId: number; readonly idstr: string }
  | { readonly type: 'section-end'; readonly sectionId: number; readonly idstr: string }
  | { readonly type: 'section-footer'; readonly sectionId: number }
  | {
      readonly type: 'ram-blocks';
      readonly totalBytes: number;
      readonly blocks: readonly RamBlockDescriptor[];
    }
  | RamPageMessage
  | RamCompressedPageMessage
  | { readonly type: 'ram-zero'; readonly blockIndex: number; readonly pageIndex: number }
  /** A page as the difference to what came for it before: runs, checked, for `decodeXbzrle`; a view as above. */
  | {
      readonly type: 'ram-xbzrle';
      readonly blockIndex: number;
      readonly pageIndex: number;
      readonly data: Uint8Array;
    }
  | { readonly type: 'ram-multifd-flush' }
  | { readonly type: 'ram-eos' }
  | { readonly type: 'command'; readonly command: number; readonly payload: Uint8Array }
  /** A FULL section among the setup or iteration sections, delimited by its footer. */
  | { readonly type: 'device-section'; readonly section: DeviceSection }
  /** Everything after the last iterable section's end: all FULL sections, EOF and vmdescription. */
  | DeviceStateMessage
  /** The stream is complete; what follows on the connection is not part of it. */
  | { readonly type: 'end' };

export interface RamPageMessage {
  readonly type: 'ram-page';
  /** Index in the block list. */
  blockIndex: number;
  /** Target page number in the block. */
  pageIndex: number;
  data: Uint8Array;
}

/** A page of the compress threads; reused and valid like `ram-page`. Comes as a message in any case. */
export interface RamCompressedPageMessage {
  readonly type: 'ram-compressed-page';
  blockIndex: number;
  pageIndex: number;
  /** The zlib stream; the decoder's offset is where it ends. */
  data: Uint8Array;
}

/**
 * Takes pages as they are decoded, instead of messages: nothing is allocated for a page then. The bytes are valid
 * during the call. Where it returns false it has not taken the page, which comes as a message then.
 */
export interface PageSink {
  /** @param at where the page of 4096 bytes starts in `bytes` */
  page(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number): boolean;
  zero(blockIndex: number, pageIndex: number): boolean;
  /** @param at where the runs of an XBZRLE page, checked, start in `bytes`: `length` bytes for `decodeXbzrle` */
  xbzrle(blockIndex: number, pageIndex: number, bytes: Uint8Array, at: number, length: number): boolean;
}

export interface DeviceStateMessage {
  readonly type: 'device-state';
  readonly sections: readonly DeviceSection[];
  /** The JSON text as it was on the wire; absent when the stream has none. */
  readonly vmdesc?: Uint8Array;
  /** True when every section's end was proven by the vmdescription, false when found by scanning. */
  readonly proven: boolean;
  /** Bytes of the stream from the first FULL section to its end. */
  readonly raw: Uint8Array;
}
