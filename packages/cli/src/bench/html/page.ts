import type { BenchReport } from '../report.ts';
import { html } from './escape.ts';
import { date, shorten } from './figures.ts';
import { headline } from './sections/headline.ts';
import { measured } from './sections/measured.ts';
import { rates } from './sections/rates.ts';
import { regions } from './sections/regions.ts';
import { times } from './sections/times.ts';
import { STYLE } from './style.ts';

/**
 * The report as one HTML page that is whole in itself: styles and drawings are in it, it has no scripts, and its own policy
 * forbids it to load anything.
 *
 * @throws RangeError when a prediction or a recommendation refers to a measurement that the report does not hold
 */
export function renderBenchHtml(report: BenchReport): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>pageferry bench: ${shorten(report.input.name, 80)}</title>
<style>${STYLE}</style>
</head>
<body>
${headline(report)}
<nav aria-label="Sections"><a href="#measured">What was measured</a> <a href="#rates">Throughput and ratio</a> <a href="#times">Time and link speed</a> <a href="#regions">Compressibility map</a></nav>
<main>
${measured(report)}
${rates(report)}
${times(report)}
${regions(report)}
</main>
<footer><p>pageferry ${report.pageferryVersion}, ${date(report.createdAt)}. Sizes and rates in KiB, MiB and GiB are binary; link speeds are decimal bits per second.</p></footer>
</body>
</html>
`.text;
}
