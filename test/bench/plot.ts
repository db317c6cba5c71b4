/** Line charts as SVG: two logarithmic axes, a few series, nothing else. */

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** For what is only there to compare with. */
  readonly dashed?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly x: { readonly label: string; readonly tick: (value: number) => string };
  readonly y: { readonly label: string; readonly tick: (value: number) => string };
  readonly series: readonly Series[];
}

const WIDTH = 640;
const HEIGHT = 400;
const LEFT = 80;
const RIGHT = 50;
const TOP = 40;
const BOTTOM = 60;
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#8a8a8a'];

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const one = (value: number): string => value.toFixed(1);

interface Axis {
  readonly ticks: readonly number[];
  at(value: number): number;
}

/** Powers of `base` around the values. */
function axis(values: readonly number[], base: number, from: number, to: number): Axis {
  const log = (value: number): number => Math.log(value) / Math.log(base);
  const low = Math.floor(log(Math.min(...values)) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(log(Math.max(...values)) - 1e-9));
  const at = (value: number): number => from + ((log(value) - low) / (high - low)) * (to - from);
  return { ticks: Array.from({ length: high - low + 1 }, (_, i) => base ** (low + i)), at };
}

function draw({ title, x, y, series }: Chart, top: number, base: number): string {
  const points = series.flatMap((one) => one.points);
  const across = axis(
    points.map(([value]) => value),
    base,
    LEFT,
    WIDTH - RIGHT,
  );
  const up = axis(
    points.map(([, value]) => value),
    10,
    top + HEIGHT - BOTTOM,
    top + TOP,
  );
  const bottom = top + HEIGHT - BOTTOM;
  const text = (at: readonly [number, number], words: string, more: string): string =>
    `<text x="${one(at[0])}" y="${one(at[1])}" ${more}>${escaped(words)}</text>`;
  const lines = [
    text([WIDTH / 2, top + 22], title, 'text-anchor="middle" font-weight="bold"'),
    ...up.ticks.flatMap((tick) => [
      `<path d="M${LEFT} ${one(up.at(tick))}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
      text([LEFT - 8, up.at(tick) + 4], y.tick(tick), 'text-anchor="end"'),
    ]),
    ...across.ticks.map((tick) => text([across.at(tick), bottom + 18], x.tick(tick), 'text-anchor="middle"')),
    text([(LEFT + WIDTH - RIGHT) / 2, bottom + 40], x.label, 'text-anchor="middle"'),
    `<text transform="translate(20 ${(top + TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(y.label)}</text>`,
    `<path d="M${LEFT} ${top + TOP}V${bottom}H${WIDTH - RIGHT}" stroke="#333" fill="none"/>`,
  ];
  for (const [i, { name, points: at, dashed }] of series.entries()) {
    const colour = dashed ? COLOURS.at(-1) : COLOURS[i % (COLOURS.length - 1)];
    const path = at.map(([px, py], j) => `${j === 0 ? 'M' : 'L'}${one(across.at(px))} ${one(up.at(py))}`).join('');
    lines.push(
      `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"${dashed ? ' stroke-dasharray="6 4"' : ''}/>`,
    );
    if (!dashed) {
      for (const [px, py] of at)
        lines.push(`<circle cx="${one(across.at(px))}" cy="${one(up.at(py))}" r="3" fill="${colour}"/>`);
    }
    const row = top + TOP + 14 + 18 * i;
    lines.push(
      `<path d="M${LEFT + 16} ${row - 4}h24" stroke="${colour}" stroke-width="2"${dashed ? ' stroke-dasharray="6 4"' : ''}/>`,
    );
    lines.push(text([LEFT + 48, row], name, ''));
  }
  return lines.join('\n');
}

/** The charts below each other; `base` of the ticks along each x axis. */
export function svg(charts: readonly (Chart & { readonly base: number })[]): string {
  const height = charts.length * HEIGHT;
  const body = charts.map((chart, i) => draw(chart, i * HEIGHT, chart.base)).join('\n');
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">
<title>${escaped(charts.map(({ title }) => title).join('; '))}</title>
<rect width="100%" height="100%" fill="#fff"/>
${body}
</svg>
`;
}
