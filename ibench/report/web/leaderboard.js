'use strict';

const naturally = new Intl.Collator('en', { numeric: true }).compare; // epoch_2 before epoch_10
const CHUNK = 40; // rows that are built at a time, as they come into view

// what the data says, made ready ---------------------------------------------------------------------------------------

const cells = data.encoders.map(() => new Map()); // encoder → column → record
for (const record of data.records) cells[record.encoder].set(record.column, record);
data.columns.forEach((column, index) => {
  column.index = index;
  column.key = `${column.task}@${column.protocol}`;
});
data.encoders.forEach((encoder, index) => {
  encoder.index = index;
  encoder.sought = `${encoder.name} ${encoder.family}`.toLowerCase();
});
const MODALITIES = ['image', 'video', 'audio', 'depth', 'thermal', 'imu'].filter((one) =>
  [...data.columns, ...data.leftOut].some((row) => row.modalities.includes(one)));

// what is shown: the state, which is also the link ---------------------------------------------------------------------

const DEFAULTS = { tab: '', suite: '', query: '', family: '', pairs: '', base: '', sort: 'mean', order: '' };
let state = fromLink();
let view = null; // what the state selects: columns, encoders, means

function fromLink() {
  const asked = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([key, value]) => [key, asked.get(key) ?? value]));
}

function toLink() {
  const told = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  return `#${new URLSearchParams(told)}`;
}

function change(changes) {
  state = { ...state, ...changes };
  history.replaceState(null, '', toLink());
  show();
}

function recordOf(encoder, column) {
  const record = cells[encoder.index].get(column.index);
  if (!record || (state.pairs && record.emergent !== (state.pairs === 'emergent'))) return undefined;
  return record;
}

/** Columns and encoders that the state selects, the encoders in order. */
function selected() {
  const suite = data.suites.find((one) => one.name === state.suite);
  const asked = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = data.columns.filter((column) =>
    (!state.tab || column.modalities.includes(state.tab)) && (!suite || suite.tasks.includes(column.task)));
  const encoders = data.encoders.filter((encoder) =>
    asked.every((word) => encoder.sought.includes(word)) && (!state.family || encoder.family === state.family)
    && wanted.some((column) => recordOf(encoder, column)));
  const columns = wanted.filter((column) => encoders.some((encoder) => recordOf(encoder, column)));
  const averaged = columns.filter((column) => column.principal);
  const whole = !suite || suite.tasks.every((task) => averaged.some((column) => column.task === task));
  const means = new Map();
  if (averaged.length > 1 && whole && !averaged.some((column) => column.lower)) {
    for (const encoder of encoders) {
      const scores = averaged.map((column) => recordOf(encoder, column));
      if (scores.every(Boolean)) means.set(encoder, scores.reduce((sum, one) => sum + one.score[0], 0) / scores.length);
    }
  }
  const base = data.encoders.find((encoder) => encoder.name === state.base);
  return { columns, averaged, means, base, encoders: ordered(encoders, columns, means) };
}

/** Sorted by the column asked for; who has no score there comes last, whichever way it is sorted. */
function ordered(encoders, columns, means) {
  const column = columns.find((one) => one.key === state.sort) ?? (state.sort === 'mean' && !means.size ? columns[0] : undefined);
  const by = state.sort === 'name' ? () => null : column ? (encoder) => recordOf(encoder, column)?.score[0] : (encoder) => means.get(encoder);
  const rising = state.order ? state.order === 'up' : state.sort === 'name' || Boolean(column?.lower);
  return encoders.slice().sort((one, other) => {
    const [a, b] = [by(one), by(other)];
    if ((a === undefined) !== (b === undefined)) return a === undefined ? 1 : -1;
    const difference = a === b ? 0 : a < b ? -1 : 1;
    if (difference) return rising ? difference : -difference;
    const names = naturally(one.name, other.name);
    return state.sort === 'name' && !rising ? -names : names;
  });
}

// the table of scores --------------------------------------------------------------------------------------------------

let built = 0; // how many rows of the table stand in the page
let watcher = null;

function show() {
  view = selected();
  showControls();
  showTable();
  showPublished();
  showLeftOut();
  drawFigures(view);
}

function showTable() {
  const place = byId('scores');
  watcher?.disconnect();
  built = 0;
  hideCard();
  const { columns, encoders, means, base } = view;
  byId('status').replaceChildren(...summary());
  if (!encoders.length) {
    place.replaceChildren(el('p', { class: 'empty' }, data.encoders.length ? 'Nothing fits these filters.' : 'No record is ranked.'));
    return;
  }
  const best = new Map(columns.map((column) => {
    const scores = encoders.map((encoder) => recordOf(encoder, column)?.score[0]).filter((score) => score !== undefined);
    return [column, column.lower ? Math.min(...scores) : Math.max(...scores)];
  }));
  const head = el('tr', {},
    heading('name', 'Encoder', []),
    means.size ? heading('mean', 'Mean', [`of ${view.averaged.length} tasks`], 'number mean') : null,
    ...columns.map((column) => heading(column.key, column.task, [column.pair, column.metric, ...(column.protocol === 'ibench' ? [] : [column.protocol])], 'number', column.title)));
  const chance = el('tr', { class: 'chance' }, el('th', { scope: 'row' }, 'chance'), means.size ? el('td') : null,
    ...columns.map((column) => el('td', { class: 'number' }, shown(column.metric, column.chance))));
  const body = el('tbody');
  const table = el('table', { class: 'matrix' }, el('caption', { class: 'hidden-text' }, 'Scores in percent with 95% intervals, encoders down, tasks across'),
    el('thead', {}, head), body, el('tfoot', {}, chance));
  place.replaceChildren(table);
  const build = () => {
    const rows = encoders.slice(built, built + CHUNK).map((encoder) => rowOf(encoder, columns, means, base, best));
    built += rows.length;
    body.append(...rows);
    watcher.disconnect();
    if (built < encoders.length) watcher.observe(body.lastElementChild);
  };
  watcher = new IntersectionObserver((entries) => { if (entries.some((one) => one.isIntersecting)) build(); }, { root: place, rootMargin: '600px' });
  table.more = () => (built < encoders.length ? (build(), true) : false);
  build();
  const first = body.querySelector('.score');
  if (first) first.tabIndex = 0;
}

function summary() {
  const { encoders, columns, base } = view;
  const counted = `${plural(encoders.length, 'encoder')}, ${plural(columns.length, 'task')}`;
  if (!base) return [`${counted}. Scores in percent.`];
  return [`${counted}. Under each score its difference to ${base.name}, in points: ▲ better, ▼ worse, ≈ not told apart by the two 95% intervals. `,
    el('code', {}, 'ibench compare'), ' tests the same samples in pairs and sees smaller differences.'];
}

function plural(count, what) {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
}

function heading(key, name, details, kind, title) {
  const active = state.sort === key;
  const rising = state.order ? state.order === 'up' : key === 'name' || Boolean(data.columns.find((column) => column.key === key)?.lower);
  const turn = () => {
    change(active ? { order: rising ? 'down' : 'up' } : { sort: key, order: '' });
    byId('scores').querySelector(`[data-sort="${CSS.escape(key)}"]`)?.focus();
  };
  return el('th', { scope: 'col', class: kind, 'aria-sort': active ? (rising ? 'ascending' : 'descending') : null },
    el('button', { type: 'button', class: 'sort', 'data-sort': key, title: title || null, click: turn },
      el('b', {}, name), ...details.map((one) => el('small', {}, one))));
}

function rowOf(encoder, columns, means, base, best) {
  const mean = means.get(encoder);
  return el('tr', { class: encoder === base ? 'base' : null },
    el('th', { scope: 'row', title: encoder.name }, el('span', { class: 'name' }, encoder.name), el('span', { class: 'family' }, encoder.family)),
    means.size ? el('td', { class: 'number mean' }, mean === undefined ? '–' : el('b', {}, (100 * mean).toFixed(1))) : null,
    ...columns.map((column) => cellOf(encoder, column, recordOf(encoder, column), base, best.get(column))));
}

function cellOf(encoder, column, record, base, best) {
  if (!record) return el('td', { class: 'number none' }, '–');
  const [value, low, high] = record.score;
  const compared = base && base !== encoder ? recordOf(base, column) : undefined;
  const cell = el('td', { class: `number score${record.emergent ? ' emergent' : ''}${value === best ? ' best' : ''}`, tabindex: -1 },
    record.emergent ? el('span', { class: 'mark', title: 'emergent' }, '◇ ') : null,
    el('b', {}, shown(column.metric, value)),
    column.lower ? null : bar(column.chance, value, low, high),
    compared ? difference(column, record, compared)
      : el('small', {}, column.lower ? '' : null, unbounded(record, column.metric) ? 'no interval' : `${shown(column.metric, low)} – ${shown(column.metric, high)}`));
  cell.shows = [encoder, column, record];
  return cell;
}

/** A score with its interval on a line from 0 to 100, chance marked. */
function bar(chance, value, low, high) {
  const width = 84;
  const at = (share) => (1 + (width - 2) * Math.min(Math.max(share, 0), 1)).toFixed(1);
  return svg('svg', { width, height: 10, viewBox: `0 0 ${width} 10`, 'aria-hidden': 'true' },
    svg('path', { class: 'track', d: `M0 5H${width}` }),
    svg('path', { class: 'chance', d: `M${at(chance)} 1V9` }),
    svg('path', { class: 'range', d: `M${at(low)} 5H${at(high)}` }),
    svg('path', { class: 'value', d: `M${at(value)} 1V9` }));
}

/** The difference to another score; its interval is made of the two (Newcombe's), as of independent samples: wide. */
function difference(column, record, base) {
  const [a, b] = [record.score, base.score];
  const gap = a[0] - b[0];
  const low = gap - Math.hypot(a[0] - a[1], b[2] - b[0]);
  const high = gap + Math.hypot(a[2] - a[0], b[0] - b[1]);
  const none = unbounded(record, column.metric) || unbounded(base, column.metric);
  const told = none ? 0 : low > 0 ? 1 : high < 0 ? -1 : 0;
  const good = column.lower ? -told : told;
  const text = `${gap < 0 ? '−' : '+'}${shown(column.metric, Math.abs(gap))}`;
  return el('small', { class: good > 0 ? 'up' : good < 0 ? 'down' : null, title: none ? 'no interval' : `95%: ${shown(column.metric, low)} to ${shown(column.metric, high)}, unpaired` },
    `${good > 0 ? '▲' : good < 0 ? '▼' : '≈'} ${text}`);
}

// where a score comes from ---------------------------------------------------------------------------------------------

let closing = 0;

function showCard(cell) {
  const card = byId('card');
  clearTimeout(closing);
  const [encoder, column, record] = cell.shows;
  const how = data.circumstances[record.how];
  const facts = [
    ['score', `${withInterval(record, column.metric, record.score)}, ${record.method}`],
    ['chance', shown(column.metric, column.chance)],
    ...Object.entries(record.metrics).map(([name, one]) => [name, withInterval(record, name, one)]),
    ['samples', column.n.toLocaleString('en')],
    ['pair', column.pair + (record.emergent ? ' ◇ emergent' : ', trained')],
    ['trained on', encoder.trained.join(', ') || 'not stated'],
    ['protocol', column.protocol + (column.prompts ? `, prompts ${column.prompts}` : '')],
    ['task version', column.version],
    ['checkpoint', encoder.sha256 ?? 'not hashed', 'sha'],
    ['data', column.data, 'sha'],
    ['copy', `${record.copy} (${column.licence})`],
    ['run', `${record.created.slice(0, 10)}, ${how.device}, ${how.dtype}${record.rate ? `, ${Math.round(record.rate).toLocaleString('en')} encoded/s` : ''}`],
    ['versions', Object.entries(how.versions).map(([name, number]) => `${name} ${number}`).join(', ')],
    ['licence', encoder.licence],
  ];
  card.replaceChildren(
    el('button', { type: 'button', class: 'quiet close', 'aria-label': 'Close', tabindex: -1, click: hideCard }, '×'),
    el('h3', {}, encoder.name), el('p', {}, column.title || column.task),
    el('dl', {}, ...facts.flatMap(([name, value, kind]) => [el('dt', {}, name), el('dd', { class: kind }, String(value))])));
  card.hidden = false;
  card.cell?.removeAttribute('aria-describedby');
  card.cell = cell;
  cell.setAttribute('aria-describedby', 'card');
  const [box, size] = [cell.getBoundingClientRect(), card.getBoundingClientRect()];
  const left = box.right + 8 + size.width < innerWidth ? box.right + 8 : box.left - size.width - 8;
  card.style.left = `${Math.max(12, left)}px`;
  card.style.top = `${Math.max(12, Math.min(box.top, innerHeight - size.height - 12))}px`;
}

function hideCard() {
  clearTimeout(closing);
  const card = byId('card');
  card.cell?.removeAttribute('aria-describedby');
  card.cell = null;
  card.hidden = true;
}

function hideSoon() {
  clearTimeout(closing);
  closing = setTimeout(hideCard, 150);
}

function watchCells() {
  const place = byId('scores');
  const cellAt = (event) => event.target.closest?.('td.score');
  place.addEventListener('pointerover', (event) => {
    if (event.pointerType !== 'mouse') return;
    const cell = cellAt(event);
    if (cell) showCard(cell);
    else if (!byId('card').hidden) hideSoon();
  });
  place.addEventListener('pointerleave', hideSoon);
  place.addEventListener('click', (event) => { const cell = cellAt(event); if (cell) { rove(cell); showCard(cell); } });
  place.addEventListener('focusin', (event) => { const cell = cellAt(event); if (cell) showCard(cell); });
  place.addEventListener('focusout', hideSoon);
  place.addEventListener('scroll', () => { if (document.activeElement !== byId('card').cell) hideCard(); }, { passive: true });
  byId('card').addEventListener('pointerenter', () => clearTimeout(closing));
  byId('card').addEventListener('pointerleave', hideSoon);
  addEventListener('keydown', (event) => { if (event.key === 'Escape') hideCard(); });
  place.addEventListener('keydown', (event) => {
    const cell = cellAt(event);
    if (cell && event.key.startsWith('Arrow')) {
      event.preventDefault();
      move(cell, event.key.slice(5));
    }
  });
}

/** To the next score in a direction; between the rows that are built and those that are not yet. */
function move(cell, direction) {
  const sideways = direction === 'Left' || direction === 'Right';
  const forward = direction === 'Right' || direction === 'Down';
  let next = cell;
  do {
    if (sideways) next = forward ? next.nextElementSibling : next.previousElementSibling;
    else {
      const row = next.parentElement;
      if (forward && !row.nextElementSibling) row.closest('table').more();
      next = (forward ? row.nextElementSibling : row.previousElementSibling)?.children[next.cellIndex];
    }
  } while (next && !next.matches('.score'));
  if (next) rove(next);
}

/** One cell is in the order of Tab; the arrow keys move which. */
function rove(cell) {
  byId('scores').querySelectorAll('.score[tabindex="0"]').forEach((one) => { one.tabIndex = -1; });
  cell.tabIndex = 0;
  cell.focus({ preventScroll: true });
  cell.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}

// tabs and filters -----------------------------------------------------------------------------------------------------

function makeControls() {
  const tabs = ['', ...MODALITIES].map((modality) => el('button', {
    type: 'button', role: 'tab', id: `tab-${modality || 'all'}`, 'aria-controls': 'panel', 'data-tab': modality,
    click: () => change({ tab: modality }),
  }, modality ? (modality === 'imu' ? 'IMU' : modality[0].toUpperCase() + modality.slice(1)) : 'All',
  el('small', {}, String(data.columns.filter((column) => !modality || column.modalities.includes(modality)).length))));
  byId('tabs').append(...tabs);
  byId('tabs').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -tabs.length, End: tabs.length }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.indexOf(document.activeElement) + step;
    const next = tabs[Math.abs(step) === 1 ? (at + tabs.length) % tabs.length : Math.min(Math.max(at, 0), tabs.length - 1)];
    next.focus();
    next.click();
  });
  const families = [...new Set(data.encoders.map((encoder) => encoder.family))].sort();
  fill('suite', [['', 'any'], ...data.suites.map((suite) => [suite.name, suite.name])]);
  fill('family', [['', 'any'], ...families.map((family) => [family, family])]);
  fill('base', [['', 'none'], ...data.encoders.map((encoder) => [encoder.name, encoder.name])]);
  for (const name of ['suite', 'family', 'pairs', 'base']) byId(name).addEventListener('change', (event) => change({ [name]: event.target.value }));
  let waiting = 0;
  byId('query').addEventListener('input', (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ query: event.target.value }), 120);
  });
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  addEventListener('hashchange', () => { state = fromLink(); show(); });
}

function fill(id, options) {
  byId(id).replaceChildren(...options.map(([value, text]) => el('option', { value }, text)));
}

function showControls() {
  for (const tab of byId('tabs').children) {
    const chosen = tab.dataset.tab === state.tab;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    if (chosen) byId('panel').setAttribute('aria-labelledby', tab.id);
  }
  for (const name of ['suite', 'family', 'pairs', 'base']) byId(name).value = state[name];
  if (byId('query').value !== state.query) byId('query').value = state.query;
  byId('link').setAttribute('href', toLink());
}

// numbers from elsewhere, and what is not ranked -----------------------------------------------------------------------

function showPublished() {
  const asked = state.query.toLowerCase();
  const tasks = new Set(view.columns.map((column) => column.task));
  const rows = data.published.filter((row) => tasks.has(row.task) || (asked && row.model.toLowerCase().includes(asked) && fits(row)));
  list('published', rows, data.published, [
    ['task', (row) => row.task], ['model', (row) => row.model], ['protocol', (row) => row.protocol], ['metric', (row) => row.metric],
    ['value', (row) => row.value, (row) => shown(row.metric, row.value)], ['source', (row) => row.source],
  ]);
}

function showLeftOut() {
  const asked = state.query.toLowerCase();
  const rows = data.leftOut.filter((row) => fits(row) && row.encoder.toLowerCase().includes(asked));
  list('left', rows, data.leftOut, [
    ['encoder', (row) => row.encoder], ['task', (row) => row.task], ['protocol', (row) => row.protocol], ['metric', (row) => row.metric],
    ['score', (row) => row.score, (row) => shown(row.metric, row.score)], ['reason', (row) => row.why],
  ]);
}

function fits(row) {
  const suite = data.suites.find((one) => one.name === state.suite);
  return (!state.tab || row.modalities.includes(state.tab)) && (!suite || suite.tasks.includes(row.task));
}

/** A table of plain rows, sorted by any of its columns: [name, what to sort by, what to show]. */
function list(id, rows, all, columns) {
  const section = byId(id);
  section.hidden = !all.length;
  const place = section.querySelector('.scroller');
  const sorted = section.sorted ?? (section.sorted = { by: 0, rising: true });
  const [, key] = columns[sorted.by];
  const ranked = rows.slice().sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    const order = typeof a === 'number' && typeof b === 'number' ? a - b : naturally(String(a), String(b));
    return sorted.rising ? order : -order;
  });
  const head = columns.map(([name], at) => el('th', {
    scope: 'col', class: name === 'value' || name === 'score' ? 'number' : null,
    'aria-sort': at === sorted.by ? (sorted.rising ? 'ascending' : 'descending') : null,
  }, el('button', { type: 'button', class: 'sort', click: () => {
    section.sorted = { by: at, rising: at === sorted.by ? !sorted.rising : true };
    list(id, rows, all, columns);
    section.querySelectorAll('.sort')[at].focus();
  } }, el('b', {}, name))));
  const body = el('tbody');
  place.replaceChildren(ranked.length ? el('table', {}, el('thead', {}, el('tr', {}, ...head)), body) : el('p', { class: 'empty' }, 'None for these filters.'));
  let from = 0;
  const watch = new IntersectionObserver((entries) => { if (entries.some((one) => one.isIntersecting)) build(); }, { root: place, rootMargin: '400px' });
  section.watch?.disconnect();
  section.watch = watch;
  function build() {
    body.append(...ranked.slice(from, from + CHUNK).map((row) => el('tr', {}, ...columns.map(([name, value, text], at) =>
      el(at ? 'td' : 'th', { scope: at ? null : 'row', class: text ? 'number' : name === 'source' || name === 'reason' || name === 'model' ? 'wrap' : null }, at ? (text ?? value)(row) : el('span', { class: 'within', title: value(row) }, value(row)))))));
    from += CHUNK;
    watch.disconnect();
    if (from < ranked.length) watch.observe(body.lastElementChild);
  }
  build();
}

function summarise() {
  const dates = data.records.map((record) => record.created.slice(0, 10)).sort();
  const when = dates.length ? `, measured ${dates[0] === dates.at(-1) ? `on ${dates[0]}` : `from ${dates[0]} to ${dates.at(-1)}`}` : '';
  byId('summary').textContent = `${plural(data.encoders.length, 'encoder')} on ${plural(new Set(data.columns.map((one) => one.task)).size, 'task')}: ${plural(data.records.length, 'record')}${when}.`;
}

addEventListener('DOMContentLoaded', () => {
  summarise();
  makeControls();
  watchCells();
  show();
});
