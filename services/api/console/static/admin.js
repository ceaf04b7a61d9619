// Charts, copying and logs of the administrator's pages. All that they show is in words on the page too.
"use strict";

const charts = new Set();
const DASHES = [[], [6, 4], [2, 3], [10, 4, 2, 4]];
const INKS = ["--accent", "--priority", "--review", "--routine", "--urgent", "--quiet"];

// A canvas knows no custom properties: an element of the page resolves them, in light and in dark.
function ink(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${(100 * value).toFixed(0)} %`;
  return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

// On an axis of days the hour says nothing, and on one of hours the day; a value by itself has both.
function moment(seconds, scale) {
  if (seconds === null || seconds === undefined) return "–";
  const span = scale ? scale.max - scale.min : 0;
  const day = { day: "numeric", month: "short" };
  const hour = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const parts = !scale ? { ...day, ...hour } : span > 2 * 86400 ? day : hour;
  return new Intl.DateTimeFormat(document.documentElement.lang, parts).format(new Date(seconds * 1000));
}

function options(place, labels, count) {
  const { unit, x, fixed } = place.dataset;
  const inks = place.dataset.inks ? place.dataset.inks.split(" ") : INKS;
  const axis = { stroke: () => ink("--quiet"), grid: { stroke: () => ink("--line"), width: 1 }, ticks: { show: false } };
  const isTime = x === "time";
  const point = isTime ? 300000 : x === "percent" ? 0.05 : 1;
  const along = ({ data: [xs] }, low, high) => (xs.length === 1 ? [xs[0] - point, xs[0] + point] : [low, high]);
  const values = (_, splits) => splits.map((value) => shown(value, unit));
  const range = fixed ? (_, low) => [Math.min(Number(fixed), low ?? 1), 1] : (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.05];
  return {
    width: Math.max(place.clientWidth, 200),
    height: Number(place.dataset.height || 200),
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: isTime, range: along }, y: { range } },
    axes: [
      { ...axis, ...(x === "number" ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {}), values: (chart, splits) => splits.map((value) => (isTime ? moment(value, chart.scales.x) : shown(value, x))) },
      { ...axis, size: 56, values },
    ],
    series: [
      { label: place.dataset.xLabel, value: (_, value) => (isTime ? moment(value) : shown(value, x)) },
      ...labels.map((label, index) => ({
        label,
        stroke: () => ink(inks[index % inks.length]),
        width: 2,
        dash: DASHES[index % DASHES.length],
        points: { show: count < 30 },
        spanGaps: true,
        value: (_, value) => shown(value, unit),
      })),
    ],
  };
}

function draw(place, figures) {
  const labels = figures.labels || JSON.parse(place.dataset.labels);
  const data = [figures.x, ...figures.series];
  const kept = place.chart;
  const note = place.querySelector(".empty");
  if (note) note.hidden = figures.x.length > 0;
  if (!figures.x.length) return;
  if (kept && kept.series.length === data.length) {
    kept.setData(data);
    return;
  }
  if (kept) kept.destroy();
  charts.delete(kept);
  place.chart = new uPlot(options(place, labels, figures.x.length), data, place);
  charts.add(place.chart);
}

async function refresh(place) {
  let figures = { x: [], series: [], final: false };
  try {
    const answer = await fetch(place.dataset.source, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    figures = await answer.json();
    draw(place, figures);
  } catch {
    // The service is restarted, say; the next turn asks again.
  }
  if (!figures.final && place.dataset.every) setTimeout(() => refresh(place), Number(place.dataset.every));
}

function begin(place) {
  if (place.dataset.source) refresh(place);
  else draw(place, JSON.parse(place.dataset.figures));
  new ResizeObserver(() => {
    if (place.chart) place.chart.setSize({ width: Math.max(place.clientWidth, 200), height: place.chart.height });
  }).observe(place);
}

function copying(button) {
  const field = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      document.execCommand("copy"); // a page without TLS may not use the clipboard otherwise
    }
    document.getElementById(button.dataset.told).hidden = false;
  });
}

function toTheEnd() {
  for (const log of document.querySelectorAll("[data-tail]")) log.scrollTop = log.scrollHeight;
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".chart").forEach(begin);
  document.querySelectorAll("[data-copy]").forEach(copying);
  toTheEnd();
});
document.addEventListener("htmx:afterSwap", toTheEnd);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
