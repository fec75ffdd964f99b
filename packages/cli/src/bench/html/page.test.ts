import assert from 'node:assert/strict';
import test from 'node:test';
import type { BenchReport } from '../report.ts';
import { limitOf } from './configurations.ts';
import { bytes, count, figure, link, mibPerSecond, percent, rate, ratio, time } from './figures.ts';
import { renderBenchHtml } from './index.ts';
import {
  type Element,
  elementsNamed,
  elementsOf,
  type ReadTable,
  readHtml,
  tablesOf,
  textOf,
} from './testing/read-html.ts';
import { sampleReport } from './testing/sample-report.ts';

/** Everything visible: text, and what is shown or read out instead of it. */
function wordsOf(page: Element): string {
  const hidden = Array.from(elementsOf(page)).flatMap(({ attributes }) => attributes.get('aria-label') ?? []);
  return `${textOf(page)} ${hidden.join(' ')}`;
}

/** Reads the page, and checks what every page has to keep. */
function render(report: BenchReport): { page: Element; tables: ReadTable[] } {
  const text = renderBenchHtml(report);
  const page = readHtml(text);
  const elements = Array.from(elementsOf(page));
  const style = elements
    .filter(({ name }) => name === 'style')
    .map(textOf)
    .join('');
  const body = elements.find(({ name }) => name === 'body')!;
  assert.doesNotMatch(wordsOf(body), /NaN|Infinity|undefined|\[object|null/);
  for (const { name, attributes } of elements) {
    for (const value of attributes.values()) assert.doesNotMatch(value, /NaN|Infinity|undefined/, name);
  }

  const ids = elements.flatMap(({ attributes }) => attributes.get('id') ?? []);
  assert.equal(new Set(ids).size, ids.length, 'an id is there twice');
  for (const { attributes } of elements) {
    for (const name of ['aria-labelledby', 'href']) {
      const id = attributes.get(name)?.replace(/^#/, '');
      if (id !== undefined) assert.ok(ids.includes(id), `${name}="${id}" leads nowhere`);
    }
    assert.ok(!Array.from(attributes.keys()).some((name) => name.startsWith('on')), 'a handler');
  }
  assert.ok(!elements.some(({ name }) => ['script', 'img', 'link', 'iframe', 'base'].includes(name)));
  assert.doesNotMatch(text, /https?:|\/\//, 'an address');
  assert.doesNotMatch(style, /url\(|@import/);
  for (const { attributes } of elements) assert.ok(!attributes.has('src') && !attributes.has('xlink:href'));
  const policy = elements.find(
    ({ attributes }) => attributes.get('http-equiv') === 'Content-Security-Policy',
  );
  assert.match(policy?.attributes.get('content') ?? '', /^default-src 'none'; style-src 'unsafe-inline'$/);

  for (const table of elements.filter(({ name }) => name === 'table')) {
    assert.ok(
      elementsNamed(table, 'caption').some((caption) => textOf(caption) !== ''),
      'a table without caption',
    );
    for (const cell of elementsNamed(table, 'th')) assert.ok(cell.attributes.has('scope'));
  }
  for (const svg of elements.filter(({ name }) => name === 'svg')) {
    const { attributes } = svg;
    const spoken = attributes.get('role') === 'img' && (attributes.get('aria-label') ?? '') !== '';
    assert.ok(spoken || attributes.get('aria-hidden') === 'true', 'a drawing without words');
  }
  return { page, tables: tablesOf(page) };
}

function rowsWith(tables: readonly ReadTable[], column: string): ReadonlyMap<string, string>[] {
  return tables.flatMap(({ rows }) => rows.filter((row) => row.has(column)));
}

test('every measurement is a row of a table, with all of its figures', () => {
  const report = sampleReport();
  const { tables } = render(report);
  const rows = tables
    .filter(({ rows }) => rows[0]?.has('Compress MiB/s'))
    .flatMap(({ caption, rows }) => rows.map((row) => ({ caption, row })));
  assert.equal(rows.length, report.measurements.length);
  for (const one of report.measurements) {
    const wanted = {
      Method: one.level === undefined ? one.codec : `${one.codec} ${one.level}`,
      Backend: one.backend ?? '',
      Ratio: ratio(one.ratio),
      'Compress MiB/s': mibPerSecond(one.compressBytesPerSecond),
      'Compress MiB per CPU s': mibPerSecond(one.compressBytesPerCpuSecond),
      'Compress CPU s per GiB': figure(one.compressCpuSecondsPerGib),
      'Decompress MiB/s': mibPerSecond(one.decompressBytesPerSecond),
      'Decompress MiB per CPU s': mibPerSecond(one.decompressBytesPerCpuSecond),
      'Decompress CPU s per GiB': figure(one.decompressCpuSecondsPerGib),
      Pages: count(one.pages!),
      Pareto: one.pareto ? 'yes' : '',
    };
    const found = rows.filter(({ caption, row }) => {
      const group = row.has('Threads')
        ? row.get('Threads') === `${one.threads}` && row.get('Pages per packet') === `${one.packetPages}`
        : caption.includes(`${one.threads} threads, ${one.packetPages} pages`);
      return group && Object.entries(wanted).every(([column, text]) => row.get(column) === text);
    });
    assert.equal(found.length, 1, JSON.stringify(wanted));
  }
});

test('every prediction is a row of the table of its link speed', () => {
  const report = sampleReport();
  const { tables } = render(report);
  const predicted = tables.filter(({ caption }) => caption.startsWith('All '));
  assert.equal(predicted.flatMap(({ rows }) => rows).length, report.predictions.length);
  for (const one of report.predictions) {
    const { codec, level, backend, threads, packetPages } = report.measurements[one.measurement]!;
    const wanted = [
      level === undefined ? codec : `${codec} ${level}`,
      backend ?? '',
      `${threads}`,
      `${packetPages}`,
      time(one.totalTimeMs),
      time(one.downtimeMs),
      count(one.passes),
      bytes(one.transferredBytes),
      one.converges ? 'yes' : 'no',
      limitOf(one, { index: one.measurement, measurement: report.measurements[one.measurement]! }),
    ];
    const there = predicted.find(({ caption }) => caption.includes(` at ${link(one.linkBitsPerSecond)},`));
    const found = there?.rows.some((row) => {
      const cells = Array.from(row.values());
      return wanted.every((text, index) => cells[index] === text);
    });
    assert.ok(found, wanted.join(' | '));
  }
});

test('every recommendation is in the headline with its reason, and in a table', () => {
  const report = sampleReport();
  const { page, tables } = render(report);
  const header = elementsNamed(page, 'header')[0]!;
  const rows = tables.find(({ caption }) => caption === 'Recommendations')?.rows;
  assert.equal(rows?.length, report.recommendations.length);
  report.recommendations.forEach(({ linkBitsPerSecond, reason }, index) => {
    assert.ok(textOf(header).includes(reason));
    assert.equal(rows?.[index]?.get('Link'), link(linkBitsPerSecond));
  });
  assert.equal(textOf(elementsNamed(page, 'h1')[0]!), 'Use zstd 3 at 1 Gb/s, none from 10 Gb/s to 100 Gb/s');
  assert.ok(textOf(header).includes('--multifd-zstd-level 3'));
});

test('input, machine, guest and transport are told', () => {
  const { machine, input, guest, transport, pageferryVersion } = sampleReport();
  const { page } = render(sampleReport());
  const told = textOf(elementsNamed(page, 'main')[0]!);
  const wanted = [
    ...[
      input.name,
      bytes(input.bytes),
      count(input.pages),
      count(input.zeroPages),
      count(input.sampledPages),
    ],
    ...[
      percent(input.incompressibleShare),
      machine.cpuModel,
      machine.kernel,
      machine.nodeVersion,
      pageferryVersion,
    ],
    ...[bytes(machine.memoryBytes), rate(machine.memoryCopyBytesPerSecond)],
    ...Object.entries(machine.libraries).map(([name, version]) => `${name} ${version}`),
    ...[
      bytes(guest!.bytes),
      bytes(guest!.zeroBytes),
      bytes(guest!.workingSetBytes),
      time(guest!.downtimeLimitMs),
    ],
    ...[
      rate(guest!.dirtyBytesPerSecond),
      rate(transport!.bytesPerSecond),
      figure(transport!.cpuSecondsPerGib),
    ],
    ...[time(transport!.setupMs), time(transport!.switchoverMs)],
  ];
  for (const text of wanted) assert.ok(told.includes(text), text);
  const older = render({ ...sampleReport(), guest: undefined, transport: undefined });
  assert.ok(!textOf(older.page).includes('over loopback'));
});

test('settings of several thread counts on one chart are told apart', () => {
  const sample = sampleReport();
  const recommendations = sample.recommendations.map((one, index) => ({
    ...one,
    measurement: index < 2 ? 8 : 14,
  }));
  const { page } = render({ ...sample, recommendations });
  assert.equal(
    textOf(elementsNamed(page, 'h1')[0]!),
    'Use zstd 3 from 1 Gb/s to 10 Gb/s, none from 25 Gb/s to 100 Gb/s',
  );
  const texts = elementsNamed(page, 'text').map(textOf);
  assert.ok(texts.includes('none ×1') && texts.includes('zstd 3 ×1') && texts.includes('zstd 3 ×2'));
  assert.ok(textOf(page).includes('×2: with 2 threads'));
});

test('where nothing converges it says so', () => {
  const sample = sampleReport();
  const predictions = sample.predictions.map((one) => ({ ...one, converges: false }));
  const { page, tables } = render({ ...sample, predictions });
  assert.ok(textOf(page).includes('No migration of a guest that writes 100 MiB/s converges'));
  assert.ok(textOf(elementsNamed(page, 'header')[0]!).includes('Does not converge'));
  const totals = tables.find(({ caption }) => caption.startsWith('Total time of'))!.rows;
  assert.ok(
    totals.every((row) =>
      Array.from(row.values())
        .slice(1)
        .every((cell) => cell === '✕'),
    ),
  );
});

test('every region is a cell of a table and of the map, with its figures', () => {
  const report = sampleReport();
  const { page, tables } = render(report);
  const cells = rowsWith(tables, 'From').flatMap((row) => Array.from(row.values()).slice(1));
  const figures = report.regions.map((one) => `${ratio(one.ratio)}${percent(one.zeroShare)}`);
  assert.deepEqual(cells.filter((cell) => cell !== '').sort(), figures.sort());

  const hints = elementsNamed(page, 'title').map(textOf);
  for (const { block, offsetBytes } of report.regions) {
    assert.equal(
      hints.filter(
        (hint) => hint.startsWith(`${block} at `) && hint.includes(`(0x${offsetBytes.toString(16)})`),
      ).length,
      1,
    );
  }

  const shares = tables.find(({ caption }) => caption === 'How much of the RAM is in each class')!.rows;
  const whole = shares.reduce((sum, row) => sum + Number.parseFloat(row.get('Share')!), 0);
  assert.ok(Math.abs(whole - 100) < 0.5, `the shares make ${whole} %`);
  const regions = shares.reduce((sum, row) => sum + Number(row.get('Regions')), 0);
  assert.equal(regions, report.regions.length);
});

test('the charts show every configuration, and the front as a line', () => {
  const { page } = render(sampleReport());
  const charts = elementsNamed(page, 'svg').filter(
    (svg) => svg.attributes.get('viewBox') !== '-12 -12 24 24',
  );
  const main = charts.find((svg) =>
    svg.attributes.get('aria-label')?.startsWith('Compressing with 2 threads, 128'),
  )!;
  const hints = elementsNamed(main, 'title').map(textOf);
  assert.equal(hints.length, 14);
  assert.ok(hints.includes('zstd 3 minizlib: ratio 2.33, 365 MiB/s'), hints.join('; '));
  assert.equal(
    elementsNamed(main, 'path').filter((path) => path.attributes.get('class') === 'front').length,
    1,
  );
  const names = elementsNamed(main, 'text').map(textOf);
  for (const name of [
    'none',
    'lz4',
    'zstd 1',
    'zstd 3',
    'zstd 9 minizlib',
    'zstd 9 mongodb-zstd',
    'zstd 19',
  ]) {
    assert.ok(names.includes(name), `${name} has no label`);
  }
  const times = charts.find((svg) => svg.attributes.get('aria-label')?.startsWith('Predicted total time'))!;
  assert.equal(
    elementsNamed(times, 'title')
      .map(textOf)
      .filter((hint) => hint.includes('does not converge')).length,
    12,
  );
});

test('text from outside stays text', () => {
  const sample = sampleReport();
  const hostile = `<script>alert(1)</script><img src=x onerror='a("&amp;")'>\u0000\u202egpj.exe\ud800\n`;
  const shown = `<script>alert(1)</script><img src=x onerror='a("&amp;")'>\ufffd\ufffdgpj.exe\ufffd\ufffd`;
  const { page } = render({
    ...sample,
    createdAt: hostile,
    pageferryVersion: hostile,
    machine: {
      ...sample.machine,
      cpuModel: hostile,
      kernel: hostile,
      nodeVersion: hostile,
      libraries: { [hostile]: hostile },
    },
    input: { ...sample.input, name: hostile, blocks: [{ name: hostile, bytes: 4096 }] },
    regions: sample.regions.map((region) => ({ ...region, block: hostile })),
    measurements: sample.measurements.map((one) => ({ ...one, codec: hostile, backend: hostile })),
    recommendations: sample.recommendations.map((one) => ({ ...one, reason: hostile })),
  });
  const words = wordsOf(page);
  assert.ok(words.split(shown).length > 20, 'the text is there, as it was given');
  assert.doesNotMatch(words, /[\0\u202e]/);
  assert.ok(words.isWellFormed());
});

const NOTHING: Pick<BenchReport, 'regions' | 'measurements' | 'predictions' | 'recommendations'> = {
  regions: [],
  measurements: [],
  predictions: [],
  recommendations: [],
};

test('a report without anything, and one of zero pages only', () => {
  const sample = sampleReport();
  const empty = {
    ...sample.input,
    bytes: 0,
    pages: 0,
    zeroPages: 0,
    sampledPages: 0,
    incompressibleShare: Number.NaN,
    blocks: [],
  };
  const heading = ({ page }: { page: Element }) => textOf(elementsNamed(page, 'h1')[0]!);
  assert.equal(heading(render({ ...sample, ...NOTHING, input: empty })), 'Nothing was measured');

  const zero = {
    ...sample.input,
    zeroPages: sample.input.pages,
    sampledPages: 0,
    incompressibleShare: Number.NaN,
  };
  const regions = sample.regions.map((region) => ({ ...region, zeroShare: 1, ratio: undefined }));
  const all = render({ ...sample, ...NOTHING, input: zero, regions });
  assert.equal(heading(all), 'All pages are zero: there is nothing to compress');
  const blocks = all.tables.find(({ caption }) => caption === 'RAM blocks')!.rows;
  assert.ok(blocks.every((row) => row.get('Zero') === '100 %' && row.get('Ratio') === '–'));
});

test('one measurement, one region, one prediction', () => {
  const sample = sampleReport();
  const { page, tables } = render({
    ...sample,
    measurements: sample.measurements.slice(0, 1),
    regions: sample.regions.slice(0, 1),
    predictions: sample.predictions.slice(0, 1),
    recommendations: sample.recommendations.slice(0, 1).map((one) => ({ ...one, measurement: 0 })),
  });
  assert.equal(textOf(elementsNamed(page, 'h1')[0]!), 'Use none at 1 Gb/s');
  assert.equal(rowsWith(tables, 'Compress MiB/s').length, 1);
  const unpredicted = render({ ...sample, predictions: [], recommendations: [] });
  assert.ok(textOf(unpredicted.page).includes('Nothing was predicted'));
});

test('figures that are not numbers, zero or without bounds are dashes or stand at the edge', () => {
  const sample = sampleReport();
  for (const odd of [0, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_VALUE, Number.MIN_VALUE]) {
    const numbers = <T extends object>(one: T, keep: readonly string[]): T =>
      Object.fromEntries(
        Object.entries(one).map(([key, value]) => [
          key,
          typeof value === 'number' && !keep.includes(key) ? odd : value,
        ]),
      ) as T;
    const { tables } = render({
      ...sample,
      machine: numbers(sample.machine, []),
      input: numbers(sample.input, []),
      guest: numbers(sample.guest!, []),
      transport: numbers(sample.transport!, []),
      regions: sample.regions.map((one) => numbers(one, ['offsetBytes'])),
      measurements: sample.measurements.map((one, index) =>
        index % 3 === 0 ? numbers(one, ['level', 'threads', 'packetPages']) : one,
      ),
      predictions: sample.predictions.map((one, index) =>
        index % 3 === 0 ? numbers(one, ['measurement', 'linkBitsPerSecond']) : one,
      ),
    });
    assert.equal(rowsWith(tables, 'Compress MiB/s').length, sample.measurements.length);
    const predicted = tables.filter(({ caption }) => caption.startsWith('All '));
    assert.equal(predicted.flatMap(({ rows }) => rows).length, sample.predictions.length);
  }
});

test('a report that refers to a measurement it does not hold is refused', () => {
  const sample = sampleReport();
  assert.throws(() => renderBenchHtml({ ...sample, measurements: [] }), /no measurement/);
});

test('a large report stays of a size that a phone can open', () => {
  const sample = sampleReport();
  const regions = Array.from({ length: 4096 }, (_, index) => ({
    block: 'pc.ram',
    offsetBytes: index * 2 ** 24,
    bytes: 2 ** 24,
    zeroShare: (index % 100) / 100,
    ratio: 1 + (index % 50) / 10,
  }));
  const { tables } = render({ ...sample, regions });
  assert.equal(rowsWith(tables, 'From').length, 512);
  assert.ok(renderBenchHtml({ ...sample, regions }).length < 3_000_000);
});
