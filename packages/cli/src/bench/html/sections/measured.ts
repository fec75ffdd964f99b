import type { BenchGuest, BenchReport, BenchTransport } from '../../report.ts';
import { html, type Markup } from '../escape.ts';
import { barWidth, bytes, count, figure, percent, plural, rate, time } from '../figures.ts';
import { chip } from '../legend.ts';

const KINDS: Readonly<Record<BenchReport['input']['kind'], string>> = {
  capture: 'Capture',
  image: 'Raw image',
  'core-dump': 'Core dump',
  generated: 'Generated mix',
};

/** The input, the machine, and what the input's pages are. */
export function measured(report: BenchReport): Markup {
  return html`<section id="measured"><h2>What was measured</h2>
${composition(report)}
<div class="columns">
${list('Input', inputFacts(report))}
${list('Machine', machineFacts(report))}
${report.guest === undefined ? undefined : list('Guest of the predictions', guestFacts(report.guest))}
${report.transport === undefined ? undefined : list('Migration over loopback, uncompressed', transportFacts(report.transport))}
</div>
</section>
`;
}

function inputFacts({ input }: BenchReport): Fact[] {
  const dense = input.pages - input.zeroPages;
  const scanned = input.scannedPages ?? input.pages;
  const looked = scanned < input.pages ? `, ${count(scanned)} of them were read` : '';
  const incompressible = input.sampledPages > 0 ? input.incompressibleShare : Number.NaN;
  return [
    [KINDS[input.kind], input.name],
    ['Size', `${bytes(input.bytes)}, ${count(input.pages)} pages${looked}`],
    ['Zero pages', `${count(input.zeroPages)} (${percent(input.zeroPages / input.pages)})`],
    [
      'Other pages',
      `${count(dense)}, measured ${count(input.sampledPages)} (${percent(input.sampledPages / dense)})`,
    ],
    ['Incompressible', `${percent(incompressible)} of the measured pages`],
  ];
}

function machineFacts({ machine, pageferryVersion }: BenchReport): Fact[] {
  const libraries = Object.entries(machine.libraries).map(([name, version]) => `${name} ${version}`);
  return [
    ['CPU', `${machine.cpuModel}, ${plural(machine.cpus, 'CPU')}`],
    ['Memory', `${bytes(machine.memoryBytes)}; one thread copies ${rate(machine.memoryCopyBytesPerSecond)}`],
    ['Kernel', machine.kernel],
    ['Node', machine.nodeVersion],
    ['Libraries', libraries.length > 0 ? libraries.join(', ') : 'none'],
    ['pageferry', pageferryVersion],
  ];
}

function guestFacts(guest: BenchGuest): Fact[] {
  return [
    ['RAM', `${bytes(guest.bytes)}, ${bytes(guest.zeroBytes)} of it zero`],
    ['Writes', `${rate(guest.dirtyBytesPerSecond)}, all over ${bytes(guest.workingSetBytes)}`],
    ['Downtime limit', time(guest.downtimeLimitMs)],
    ['CPUs', `${count(guest.sourceCpus)} at the source, ${count(guest.destinationCpus)} at the destination`],
  ];
}

function transportFacts(transport: BenchTransport): Fact[] {
  return [
    ['Rate', `${rate(transport.bytesPerSecond)} over two channels`],
    ['CPU time', `${figure(transport.cpuSecondsPerGib)} s per GiB, both sides together`],
    ['Set-up', time(transport.setupMs)],
    ['Switchover', time(transport.switchoverMs)],
  ];
}

type Fact = readonly [term: string, text: string];

function list(title: string, entries: readonly Fact[]): Markup {
  const rows = entries.map(
    ([term, text]) => html`<tr><th scope="row">${term}</th><td class="left">${text}</td></tr>`,
  );
  return html`<table class="facts"><caption>${title}</caption><tbody>${rows}</tbody></table>`;
}

/** A bar of all pages: zero, compressible, incompressible. */
function composition({ input }: BenchReport): Markup | undefined {
  if (!(input.pages > 0)) return undefined;
  const zero = barWidth(input.zeroPages, input.pages) / 100;
  const hard = input.sampledPages > 0 ? ((1 - zero) * barWidth(input.incompressibleShare, 1)) / 100 : 0;
  const parts = [
    { share: hard, style: 'b0', text: 'incompressible' },
    { share: 1 - zero - hard, style: 'b3', text: 'compressible' },
    { share: zero, style: 'zero', text: 'zero' },
  ];
  let left = 0;
  const bars = parts.map(({ share, style }) => {
    const bar = html`<rect class="${style}" x="${left * 100}%" y="0" width="${share * 100}%" height="100%"/>`;
    left += share;
    return bar;
  });
  const words = parts.map(({ share, text }) => `${percent(share)} ${text}`).join(', ');
  const legend = parts.map(
    ({ share, style, text }) => html`<li>${chip(style)}${text} ${percent(share)}</li>`,
  );
  return html`<figure><svg class="bar" role="img" aria-label="Pages of the input: ${words}">${bars}</svg>
<figcaption><ul class="legend">${legend}</ul></figcaption></figure>`;
}
