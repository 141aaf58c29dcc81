'use strict';

// The figures, drawn as SVG when they come into view; each says in words what it shows.

const MOST = 10; // encoders in one small plot
const LETTER = 6.8; // pixels that a letter of 11 pixels takes at most, on average
let drawn = null;

function drawFigures(view) {
  drawn?.disconnect();
  const place = byId('figures');
  const parts = [taskByTask(view), emergence(view), overTraining(view), againstThroughput(view)].filter(Boolean);
  place.replaceChildren(...parts);
  drawn = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      drawn.unobserve(entry.target);
      entry.target.draw();
    }
  }, { rootMargin: '300px' });
  place.querySelectorAll('.plot').forEach((plot) => drawn.observe(plot));
}

function figure(title, text, ...children) {
  return el('figure', {}, el('figcaption', {}, el('b', {}, title), el('span', {}, text)), ...children);
}

/** A box that draws itself, as wide as it is, when it is seen; ``height`` holds its place until then. */
function plot(title, note, height, draw) {
  const box = el('div', { class: 'plot' }, el('h3', {}, title), note ? el('p', {}, note) : null);
  box.style.minHeight = `${height}px`;
  box.draw = () => {
    const inside = getComputedStyle(box);
    box.append(draw(Math.round(box.clientWidth - parseFloat(inside.paddingLeft) - parseFloat(inside.paddingRight))));
  };
  return box;
}

function drawing(width, height, title, description, ...children) {
  return svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title }, svg('title', {}, title), svg('desc', {}, description), ...children);
}

/** Round steps between two values: about ``many`` of them. */
function ticks(low, high, many = 4) {
  const rough = (high - low) / many || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((one) => one * power >= rough) * power;
  const from = Math.floor(low / step + 1e-9);
  const to = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(to - from, 1) + 1 }, (_, index) => (from + index) * step);
}

function tickText(tick) {
  return String(+tick.toFixed(1)).replace('-', '−');
}

function scale(domain, range) {
  const [a, b] = [domain[0], domain.at(-1)];
  return (value) => range[0] + (range[1] - range[0]) * (b === a ? 0.5 : (value - a) / (b - a));
}

/** At most ``most`` characters; what is left out is in the middle, for names of one run differ at their ends. */
function cut(text, most) {
  const tail = Math.floor(most / 2);
  return text.length > most ? `${text.slice(0, most - 1 - tail)}…${text.slice(-tail)}` : text;
}

function percent(column, value) {
  return column.lower ? value : 100 * value;
}

/** A diamond for an emergent pair, a disc for a trained one, with what it stands for to read. */
function mark(x, y, emergent, text, kind = '') {
  const size = emergent ? 5.2 : 4;
  const shape = emergent
    ? svg('path', { class: `emergent dot ${kind}`, d: `M${x} ${y - size}L${x + size} ${y}L${x} ${y + size}L${x - size} ${y}Z` })
    : svg('circle', { class: `dot ${kind}`, cx: x, cy: y, r: size });
  shape.append(svg('title', {}, text));
  return shape;
}

// task by task ---------------------------------------------------------------------------------------------------------

function taskByTask(view) {
  if (!view.columns.length) return null;
  return figure('Task by task', `The best ${MOST} of the encoders selected, with 95% intervals; ● trained pair, ◇ emergent. Hollow and in italics: published, not measured here. The dotted line is chance; axes begin where the scores do.`,
    firstOf(view.columns.map((column) => forest(view, column)), 12));
}

/** Small plots side by side, of which the first stand there and a button brings the others. */
function firstOf(plots, most) {
  const grid = el('div', { class: 'multiples' }, ...plots.slice(0, most));
  if (plots.length <= most) return grid;
  const button = el('button', { type: 'button', class: 'more', click: () => {
    grid.append(...plots.slice(most));
    plots.slice(most).forEach((one) => drawn.observe(one));
    plots[most].tabIndex = -1;
    plots[most].focus({ preventScroll: true });
    button.remove();
  } }, `Show the other ${plots.length - most} tasks`);
  return el('div', {}, grid, button);
}

function forest(view, column) {
  const all = view.encoders.map((encoder) => [encoder, recordOf(encoder, column)]).filter(([, record]) => record);
  all.sort(([, one], [, other]) => (column.lower ? 1 : -1) * (one.score[0] - other.score[0]));
  const rows = all.slice(0, MOST);
  if (view.base && !rows.some(([encoder]) => encoder === view.base)) rows.push(...all.filter(([encoder]) => encoder === view.base));
  const told = data.published.filter((row) => row.task === column.task && row.metric === column.metric)
    .sort((one, other) => (column.lower ? 1 : -1) * (one.value - other.value)).slice(0, 5);
  const more = all.length > rows.length ? `; ${all.length - rows.length} more in the table` : '';
  const height = 26 + 18 * (rows.length + told.length) + (told.length ? 6 : 0);
  return plot(column.task + (column.protocol === 'ibench' ? '' : ` (${column.protocol})`), `${column.pair}, ${column.metric}${more}`, height + 50, (width) => {
    const [left, right] = [Math.min(0.42 * width, 180), width - 12];
    const letters = Math.floor((left - 10) / LETTER);
    const ends = rows.flatMap(([, record]) => record.score.slice(1)).concat(told.map((row) => row.value)).map((value) => percent(column, value));
    const marks = ticks(Math.min(...ends), Math.max(...ends), 3);
    const x = scale(marks, [left, right]);
    const bottom = height - 18;
    const chance = x(percent(column, column.chance));
    const lines = [
      ...marks.map((tick) => svg('path', { class: 'grid', d: `M${x(tick)} 2V${bottom}` })),
      ...marks.map((tick) => svg('text', { x: x(tick), y: height - 5, 'text-anchor': 'middle' }, tickText(tick))),
      chance >= left && chance <= right ? svg('path', { class: 'at-chance', d: `M${chance} 2V${bottom}` }) : null,
    ];
    rows.forEach(([encoder, record], index) => {
      const y = 12 + 18 * index;
      const [value, low, high] = record.score.map((one) => x(percent(column, one)));
      const kind = record.emergent ? 'emergent ' : '';
      lines.push(svg('text', { class: encoder === view.base ? 'strong' : '', x: left - 10, y: y + 4, 'text-anchor': 'end' }, cut(encoder.name, letters)),
        svg('path', { class: `${kind}whisker`, d: `M${low} ${y}H${high}` }),
        mark(value, y, record.emergent, `${encoder.name}: ${withInterval(record, column.metric, record.score)}`));
    });
    told.forEach((row, index) => {
      const y = 18 + 18 * (rows.length + index);
      lines.push(svg('text', { class: 'published', x: left - 10, y: y + 4, 'text-anchor': 'end' }, cut(row.model, letters)),
        mark(x(percent(column, row.value)), y, false, `${row.model}, published: ${shown(row.metric, row.value)} (${row.source})`, 'published'));
    });
    const best = rows[0];
    return drawing(width, height, `${column.task}, ${column.metric}`,
      `${rows.length} encoders; the best is ${best[0].name} with ${shown(column.metric, best[1].score[0])}. Chance is ${shown(column.metric, column.chance)}.`, ...lines);
  });
}

// emergent against trained pairs ---------------------------------------------------------------------------------------

function emergence(view) {
  const columns = view.columns.filter((column) => column.principal && !column.lower && column.chance < 1);
  const way = (column, record) => (record.score[0] - column.chance) / (1 - column.chance);
  const last = new Map(view.encoders.filter((encoder) => encoder.training).sort((one, other) => one.training.at - other.training.at)
    .map((encoder) => [encoder.training.run, encoder]));
  const rows = view.encoders.filter((encoder) => !encoder.training || last.get(encoder.training.run) === encoder).map((encoder) => {
    const points = columns.map((column) => [column, recordOf(encoder, column)]).filter(([, record]) => record);
    return [encoder, points];
  }).filter(([, points]) => points.some(([, record]) => record.emergent)).slice(0, 14);
  if (!rows.length) return null;
  const height = 34 + 26 * rows.length;
  const mean = (points) => points.reduce((sum, [column, record]) => sum + way(column, record), 0) / points.length;
  return figure('Emergent beside trained pairs', 'Each mark is a task: how far a score has come from chance (0) to perfect (100). ● trained pair, ◇ emergent; the upright strokes are the means. The tasks differ, so this shows where emergence works, not who is best. Of a training run only the last checkpoint.',
    el('div', { class: 'wide' }, plot('From chance to perfect', '', height + 40, (width) => {
      const [left, right] = [Math.min(0.32 * width, 190), width - 16];
      const letters = Math.floor((left - 12) / LETTER);
      const low = Math.min(0, ...rows.flatMap(([, points]) => points.map(([column, record]) => way(column, record))));
      const marks = ticks(100 * low, 100, width < 500 ? 2 : 5);
      const x = scale(marks, [left, right]);
      const lines = marks.flatMap((tick) => [svg('path', { class: 'grid', d: `M${x(tick)} 4V${height - 22}` }),
        svg('text', { x: x(tick), y: height - 8, 'text-anchor': 'middle' }, tickText(tick))]);
      rows.forEach(([encoder, points], index) => {
        const y = 18 + 26 * index;
        lines.push(svg('text', { x: left - 12, y: y + 4, 'text-anchor': 'end' }, cut(encoder.name, letters)), svg('path', { class: 'axis', d: `M${left} ${y}H${right}` }));
        for (const emergent of [false, true]) {
          const some = points.filter(([, record]) => record.emergent === emergent);
          if (!some.length) continue;
          const at = x(100 * mean(some));
          lines.push(svg('path', { class: `${emergent ? 'emergent ' : ''}whisker`, d: `M${at} ${y - 10}V${y + 10}` }));
          for (const [column, record] of some) lines.push(mark(x(100 * way(column, record)), y, emergent, `${encoder.name}, ${column.task}: ${shown(column.metric, record.score[0])}, chance ${shown(column.metric, column.chance)}`));
        }
      });
      return drawing(width, height, 'Emergent beside trained pairs', rows.map(([encoder, points]) => {
        const [emergent, trained] = [true, false].map((kind) => points.filter(([, record]) => record.emergent === kind));
        return `${encoder.name}: emergent ${(100 * mean(emergent)).toFixed(0)}${trained.length ? `, trained ${(100 * mean(trained)).toFixed(0)}` : ''}`;
      }).join('; '), ...lines);
    })));
}

// over training --------------------------------------------------------------------------------------------------------

function overTraining(view) {
  const runs = new Map();
  for (const encoder of view.encoders) {
    if (!encoder.training) continue;
    const name = encoder.training.run;
    runs.set(name, [...(runs.get(name) ?? []), encoder]);
  }
  const series = [...runs].filter(([, several]) => several.length > 2).slice(0, 4);
  if (!series.length) return null;
  for (const [, several] of series) several.sort((one, other) => one.training.at - other.training.at);
  const columns = view.columns.filter((column) => series.some(([, several]) => several.filter((encoder) => recordOf(encoder, column)).length > 2));
  return figure('Over training', 'Checkpoints of one run, told by a number after epoch or step in their names; the band is the 95% interval of each.',
    firstOf(columns.map((column) => curve(column, series)), 12));
}

function curve(column, series) {
  return plot(column.task, `${column.pair}, ${column.metric}, over ${series[0][1][0].training.unit}s`, 240, (width) => {
    const [height, left, right, bottom] = [180, 34, width - 12, 152];
    const lines = series.map(([name, several]) => [name, several.map((encoder) => [encoder, recordOf(encoder, column)]).filter(([, record]) => record)]).filter(([, points]) => points.length);
    const all = lines.flatMap(([, points]) => points);
    const ends = all.flatMap(([, record]) => record.score.slice(1)).map((value) => percent(column, value));
    const steps = all.map(([encoder]) => encoder.training.at);
    const [over, up] = [ticks(Math.min(...steps), Math.max(...steps), 4), ticks(Math.min(...ends), Math.max(...ends), 4)];
    const x = scale([Math.min(...steps), Math.max(...steps)], [left, right]);
    const y = scale(up, [bottom, 8]);
    const chance = y(percent(column, column.chance));
    const parts = [
      ...up.flatMap((tick) => [svg('path', { class: 'grid', d: `M${left} ${y(tick)}H${right}` }), svg('text', { x: left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, tickText(tick))]),
      ...over.filter((tick) => tick >= Math.min(...steps) && tick <= Math.max(...steps)).map((tick) => svg('text', { x: x(tick), y: height - 10, 'text-anchor': 'middle' }, tick.toLocaleString('en'))),
      chance <= bottom && chance >= 8 ? svg('path', { class: 'at-chance', d: `M${left} ${chance}H${right}` }) : null,
    ];
    lines.forEach(([name, points], index) => {
      const at = points.map(([encoder, record]) => [x(encoder.training.at), ...record.score.map((one) => y(percent(column, one)))]);
      const band = [...at.map(([step, , low]) => `${step} ${low}`), ...at.slice().reverse().map(([step, , , high]) => `${step} ${high}`)];
      parts.push(svg('path', { class: `series band s${index}`, d: `M${band.join('L')}Z` }),
        svg('path', { class: `series line s${index}`, d: `M${at.map(([step, value]) => `${step} ${value}`).join('L')}` }));
      points.forEach(([encoder, record], point) => parts.push(mark(at[point][0], at[point][1], false, `${encoder.name}: ${withInterval(record, column.metric, record.score)}`, `series s${index}`)));
      if (lines.length > 1) parts.push(svg('text', { class: `series s${index}`, x: right, y: bottom - 8 - 14 * (lines.length - 1 - index), 'text-anchor': 'end' }, cut(name, 24)));
    });
    const ending = lines.map(([name, points]) => `${name}: ${shown(column.metric, points[0][1].score[0])} at ${points[0][0].training.at}, ${shown(column.metric, points.at(-1)[1].score[0])} at ${points.at(-1)[0].training.at}`);
    return drawing(width, height, `${column.task} over training`, ending.join('; '), ...parts);
  });
}

// score against throughput ---------------------------------------------------------------------------------------------

let throughputTask = '';

function againstThroughput(view) {
  const columns = view.columns.filter((column) => view.encoders.filter((encoder) => recordOf(encoder, column)?.rate).length > 1);
  if (!columns.length) return null;
  const column = columns.find((one) => one.key === throughputTask) ?? columns[0];
  const choice = el('select', { 'aria-label': 'Task of this figure', change: (event) => { throughputTask = event.target.value; drawFigures(view); byId('throughput').querySelector('select').focus(); } },
    ...columns.map((one) => el('option', { value: one.key, selected: one === column }, one.task + (one.protocol === 'ibench' ? '' : ` (${one.protocol})`))));
  const points = view.encoders.map((encoder) => [encoder, recordOf(encoder, column)]).filter(([, record]) => record?.rate);
  const devices = [...new Set(points.map(([, record]) => data.circumstances[record.how].device))].slice(0, 4);
  const made = figure('Score against throughput', 'Samples and texts encoded per second in the run that the score is from, decoding included, on a logarithmic axis. Compare speeds on one device only.',
    el('div', { class: 'wide' }, plot(column.task, `${column.metric}; ${devices.join(', ')}`, 390, (width) => scatter(width, column, points, devices))));
  made.id = 'throughput';
  made.querySelector('figcaption').append(el('br'), el('label', {}, 'Task ', choice));
  return made;
}

function scatter(width, column, points, devices) {
  const [height, left, right, bottom] = [340, 40, width - 14, 298];
  const rates = points.map(([, record]) => record.rate);
  const values = points.flatMap(([, record]) => record.score.slice(1)).map((value) => percent(column, value));
  const up = ticks(Math.min(...values), Math.max(...values), 5);
  const [slow, fast] = [Math.log10(Math.min(...rates)) - 0.12, Math.log10(Math.max(...rates)) + 0.12];
  const x = (rate) => scale([slow, fast], [left, right])(Math.log10(rate));
  const y = scale(up, [bottom, 10]);
  const decades = [];
  for (let power = Math.floor(slow); power <= fast; power += 1) for (const one of [1, 2, 5]) decades.push(one * 10 ** power);
  const parts = [
    ...up.flatMap((tick) => [svg('path', { class: 'grid', d: `M${left} ${y(tick)}H${right}` }), svg('text', { x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, tickText(tick))]),
    ...decades.filter((rate) => Math.log10(rate) >= slow && Math.log10(rate) <= fast).map((rate) => svg('text', { x: x(rate), y: bottom + 18, 'text-anchor': 'middle' }, rate.toLocaleString('en'))),
    svg('path', { class: 'axis', d: `M${left} ${bottom}H${right}` }),
    svg('text', { x: right, y: height - 6, 'text-anchor': 'end' }, 'encoded per second →'),
  ];
  const labels = [];
  for (const [encoder, record] of points) {
    const [value, low, high] = record.score.map((one) => y(percent(column, one)));
    const at = x(record.rate);
    const group = Math.max(devices.indexOf(data.circumstances[record.how].device), 0);
    parts.push(svg('path', { class: `whisker series line s${group}`, d: `M${at} ${low}V${high}` }),
      mark(at, value, false, `${encoder.name}: ${shown(column.metric, record.score[0])}, ${Math.round(record.rate).toLocaleString('en')} per second`, `series s${group}`));
    const text = cut(encoder.name, 26);
    const ends = at + 12 + LETTER * text.length > right;
    const box = { x: ends ? at - 12 - LETTER * text.length : at + 8, y: value - 8, w: LETTER * text.length, h: 14 };
    const free = !labels.some((one) => box.x < one.x + one.w && one.x < box.x + box.w && box.y < one.y + one.h && one.y < box.y + box.h);
    if (free) { // a name that would cover another is left to the mark's own title
      labels.push(box);
      parts.push(svg('text', { x: ends ? at - 8 : at + 8, y: value + 4, 'text-anchor': ends ? 'end' : 'start' }, text));
    }
  }
  if (devices.length > 1) devices.forEach((device, index) => parts.push(svg('text', { class: `series s${index}`, x: left + 8, y: 22 + 15 * index }, cut(device, 60))));
  return drawing(width, height, `${column.task} against throughput`, points.slice(0, 20).map(([encoder, record]) => `${encoder.name}: ${shown(column.metric, record.score[0])} at ${Math.round(record.rate)} per second`).join('; '), ...parts);
}
