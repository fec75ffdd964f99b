import { html, type Markup } from '../escape.ts';
import type { Scale, Span } from '../scale.ts';

/**
 * A chart is drawn twice, and the style sheet shows one: `wide` for screens and paper, `narrow` for phones and for
 * charts that stand side by side. Units are those of the viewBox; at the widths where each is shown its text
 * is 12 CSS pixels or larger.
 */
export interface Layout {
  /** `always`: not one of two, shown at every width. */
  readonly name: 'wide' | 'narrow' | 'always';
  readonly width: number;
  readonly height: number;
  readonly fontSize: number;
  /** Radius of a marker. */
  readonly radius: number;
  /** How many ticks an axis has room for. */
  readonly xTicks: number;
  readonly yTicks: number;
}

export const WIDE: Layout = {
  name: 'wide',
  width: 860,
  height: 460,
  fontSize: 14,
  radius: 6,
  xTicks: 11,
  yTicks: 11,
};
export const NARROW: Layout = {
  name: 'narrow',
  width: 360,
  height: 400,
  fontSize: 13,
  radius: 5,
  xTicks: 6,
  yTicks: 10,
};

/** For charts side by side, at every width. */
export const SMALL: Layout = { ...NARROW, name: 'always', fontSize: 12, height: 360 };

/** The rectangle inside the axes. */
export interface Plot {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export interface Axis {
  readonly title: string;
  readonly scale: Scale;
  readonly format: (value: number) => string;
}

/** Room that a text takes at most; sans-serif fonts differ, this is a wide one. */
export function textWidth(text: string, fontSize: number): number {
  return Array.from(text).length * fontSize * 0.58;
}

/** The plot's place, with room for the labels of the y axis and `right` on the other side. */
export function plotOf(layout: Layout, yLabels: readonly string[], right: number): Plot {
  const widest = Math.max(0, ...yLabels.map((label) => textWidth(label, layout.fontSize)));
  return {
    left: Math.ceil(widest) + 12,
    right: layout.width - Math.max(right, layout.radius + 6),
    top: layout.fontSize * 2.2,
    bottom: layout.height - layout.fontSize * 3.6,
  };
}

export const xRange = (plot: Plot): Span => [plot.left, plot.right];
export const yRange = (plot: Plot): Span => [plot.bottom, plot.top];

/** Grid, tick labels and titles. The y title stands above its axis, where it can be read without turning the head. */
export function frame(layout: Layout, plot: Plot, x: Axis, y: Axis): Markup {
  const { fontSize } = layout;
  const horizontal = y.scale.ticks.map((tick) => {
    const at = y.scale.at(tick);
    return html`<path class="grid" d="M${plot.left} ${at}H${plot.right}"/><text x="${plot.left - 7}" y="${at + fontSize * 0.35}" text-anchor="end">${y.format(tick)}</text>`;
  });
  // Labels that would touch the one before are left out; their grid lines stay.
  let free = Number.NEGATIVE_INFINITY;
  const vertical = x.scale.ticks.map((tick) => {
    const at = x.scale.at(tick);
    const label = x.format(tick);
    const half = textWidth(label, fontSize) / 2;
    const line = html`<path class="grid" d="M${at} ${plot.top}V${plot.bottom}"/>`;
    if (at - half < free) return line;
    free = at + half + 4;
    return html`${line}<text x="${at}" y="${plot.bottom + fontSize * 1.4}" text-anchor="middle">${label}</text>`;
  });
  return html`${horizontal}${vertical}<path class="axis" d="M${plot.left} ${plot.top}V${plot.bottom}H${plot.right}"/>
<text class="title" x="2" y="${fontSize}">${y.title}</text>
<text class="title" x="${plot.right}" y="${plot.bottom + fontSize * 2.9}" text-anchor="end">${x.title}</text>`;
}

export function svg(
  layout: Pick<Layout, 'name' | 'width' | 'height'>,
  label: string,
  content: readonly Markup[],
): Markup {
  return html`<svg class="chart ${layout.name}" viewBox="0 0 ${layout.width} ${layout.height}" role="img" aria-label="${label}">
${content}
</svg>`;
}
