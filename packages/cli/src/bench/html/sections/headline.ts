import type { BenchPrediction, BenchRecommendation, BenchReport } from '../../report.ts';
import {
  type Configuration,
  codecSlots,
  configurationAt,
  configurationsOf,
  groupTitle,
  limitOf,
  methodNamer,
} from '../configurations.ts';
import { html, type Markup } from '../escape.ts';
import { bytes, count, date, link, percent, rate, shorten, time } from '../figures.ts';
import { named } from '../legend.ts';

/** What a person came for: what to use at which link speed, why, and what it will be like. */
export function headline(report: BenchReport): Markup {
  const { input, machine } = report;
  return html`<header>
<p class="kicker">pageferry bench · ${date(report.createdAt)}</p>
<h1>${verdict(report)}</h1>
<p class="lede">Measured on <b>${shorten(input.name, 120)}</b>, ${bytes(input.bytes)} of guest RAM of which ${percent(input.zeroPages / input.pages)} are zero pages${input.sampledPages > 0 ? html` and ${percent(input.incompressibleShare)} of the others do not compress` : undefined}; on ${machine.cpuModel}, ${count(machine.cpus)} CPUs.</p>
${predictedFor(report)}
${report.recommendations.length > 0 ? html`<ul class="cards">${report.recommendations.map((one) => card(report, one))}</ul>` : undefined}
</header>
`;
}

/** The guest that all predictions are for. */
function predictedFor({ guest }: BenchReport): Markup | undefined {
  if (guest === undefined) return undefined;
  return html`<p class="lede">Predicted for a guest of ${bytes(guest.bytes)} that writes ${rate(guest.dirtyBytesPerSecond)} and may stand still for ${time(guest.downtimeLimitMs)}.</p>`;
}

/** `Use zstd 3 at 1 Gb/s, zstd 1 at 10 Gb/s, none from 25 Gb/s`. */
function verdict(report: BenchReport): string {
  if (report.input.pages > 0 && report.input.zeroPages >= report.input.pages) {
    return 'All pages are zero: there is nothing to compress';
  }
  if (report.measurements.length === 0) return 'Nothing was measured';
  if (report.recommendations.length === 0) return 'No recommendation without a prediction';
  const name = methodNamer(
    report.recommendations.map(({ measurement }) => configurationAt(report, measurement)),
  );
  const runs: { name: string; from: number; to: number }[] = [];
  for (const { measurement, linkBitsPerSecond } of report.recommendations) {
    const text = name(configurationAt(report, measurement));
    const last = runs.at(-1);
    if (last?.name === text) last.to = linkBitsPerSecond;
    else runs.push({ name: text, from: linkBitsPerSecond, to: linkBitsPerSecond });
  }
  const parts = runs.map(({ name, from, to }) =>
    from === to ? `${name} at ${link(from)}` : `${name} from ${link(from)} to ${link(to)}`,
  );
  return `Use ${parts.join(', ')}`;
}

function card(report: BenchReport, { linkBitsPerSecond, measurement, reason }: BenchRecommendation): Markup {
  const configuration = configurationAt(report, measurement);
  const name = methodNamer(configurationsOf(report))(configuration);
  const prediction = predictionOf(report, linkBitsPerSecond, measurement);
  return html`<li>
<h2>${link(linkBitsPerSecond)}</h2>
<p class="pick">${named(configuration, name, codecSlots(report))}</p>
<p class="with">${groupTitle(configuration.measurement)}</p>
<p>${reason}</p>
${prediction === undefined ? undefined : expectation(report, configuration, prediction)}
<p class="flags">${flagsOf(report, configuration).map((flag) => html`<code>${flag}</code> `)}</p>
</li>
`;
}

function expectation(report: BenchReport, configuration: Configuration, prediction: BenchPrediction): Markup {
  const none =
    configuration.measurement.codec === 'none' ? undefined : noneLike(report, configuration, prediction);
  return html`<dl>
<div><dt>Total time</dt><dd>${time(prediction.totalTimeMs)}</dd></div>
${none === undefined ? undefined : html`<div><dt>With none</dt><dd>${none.converges ? time(none.totalTimeMs) : 'does not converge'}</dd></div>`}
<div><dt>Downtime</dt><dd>${time(prediction.downtimeMs)}</dd></div>
<div><dt>Passes</dt><dd>${count(prediction.passes)}</dd></div>
<div><dt>On the wire</dt><dd>${bytes(prediction.transferredBytes)}</dd></div>
<div><dt>Limit</dt><dd>${limitOf(prediction, configuration)}</dd></div>
</dl>
${prediction.converges ? undefined : html`<p class="warning">Does not converge: the guest writes ${rate(prediction.dirtyBytesPerSecond)}, faster than this sends.</p>`}`;
}

/** The prediction for no compression with as many threads and pages a packet, to compare with. */
function noneLike(
  report: BenchReport,
  { measurement }: Configuration,
  { linkBitsPerSecond, dirtyBytesPerSecond }: BenchPrediction,
): BenchPrediction | undefined {
  return report.predictions.find((other) => {
    const { codec, threads, packetPages } = configurationAt(report, other.measurement).measurement;
    return (
      codec === 'none' &&
      threads === measurement.threads &&
      packetPages === measurement.packetPages &&
      other.linkBitsPerSecond === linkBitsPerSecond &&
      other.dirtyBytesPerSecond === dirtyBytesPerSecond
    );
  });
}

export function predictionOf(
  report: BenchReport,
  linkBitsPerSecond: number,
  measurement: number,
): BenchPrediction | undefined {
  return report.predictions.find(
    (one) => one.linkBitsPerSecond === linkBitsPerSecond && one.measurement === measurement,
  );
}

/** What to give to `pageferry send` and `receive`. */
function flagsOf(report: BenchReport, { measurement }: Configuration): string[] {
  const { codec, backend, level, threads } = measurement;
  const flags = [`--multifd-compression ${codec}`];
  if (level !== undefined && (codec === 'zlib' || codec === 'zstd'))
    flags.push(`--multifd-${codec}-level ${level}`);
  const others = report.measurements.some((one) => one.codec === codec && one.backend !== backend);
  if (backend !== undefined && others) flags.push(`--multifd-backend ${backend}`);
  flags.push(`--multifd-channels ${threads}`);
  return flags;
}
