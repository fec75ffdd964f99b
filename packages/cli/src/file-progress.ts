import type { CaptureProgress } from '@pageferry/core/capture';
import { formatBytes } from './format.ts';
import type { Output } from './output.ts';

const INTERVAL_MS = { terminal: 100, lines: 1000 } as const;

/** Shows how far reading or writing a file has come: redrawn on a terminal, otherwise a line per second. */
export function showFileProgress(
  output: Output,
  verb: string,
  file: string,
): (progress: CaptureProgress) => void {
  const onTerminal = output.statusColumns !== undefined;
  const intervalMs = onTerminal ? INTERVAL_MS.terminal : INTERVAL_MS.lines;
  let lastMs = performance.now();
  return ({ doneBytes, totalBytes }) => {
    const now = performance.now();
    if (now - lastMs < intervalMs) return;
    lastMs = now;
    output.event('file', { verb, file, doneBytes, totalBytes });
    const line = `${verb} ${file}: ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`;
    if (onTerminal) output.status(line.slice(0, output.statusColumns! - 1));
    else if (!output.json) output.note(line);
  };
}
