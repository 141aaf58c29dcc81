'use strict';

const data = JSON.parse(document.getElementById('data').textContent);

/** An element with attributes and children; strings become text, never markup. */
function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A score as people read it: percent with one decimal, ranks as they are. */
function shown(metric, value) {
  if (value === null) return '–';
  return (metric.endsWith('median_rank') ? value : 100 * value).toFixed(1);
}

/** Whether a metric of a record has no interval, as where its samples are one cluster. */
function unbounded(record, metric) {
  return record.unbounded.includes(metric);
}

/** A metric of a record, [value, low, high], as people read it. */
function withInterval(record, metric, [value, low, high]) {
  return unbounded(record, metric) ? shown(metric, value) : `${shown(metric, value)} [${shown(metric, low)}, ${shown(metric, high)}]`;
}

function byId(id) {
  return document.getElementById(id);
}

/** The theme: what the system prefers until the button says otherwise; remembered where the browser allows it. */
(function theme() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches);
  try {
    const kept = localStorage.getItem('ibench-theme');
    if (kept === 'dark' || kept === 'light') root.dataset.theme = kept;
  } catch { /* storage is forbidden: nothing is remembered */ }
  byId('theme').addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    try { localStorage.setItem('ibench-theme', root.dataset.theme); } catch { /* as above */ }
  });
})();
