/** What makes a page live: arrow keys, details on hover and focus, one pair at a time. Without it the page still says everything. */
export const SCRIPT = `
'use strict';
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Grids: one stop of the Tab key each, arrow keys within.
for (const table of all('table.strip, table.matrix')) {
  const run = table.closest('.run');
  const panel = run && run.querySelector('.panel');
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]).map((row) => [...row.cells].filter((cell) => cell.tagName === 'TD'));
  table.setAttribute('role', 'grid');
  for (const head of all('th', table)) head.setAttribute('role', head.scope === 'row' ? 'rowheader' : 'columnheader');
  for (const link of all('a', table)) link.tabIndex = -1;
  for (const cell of rows.flat()) {
    cell.setAttribute('role', 'gridcell');
    cell.tabIndex = -1;
  }
  const start = rows.findIndex((row) => row.length > 1);
  let at = [Math.max(0, start), 0];
  const cellAt = ([row, column]) => rows[row][Math.min(column, rows[row].length - 1)];
  if (rows[at[0]]?.length > 0) cellAt(at).tabIndex = 0;

  const show = (cell) => {
    if (!panel || cell.dataset.step === undefined) return;
    for (const other of all('.here', run)) other.classList.remove('here');
    const step = cell.dataset.step;
    for (const other of all('[data-step="' + step + '"]', table)) other.classList.add('here');
    const card = run.querySelector('.steps > [data-step="' + step + '"]');
    card.classList.add('here');
    panel.replaceChildren(...[...card.childNodes].map((node) => node.cloneNode(true)));
    const note = cell.classList.contains('m') ? cell.getAttribute('aria-label') : null;
    if (note === null) return;
    const line = document.createElement('p');
    line.className = 'where';
    line.textContent = note;
    panel.append(line);
  };
  const find = (target) => {
    const cell = target.closest && target.closest('td');
    const row = rows.findIndex((cells) => cells.includes(cell));
    return row < 0 ? undefined : [row, rows[row].indexOf(cell)];
  };
  const move = (to) => {
    cellAt(at).tabIndex = -1;
    at = to;
    const cell = cellAt(at);
    cell.tabIndex = 0;
    cell.focus();
    cell.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  };
  table.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const [row, column] = at;
    const last = rows[row].length - 1;
    const to = {
      ArrowLeft: [row, Math.max(0, column - 1)],
      ArrowRight: [row, Math.min(last, column + 1)],
      ArrowUp: [Math.max(0, row - 1), column],
      ArrowDown: [Math.min(rows.length - 1, row + 1), column],
      Home: [row, 0],
      End: [row, last],
    }[event.key];
    if (to) {
      event.preventDefault();
      move(to);
    } else if (event.key === 'Enter') {
      const cell = cellAt(at);
      const link = cell.querySelector('a') || (run && run.querySelector('.number[data-step="' + cell.dataset.step + '"] a'));
      if (!link) return;
      event.preventDefault();
      link.click();
    }
  });
  table.addEventListener('focusin', (event) => {
    const found = find(event.target);
    if (!found) return;
    cellAt(at).tabIndex = -1;
    at = found;
    cellAt(at).tabIndex = 0;
    show(cellAt(at));
  });
  table.addEventListener('mouseover', (event) => {
    const found = find(event.target);
    if (found) show(cellAt(found));
  });
  if (panel && start >= 0) show(cellAt(at));
}

// One pair at a time; the address says which.
const runs = all('.run');
const everything = document.getElementById('everything');
let chosen = runs.find((run) => run.classList.contains('carried-out')) || runs[0];
const choose = () => {
  for (const run of runs) run.hidden = !(everything && everything.checked) && run !== chosen;
  for (const link of all('.matrix a')) {
    if (chosen && link.getAttribute('href') === '#' + chosen.id) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }
};
const follow = () => {
  const target = location.hash.length > 1 ? document.getElementById(location.hash.slice(1)) : null;
  const run = target && target.closest('.run');
  if (!run) return;
  chosen = run;
  choose();
  const place = target === run ? run.querySelector('h2') : target;
  place.focus({ preventScroll: true });
  target.scrollIntoView({ block: 'start' });
};
if (everything) everything.addEventListener('change', choose);
window.addEventListener('hashchange', follow);
choose();
follow();
`;
