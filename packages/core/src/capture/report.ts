import type { ErrorCode } from '../error.ts';
import type { CaptureFormat } from './capture.ts';

/**
 * What `inspectCapture` found: plain data for a display or for JSON. In a damaged file everything before the
 * damage is there. Offsets are counted from the file's first byte.
 */
export interface CaptureReport {
  path: string;
  fileBytes: number;
  /** Absent when the damage comes before it can be known. */
  format?: CaptureFormat;
  configuration?: ConfigurationReport;
  ram?: RamReport;
  /** Commands in stream order. */
  commands: CommandReport[];
  /** FULL sections in stream order. */
  devices: DeviceReport[];
  vmdesc?: VmdescReport;
  /** The guest's run state when it was captured (`running`: it runs on where it is loaded). */
  runState?: string;
  /** Where the stream ends; absent when it does not. */
  endOffset?: number;
  /** Bytes of the file behind the stream's end; not part of the machine. */
  trailingBytes?: number;
  damage?: Damage;
  /** What can load the file; absent when configuration or block list are not there. */
  loads?: LoadAdvice;
}

/** What is wrong, and where. */
export interface Damage {
  code: ErrorCode;
  message: string;
  offset?: number;
}

export interface ConfigurationReport {
  offset: number;
  bytes: number;
  machine: string;
  /** The version in the machine type's name, such as `10.0`. */
  qemuVersion?: string;
  uuid?: string;
  capabilities: string[];
  targetPageBits?: number;
}

export interface RamReport {
  sectionId: number;
  /** Where ram's START section begins. */
  offset: number;
  totalBytes: number;
  blocks: BlockReport[];
  /** The sums over all blocks. */
  pages: PageReport;
}

export interface PageReport {
  pages: number;
  /** zeroPages + uniquePages + duplicatePages = pages */
  zeroPages: number;
  /** Distinct contents other than zero. */
  uniquePages: number;
  /** Non-zero pages whose content an earlier page has, in whichever block. */
  duplicatePages: number;
  /** Pages whose bytes are in the file; in a plain stream, the number of such records. */
  pagesInFile: number;
  /** Of those, pages of a plain stream that are compressed one by one (capability `compress`, QEMU up to 9.0). */
  compressedRecords: number;
  /** Zero records of a plain stream. */
  zeroRecords: number;
  /** XBZRLE records of a plain stream, with the difference to the page before. */
  xbzrleRecords: number;
  /** Pages of a plain stream without any record: either the guest did not use them, or they are elsewhere. */
  missingPages: number;
}

export interface BlockReport extends PageReport {
  idstr: string;
  bytes: number;
  /** Only in a mapped-ram file. */
  bitmapOffset?: number;
  pagesOffset?: number;
}

export interface CommandReport {
  name: string;
  offset: number;
  payloadBytes: number;
}

export interface DeviceReport {
  idstr: string;
  sectionId: number;
  instanceId: number;
  versionId: number;
  /** Where the section begins, its type byte. */
  offset: number;
  /** Bytes of the payload, without header and footer. */
  bytes: number;
  /** Sent before the pages. */
  early: boolean;
  /** From the vmdescription; absent when there is none, or it does not know the section. */
  fields?: FieldReport[];
  subsections?: SubsectionReport[];
}

export interface FieldReport {
  name: string;
  type: string;
  /** Bytes of one element. */
  sizeBytes: number;
  /** Number of elements, when the field is an array. */
  arrayLength?: number;
  /** Which element of an array it is, when they are described one by one. */
  index?: number;
  /** Fields of a structure. */
  fields?: FieldReport[];
  subsections?: SubsectionReport[];
}

export interface SubsectionReport {
  name: string;
  version: number;
  fields: FieldReport[];
  subsections?: SubsectionReport[];
}

export interface VmdescReport {
  /** Where its type byte is. */
  offset: number;
  /** Bytes of the JSON text. */
  bytes: number;
  /** Whether every device section ends where it says. */
  proven: boolean;
}

/** How a QEMU can be started that takes the machine. */
export interface LoadAdvice {
  machine: string;
  /** The oldest QEMU that can load the file, such as `10.0`; absent when the machine's name has no version. */
  minimumQemuVersion?: string;
  /** A command line to start from; what it cannot know is in `notes`. */
  commandLine: string;
  /** QMP commands to give then, when `-incoming` cannot say it all. */
  qmp: string[];
  notes: string[];
}
