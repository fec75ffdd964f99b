import type { Progress } from '@pageferry/core/control';
import { formatBytes, formatRate, formatTime } from './format.ts';
import type { Throughput } from './throughput.ts';

/** A part of the line. What matters less goes first when the terminal is narrow. */
interface Part {
  readonly text: string;
  /** 0 stays longest. */
  readonly rank: number;
}

const SEPARATOR = '  ';

/**
 * One line about a running migration.
 *
 * @param width columns that the line may take; parts of less interest are left out to fit
 */
export function progressLine(progress: Progress, throughput: Throughput, width = Infinity): string {
  let shown = partsOf(progress, throughput).filter((part) => part.text !== '');
  while (shown.length > 1 && join(shown).length > width) {
    const worst = Math.max(...shown.map((part) => part.rank));
    shown = shown.filter((part) => part.rank !== worst);
  }
  return join(shown).slice(0, width);
}

function partsOf(progress: Progress, throughput: Throughput): Part[] {
  const { status, role, ram } = progress;
  if (ram.total === 0 || status === 'setup') return [{ rank: 0, text: status }];
  return role === 'source' ? sourceParts(progress, throughput) : destinationParts(progress, throughput);
}

function sourceParts(progress: Progress, throughput: Throughput): Part[] {
  const { ram, status, expectedDowntimeMs, etaMs } = progress;
  const dirtyRate = ram['dirty-pages-rate'] * ram['page-size'];
  // Nothing is known of it before the second look at the dirty pages.
  const dirty = ram['dirty-sync-count'] > 1 ? `dirty ${formatRate(dirtyRate)}` : '';
  // What is expected is only said of the passes: after them it happens.
  const passing = status === 'active';
  const downtime = expectedDowntimeMs === undefined ? '' : `downtime ~${formatTime(expectedDowntimeMs)}`;
  const eta = etaMs === undefined ? 'ETA unknown' : `ETA ${formatTime(etaMs)}`;
  return [
    { rank: 0, text: passing ? `pass ${Math.max(1, ram['dirty-sync-count'])}` : status },
    {
      rank: 1,
      text: `${formatBytes(ram.remaining)} of ${formatBytes(ram.total)} left`,
    },
    { rank: 5, text: dirty },
    { rank: 4, text: throttleText(progress) },
    { rank: 2, text: formatRate(throughput.total) },
    { rank: 6, text: channelText(throughput) },
    { rank: 4, text: passing ? downtime : '' },
    { rank: 3, text: passing ? eta : '' },
  ];
}

function destinationParts(progress: Progress, throughput: Throughput): Part[] {
  const { ram, status } = progress;
  const passes = ram['dirty-sync-count'];
  return [
    { rank: 0, text: status === 'active' && passes > 0 ? `pass ${passes}` : status },
    {
      rank: 1,
      text: `${formatBytes(ram.transferred)} received for ${formatBytes(ram.total)} of RAM`,
    },
    { rank: 2, text: formatRate(throughput.total) },
    { rank: 3, text: channelText(throughput) },
  ];
}

function throttleText({ cpuThrottlePercentage, dirtyLimitRingFullTimeUs }: Progress): string {
  if (cpuThrottlePercentage !== undefined) return `throttled ${cpuThrottlePercentage} %`;
  return dirtyLimitRingFullTimeUs === undefined ? '' : 'vCPUs limited';
}

/** Each channel's throughput in MiB/s; of many channels only what tells whether one lags. */
function channelText({ channels }: Throughput): string {
  if (channels.length === 0) return '';
  const rates = channels.map((rate) => Math.round(rate / 2 ** 20));
  if (rates.length <= 8) return `(${rates.join(' + ')})`;
  return `(${rates.length} channels, ${Math.min(...rates)} to ${Math.max(...rates)} MiB/s)`;
}

function join(parts: readonly Part[]): string {
  return parts.map((part) => part.text).join(SEPARATOR);
}
