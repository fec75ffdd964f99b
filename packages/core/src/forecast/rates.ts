import { TARGET_PAGE_BYTES } from '../memory/ram-block.ts';
import { MULTIFD_PACKET_BYTES } from '../wire/multifd.ts';

/** What a page costs on its way, with one way of compressing. All costs are of non-zero pages unless named otherwise. */
export interface PageCosts {
  /** Uncompressed over compressed bytes. */
  readonly ratio: number;
  /** CPU seconds per byte of guest pages. 0 for pages that travel as they are. */
  readonly compressCpuSecondsPerByte: number;
  readonly decompressCpuSecondsPerByte: number;
  /** Pages of one packet, 1 to 128: each packet has a header. */
  readonly packetPages: number;
  /** Channels: as many threads work on each side. */
  readonly threads: number;
  /** CPUs that compressing can keep busy, where it is not as many as there are threads. */
  readonly compressCpus?: number;
}

/** The two machines, and what everything but the codec costs there. */
export interface Hosts {
  readonly sourceCpus: number;
  readonly destinationCpus: number;
  /** Both sides run on one machine, whose CPUs are `sourceCpus`. */
  readonly shared: boolean;
  /** CPUs of the source that the guest and others keep busy; of the one machine when `shared`. */
  readonly busyCpus: number;
  /** CPU seconds to send and to receive a byte that is on the wire: system calls, copies in the kernel. */
  readonly sendCpuSecondsPerByte: number;
  readonly receiveCpuSecondsPerByte: number;
  /** CPU seconds to find out, on each side, that a page is zero; per byte of it. */
  readonly zeroCpuSecondsPerByte: number;
}

/** What can be the narrow place. */
export type Bottleneck = 'link' | 'compress' | 'decompress';

/** Pages that are to be moved. */
export interface Load {
  readonly nonZeroBytes: number;
  readonly zeroBytes: number;
}

/** The least that a machine has for a migration, however busy it is. */
const LEAST_CPUS = 0.1;

/** Bytes on the wire for these pages: payloads, and a header for each packet. Zero pages are entries of headers. */
export function wireBytes(costs: PageCosts, { nonZeroBytes, zeroBytes }: Load): number {
  const headerPerByte = MULTIFD_PACKET_BYTES / (costs.packetPages * TARGET_PAGE_BYTES);
  return nonZeroBytes / costs.ratio + (nonZeroBytes + zeroBytes) * headerPerByte;
}

/**
 * How long it takes to move these pages. Source, link and destination work at the same time: the slowest decides.
 *
 * @param linkBytesPerSecond what the link carries of payload; Infinity for a link that is never the limit
 */
export function moveSeconds(
  costs: PageCosts,
  hosts: Hosts,
  linkBytesPerSecond: number,
  load: Load,
): { seconds: number; limitedBy: Bottleneck } {
  const wire = wireBytes(costs, load);
  const zeroSeconds = load.zeroBytes * hosts.zeroCpuSecondsPerByte;
  const sourceCpuSeconds =
    load.nonZeroBytes * costs.compressCpuSecondsPerByte + wire * hosts.sendCpuSecondsPerByte + zeroSeconds;
  const destinationCpuSeconds =
    load.nonZeroBytes * costs.decompressCpuSecondsPerByte +
    wire * hosts.receiveCpuSecondsPerByte +
    zeroSeconds;
  const { threads, compressCpus = threads } = costs;
  const sourceCpus = Math.max(LEAST_CPUS, hosts.sourceCpus - hosts.busyCpus);
  const destinationCpus = hosts.shared ? sourceCpus : hosts.destinationCpus;
  const linkSeconds = wire / linkBytesPerSecond;
  const sourceSeconds = sourceCpuSeconds / Math.min(compressCpus, sourceCpus);
  const destinationSeconds = destinationCpuSeconds / Math.min(threads, destinationCpus);
  const bothSeconds = hosts.shared ? (sourceCpuSeconds + destinationCpuSeconds) / sourceCpus : 0;
  const seconds = Math.max(linkSeconds, sourceSeconds, destinationSeconds, bothSeconds);
  if (seconds === linkSeconds) return { seconds, limitedBy: 'link' };
  // On one machine both wait for its CPUs; what takes more of them is named.
  return { seconds, limitedBy: sourceCpuSeconds >= destinationCpuSeconds ? 'compress' : 'decompress' };
}
