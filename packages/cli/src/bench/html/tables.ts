import { html, type Markup } from './escape.ts';

export interface Column<Row> {
  readonly head: string;
  /** Adjacent columns of the same group stand under one heading. */
  readonly group?: string;
  /** Default: figures, to the right. */
  readonly align?: 'left';
  readonly cell: (row: Row) => string | Markup;
}

export interface TableOptions<Row> {
  /** Unique on the page. */
  readonly id: string;
  readonly caption: string | Markup;
  /** The first column names the row. */
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  /** Rows to be emphasised. */
  readonly isMarked?: (row: Row) => boolean;
}

/** Tables of at most so many rows are not torn apart by a page of paper. */
const SHORT = 20;

/** Tables of at most so many columns are only as wide as they have to be. */
const FEW = 3;

/** A table with a caption, in a frame that scrolls where the screen is narrower than the table. */
export function table<Row>({ id, caption, columns, rows, isMarked }: TableOptions<Row>): Markup {
  const body = rows.map((row) => {
    const cells = columns.map(({ align, cell }, index) => {
      const content = html`${cell(row)}`;
      if (index === 0) return html`<th scope="row">${content}</th>`;
      return align === 'left' ? html`<td class="left">${content}</td>` : html`<td>${content}</td>`;
    });
    return isMarked?.(row) ? html`<tr class="marked">${cells}</tr>\n` : html`<tr>${cells}</tr>\n`;
  });
  return html`<div class="scroll${rows.length <= SHORT ? ' short' : ''}" role="region" aria-labelledby="${id}" tabindex="0"><table${columns.length <= FEW ? html` class="fit"` : undefined}>
<caption id="${id}"><span>${caption}</span></caption>
<thead>${head(columns)}</thead>
<tbody>
${body}</tbody>
</table></div>
`;
}

function head<Row>(columns: readonly Column<Row>[]): Markup {
  if (columns.every(({ group }) => group === undefined)) {
    return html`<tr>${columns.map((column) => columnHead(column))}</tr>`;
  }
  const upper: Markup[] = [];
  const lower: Markup[] = [];
  columns.forEach((column, index) => {
    if (column.group === undefined) {
      upper.push(columnHead(column, true));
      return;
    }
    lower.push(columnHead(column));
    if (columns[index - 1]?.group === column.group) return;
    let span = 1;
    while (columns[index + span]?.group === column.group) span++;
    upper.push(html`<th scope="colgroup" colspan="${span}">${column.group}</th>`);
  });
  return html`<tr>${upper}</tr><tr>${lower}</tr>`;
}

function columnHead<Row>({ head, align }: Column<Row>, tall = false): Markup {
  return html`<th scope="col"${tall ? html` rowspan="2"` : undefined}${align === 'left' ? html` class="left"` : undefined}>${head}</th>`;
}

/** What is long and not wanted at once. Paper shows it open. */
export function folded(summary: string, content: Markup): Markup {
  return html`<details><summary>${summary}</summary>
${content}</details>
`;
}
