import type { Setting } from '@pageferry/workers/measure';
import { formatTime } from '../format.ts';
import type { Output } from '../output.ts';

const LINE_INTERVAL_MS = 1000;

/** Shows what is measured, and how long the rest will take: redrawn on a terminal, otherwise a line per second. */
export function showBenchProgress(
  output: Output,
): (progress: { done: number; total: number; setting: Setting }) => void {
  const startMs = performance.now();
  let lastLineMs = -LINE_INTERVAL_MS;
  return ({ done, total, setting }) => {
    const now = performance.now();
    const etaMs = done === 0 ? undefined : ((now - startMs) / done) * (total - done);
    output.event('progress', { done, total, etaMs, setting });
    const eta = etaMs === undefined ? 'ETA unknown' : `ETA ${formatTime(etaMs)}`;
    const line = `measuring ${done + 1} of ${total}: ${describe(setting)}  ${eta}`;
    const columns = output.statusColumns;
    if (columns !== undefined) output.status(line.slice(0, columns - 1));
    else if (!output.json && now - lastLineMs >= LINE_INTERVAL_MS) {
      lastLineMs = now;
      output.note(line);
    }
  };
}

function describe({ codec, level, backend, threads, packetPages }: Setting): string {
  const method = [codec, level, backend].filter((part) => part !== undefined).join(' ');
  return `${method}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${packetPages} pages a packet`;
}
