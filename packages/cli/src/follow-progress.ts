import type { Progress } from '@pageferry/core/control';
import type { Output } from './output.ts';
import { progressLine } from './progress-line.ts';
import { ThroughputMeter } from './throughput.ts';

const PLAIN_LINE_INTERVAL_MS = 1000;

/** How often a migration should report to this output, in ms. */
export function progressIntervalMs(output: Output): number {
  if (output.statusColumns !== undefined) return 100;
  return output.json ? 250 : PLAIN_LINE_INTERVAL_MS;
}

/**
 * Shows a migration's progress until it ends: a line that redraws on a terminal, otherwise a line per second,
 * and with `--json` one event per report.
 */
export async function followProgress(progress: AsyncIterable<Progress>, output: Output): Promise<void> {
  const meter = new ThroughputMeter();
  let lastLineMs = -PLAIN_LINE_INTERVAL_MS;
  try {
    for await (const report of progress) {
      // Whoever waits for a source may wait for days.
      if (report.role === 'destination' && report.status === 'setup') continue;
      const throughput = meter.next(report);
      output.event('progress', report);
      const columns = output.statusColumns;
      if (columns !== undefined) {
        // A line as wide as the terminal would wrap.
        output.status(progressLine(report, throughput, columns - 1));
      } else if (!output.json && report.elapsedMs - lastLineMs >= 0.9 * PLAIN_LINE_INTERVAL_MS) {
        lastLineMs = report.elapsedMs;
        output.note(progressLine(report, throughput));
      }
    }
  } finally {
    output.status('');
  }
}
