import type { MigrationInfo, MigrationStats, SocketAddressInfo } from '@pageferry/core/qmp';
import { globalLines, type HmpGlobals, type HmpLayout } from './hmp-globals.ts';

/**
 * `info migrate` for people, laid out as QEMU does: up to 10.0 a line for each figure, from 10.1 on in groups.
 * Sizes in kbytes are bytes / 1024, rounded down.
 */

/** The lines up to QEMU 10.0. */
export function migrationLines(info: MigrationInfo, globals: HmpGlobals, layout: HmpLayout): string[] {
  return [
    'globals:',
    ...globalLines(globals, layout),
    ...blockedLines(info),
    ...stateLines(info),
    ...(info.ram === undefined ? [] : ramLines(info.ram)),
    ...cacheLines(info),
    ...compressionLines(info),
    ...optional(info['cpu-throttle-percentage'], (percent) => `cpu throttle percentage: ${percent}`),
    ...optional(info['dirty-limit-throttle-time-per-round'], (us) => `dirty-limit throttle time: ${us} us`),
    ...optional(info['dirty-limit-ring-full-time'], (us) => `dirty-limit ring full time: ${us} us`),
    ...socketLines('socket address: [', info),
  ];
}

/** The lines from QEMU 10.1 on. */
export function groupedMigrationLines(
  info: MigrationInfo,
  globals: HmpGlobals,
  layout: HmpLayout,
  all: boolean,
): string[] {
  const { status, ram } = info;
  const lines = blockedLines(info);
  if (status !== undefined) {
    const error = status === 'failed' || status === 'postcopy-paused' ? info['error-desc'] : undefined;
    lines.push(`Status: \t\t${status}${error === undefined ? '' : ` (${error})`}`);
    if (info['total-time']) {
      const times = [
        ...optional(info['total-time'], (ms) => `total=${ms}`),
        ...optional(info['setup-time'], (ms) => `setup=${ms}`),
        ...optional(info['expected-downtime'], (ms) => `exp_down=${ms}`),
        ...optional(info.downtime, (ms) => `down=${ms}`),
      ];
      lines.push(`Time (ms): \t\t${times.join(', ')}`);
    }
  }
  lines.push(...socketLines('Sockets: [', info));
  if (ram !== undefined) lines.push(...groupedRamLines(ram));
  if (!all) return lines;
  lines.push('Globals:', ...globalLines(globals, layout).map((line) => `  ${line}`));
  const cache = info['xbzrle-cache'];
  if (cache !== undefined) {
    lines.push(
      `XBZRLE: size=${cache['cache-size']}, transferred=${cache.bytes}, pages=${cache.pages}, ` +
        `miss=${cache['cache-miss']}`,
      `  miss_rate=${cache['cache-miss-rate'].toFixed(2)}, encode_rate=${cache['encoding-rate'].toFixed(2)}, ` +
        `overflow=${cache.overflow}`,
    );
  }
  return [
    ...lines,
    ...optional(info['cpu-throttle-percentage'], (percent) => `CPU Throttle (%): ${percent}`),
    ...optional(info['dirty-limit-throttle-time-per-round'], (us) => `Dirty-limit Throttle (us): ${us}`),
    ...optional(info['dirty-limit-ring-full-time'], (us) => `Dirty-limit Ring Full (us): ${us}`),
  ];
}

function blockedLines({ 'blocked-reasons': reasons = [] }: MigrationInfo): string[] {
  return reasons.length === 0
    ? []
    : ['Outgoing migration blocked:', ...reasons.map((reason) => `  ${reason}`)];
}

function stateLines(info: MigrationInfo): string[] {
  const { status } = info;
  if (status === undefined) return [];
  const error = status === 'failed' ? info['error-desc'] : undefined;
  return [
    `Migration status: ${status}${error === undefined ? '' : ` (${error})`}`,
    `total time: ${info['total-time'] ?? 0} ms`,
    ...optional(info['expected-downtime'], (ms) => `expected downtime: ${ms} ms`),
    ...optional(info.downtime, (ms) => `downtime: ${ms} ms`),
    ...optional(info['setup-time'], (ms) => `setup: ${ms} ms`),
  ];
}

function ramLines(ram: MigrationStats): string[] {
  /** A line that is left out while its figure is zero. */
  const unlessZero = (label: string, value: number, shown: string) =>
    value === 0 ? [] : [`${label}: ${shown}`];
  return [
    `transferred ram: ${kbytes(ram.transferred)}`,
    `throughput: ${ram.mbps.toFixed(2)} mbps`,
    `remaining ram: ${kbytes(ram.remaining)}`,
    `total ram: ${kbytes(ram.total)}`,
    `duplicate: ${ram.duplicate} pages`,
    ...optional(ram.skipped, (pages) => `skipped: ${pages} pages`),
    `normal: ${ram.normal} pages`,
    `normal bytes: ${kbytes(ram['normal-bytes'])}`,
    `dirty sync count: ${ram['dirty-sync-count']}`,
    `page size: ${kbytes(ram['page-size'])}`,
    `multifd bytes: ${kbytes(ram['multifd-bytes'])}`,
    `pages-per-second: ${ram['pages-per-second']}`,
    ...unlessZero('dirty pages rate', ram['dirty-pages-rate'], `${ram['dirty-pages-rate']} pages`),
    ...unlessZero('postcopy request count', ram['postcopy-requests'], `${ram['postcopy-requests']}`),
    ...unlessZero('precopy ram', ram['precopy-bytes'], kbytes(ram['precopy-bytes'])),
    ...unlessZero('downtime ram', ram['downtime-bytes'], kbytes(ram['downtime-bytes'])),
    ...unlessZero('postcopy ram', ram['postcopy-bytes'], kbytes(ram['postcopy-bytes'])),
  ];
}

function groupedRamLines(ram: MigrationStats): string[] {
  /** `, name=value` unless it is zero. */
  const more = (name: string, value: number) => (value === 0 ? '' : `, ${name}=${value}`);
  return [
    'RAM info:',
    `  Throughput (Mbps): \t${ram.mbps.toFixed(2)}`,
    `  Sizes: \t\tpagesize=${size(ram['page-size'])}, total=${size(ram.total)}`,
    `  Transfers: \t\ttransferred=${size(ram.transferred)}, remain=${size(ram.remaining)}`,
    `    Channels: \t\tprecopy=${size(ram['precopy-bytes'])}, multifd=${size(ram['multifd-bytes'])}, ` +
      `postcopy=${size(ram['postcopy-bytes'])}`,
    `    Page Types: \tnormal=${ram.normal}, zero=${ram.duplicate}`,
    `  Page Rates (pps): \ttransfer=${ram['pages-per-second']}${more('dirty', ram['dirty-pages-rate'])}`,
    `  Others: \t\tdirty_syncs=${ram['dirty-sync-count']}${more('postcopy_req', ram['postcopy-requests'])}` +
      more('downtime_bytes', ram['downtime-bytes']),
  ];
}

function cacheLines({ 'xbzrle-cache': cache }: MigrationInfo): string[] {
  if (cache === undefined) return [];
  return [
    `cache size: ${cache['cache-size']} bytes`,
    `xbzrle transferred: ${kbytes(cache.bytes)}`,
    `xbzrle pages: ${cache.pages} pages`,
    `xbzrle cache miss: ${cache['cache-miss']} pages`,
    `xbzrle cache miss rate: ${cache['cache-miss-rate'].toFixed(2)}`,
    `xbzrle encoding rate: ${cache['encoding-rate'].toFixed(2)}`,
    `xbzrle overflow: ${cache.overflow}`,
  ];
}

function compressionLines({ compression }: MigrationInfo): string[] {
  if (compression === undefined) return [];
  return [
    `compression pages: ${compression.pages} pages`,
    `compression busy: ${compression.busy}`,
    `compression busy rate: ${compression['busy-rate'].toFixed(2)}`,
    `compressed size: ${kbytes(compression['compressed-size'])}`,
    `compression rate: ${compression['compression-rate'].toFixed(2)}`,
  ];
}

function socketLines(head: string, { 'socket-address': addresses }: MigrationInfo): string[] {
  return addresses === undefined ? [] : [head, ...addresses.map((address) => `\t${uri(address)}`), ']'];
}

function uri(address: SocketAddressInfo): string {
  switch (address.type) {
    case 'inet': {
      const host = address.host.includes(':') ? `[${address.host}]` : address.host;
      return `tcp:${host}:${address.port}`;
    }
    case 'unix':
      return `unix:${address.path}`;
    case 'vsock':
      return `vsock:${address.cid}:${address.port}`;
    case 'fd':
      return `fd:${address.str}`;
  }
}

function optional(value: number | undefined, line: (value: number) => string): string[] {
  return value === undefined ? [] : [line(value)];
}

function kbytes(bytes: number): string {
  return `${Math.floor(bytes / 1024)} kbytes`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** Three significant digits: `4 KiB`, `15.2 MiB`; a unit begins at 1000 of the one before. */
function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toPrecision(3))} ${UNITS[unit]}`;
}
