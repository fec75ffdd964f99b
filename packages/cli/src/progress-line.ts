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
  const parts = progress.role === 'source' ? sourceParts(progress, throughput) : [];
  if (progress.role === 'destination') parts.push(...destinationParts(progress, throughput));
  let shown = parts.filter((part) => part.text !== '');
  while (shown.length > 1 && join(shown).length > width) {
    const worst = Math.max(...shown.map((part) => part.rank));
    shown = shown.filter((part) => part.rank !== worst);
  }
  return join(shown).slice(0, width);
}

function sourceParts(progress: Progress, throughput: Throughput): Part[] {
  const { ram, status, expectedDowntimeMs, etaMs } = progress;
  const dirty = ram['dirty-pages-rate'] * ram['page-size'];
  const eta = status !== 'active' || etaMs !== undefined ? '' : 'ETA unknown';
  return [
    { rank: 0, text: status === 'active' ? `pass ${Math.max(1, ram['dirty-sync-count'])}` : status },
    { rank: 1, text: `${formatBytes(ram.remaining)} of ${formatBytes(ram.total)} left` },
    { rank: 5, text: `dirty ${formatRate(dirty)}` },
    { rank: 2, text: formatRate(throughput.total) },
    { rank: 6, text: channelText(throughput) },
    { rank: 4, text: expectedDowntimeMs === undefined ? '' : `downtime ~${formatTime(expectedDowntimeMs)}` },
    { rank: 3, text: etaMs === undefined ? eta : `ETA ${formatTime(etaMs)}` },
  ];
}

function destinationParts(progress: Progress, throughput: Throughput): Part[] {
  const { ram, status } = progress;
  const passes = ram['dirty-sync-count'];
  return [
    { rank: 0, text: status === 'active' && passes > 0 ? `pass ${passes}` : status },
    { rank: 1, text: `${formatBytes(ram.transferred)} received for ${formatBytes(ram.total)} of RAM` },
    { rank: 2, text: formatRate(throughput.total) },
    { rank: 3, text: channelText(throughput) },
  ];
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
