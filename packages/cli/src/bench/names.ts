import type { BenchMeasurement } from './report.ts';

/** `zstd 3`: method and level. */
export function methodName({ codec, level }: BenchMeasurement): string {
  return level === undefined ? codec : `${codec} ${level}`;
}

/** What tells a setting from all the `others`: its backend, threads and packet size where those differ. */
export function settingName(setting: BenchMeasurement, others: readonly BenchMeasurement[]): string {
  const parts = [methodName(setting)];
  const rivals = others.filter(({ codec }) => codec === setting.codec);
  if (setting.backend !== undefined && rivals.some(({ backend }) => backend !== setting.backend)) {
    parts[0] += ` ${setting.backend}`;
  }
  if (others.some(({ threads }) => threads !== setting.threads)) {
    parts.push(setting.threads === 1 ? '1 thread' : `${setting.threads} threads`);
  }
  if (others.some(({ packetPages }) => packetPages !== setting.packetPages)) {
    parts.push(`${setting.packetPages} pages a packet`);
  }
  return parts.join(', ');
}

/** 2500000000 gives `2.5 Gb/s`. */
export function formatLink(bitsPerSecond: number): string {
  const units = ['b/s', 'kb/s', 'Mb/s', 'Gb/s', 'Tb/s'];
  let value = bitsPerSecond;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(4))} ${units[unit]}`;
}
