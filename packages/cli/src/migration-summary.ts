import type { MigrationResult } from '@pageferry/core/control';
import { formatBytes, formatCount, formatRate, formatTable, formatTime } from './format.ts';

/** What a finished migration did, as lines for people. */
export function migrationSummary(
  result: MigrationResult,
  more: readonly (readonly string[])[] = [],
): string[] {
  const { ram, channels, xbzrleCache } = result;
  const seconds = result.totalTimeMs / 1000;
  const rows = [
    ['status', result.status],
    ['total time', formatTime(result.totalTimeMs)],
    ['downtime', formatTime(result.downtimeMs)],
    ...more,
    ['transferred', `${formatBytes(ram.transferred)} for ${formatBytes(ram.total)} of RAM`],
    ['throughput', formatRate(seconds > 0 ? ram.transferred / seconds : 0)],
    ['passes', formatCount(ram['dirty-sync-count'])],
    ['pages', `${formatCount(ram.normal)} with content, ${formatCount(ram.duplicate)} zero`],
  ];
  if (xbzrleCache !== undefined) {
    const { pages, bytes, cacheMiss, overflow } = xbzrleCache;
    const others = `${formatCount(cacheMiss)} not in the cache, ${formatCount(overflow)} changed too much`;
    rows.push(['xbzrle', `${formatCount(pages)} pages as ${formatBytes(bytes)} of changes, ${others}`]);
  }
  const lines = formatTable(undefined, rows, 'll');
  if (channels.length === 0) return lines;
  const perChannel = channels.map((channel) => [
    `multifd ${channel.channel}`,
    formatBytes(channel.bytes),
    formatCount(channel.packets),
    formatCount(channel.normalPages),
    formatCount(channel.zeroPages),
    formatTime(channel.stalledMs),
  ]);
  const header = ['channel', 'bytes', 'packets', 'pages', 'zero', 'stalled'];
  return [...lines, '', ...formatTable(header, perChannel, 'lrrrrr')];
}
