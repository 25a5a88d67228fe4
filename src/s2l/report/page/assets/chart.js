"use strict";
// Elements, numbers, scales and axes: what every drawing shares.
const data = JSON.parse(document.getElementById("data").textContent);
const { curves, plane, changes, examples } = data;
const word = curves.word;
const find = (id) => document.getElementById(id);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
const h = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const named = (text) => h("bdi", {}, text);

const count = (n) => n.toLocaleString("en-US");
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const loss = (value) => (value >= 0.01 || value === 0 ? value.toFixed(2) : value.toExponential(0));
const compact = (n) => (Math.abs(n) >= 1000 ? `${+(n / 1000).toPrecision(3)}k` : String(+n.toPrecision(4)));

function linear(from, to, start, end) {
  const width = to - from || 1;
  return (value) => start + ((value - from) / width) * (end - start);
}

function logarithmic(from, to, start, end) {
  const inner = linear(Math.log(from), Math.log(to), start, end);
  return (value) => inner(Math.log(Math.max(value, from)));
}

function ticks(from, to, about) {
  const raw = (to - from || 1) / about;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let n = Math.ceil(from / step); n * step <= to + step * 1e-6; n++) found.push(+(n * step).toPrecision(6));
  return found;
}

function powers(from, to) {
  const found = [];
  for (let power = Math.floor(Math.log10(from)); power <= Math.log10(to); power++) {
    for (const n of [1, 2, 5]) if (n * 10 ** power >= from && n * 10 ** power <= to) found.push(+(n * 10 ** power).toPrecision(1));
  }
  return found.length > 8 ? found.filter((n) => /^[0.]*1/.test(String(n))) : found;
}

const path = (xs, ys) => xs.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}`).join("");
const around = (xs, low, high) => `${path(xs, high)}L${path([...xs].reverse(), [...low].reverse()).slice(1)}Z`;

// The frame of a chart: {width, height, x, y, xTicks, yTicks, xLabel, yLabel} in, an svg with axes out.
function frame({ width, height, left, bottom, x, y, xTicks, yTicks, xLabel, yLabel, label }) {
  const base = height - bottom;
  const chart = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const tick of yTicks) {
    chart.append(s("path", { class: "axis", d: `M${left} ${y(tick)}H${width - 8}` }));
    chart.append(s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, compact(tick)));
  }
  xTicks.forEach((tick) => {
    const near = x(tick) > width - 24 ? "end" : "middle";
    chart.append(s("text", { x: near === "end" ? width - 4 : x(tick), y: base + 17, "text-anchor": near }, compact(tick)));
  });
  chart.append(s("path", { class: "axis", d: `M${left} ${base}H${width - 8}` }));
  if (xLabel) chart.append(s("text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle" }, xLabel));
  if (yLabel) chart.append(s("text", { x: 12, y: base / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${base / 2})` }, yLabel));
  return chart;
}

// Draws now, and again when the box has another width.
function drawn(box, draw) {
  let width = 0;
  const again = () => {
    const now = Math.max(260, Math.round(box.clientWidth));
    if (now === width) return;
    width = now;
    draw(width);
  };
  new ResizeObserver(again).observe(box);
  again();
  return () => { width = 0; again(); };
}

const tip = find("tip");
function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
  tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 16}px`;
}
const hideTip = () => { tip.hidden = true; };

// The group that is picked; every part that shows it listens.
const picked = { number: null, listeners: [] };
function pick(number) {
  picked.number = number === picked.number ? null : number;
  picked.listeners.forEach((listener) => listener(picked.number));
}
const byNumber = new Map(curves.groups.map((group) => [group.number, group]));
const title = (group) => (word === "cluster" || curves.total > 1 && word === "group" ? `${word} ${group.name}` : group.name);
const shareChosen = (group) => group.chosen / group.rows;
function described(group) {
  const mostly = word === "source" ? "" : `, ${percent(group.source_share)} ${group.source}`;
  const chosen = curves.chosen ? `, ${count(group.chosen)} chosen (${percent(shareChosen(group))})` : "";
  return `${title(group)}: ${count(group.rows)} rows${chosen}, loss ${loss(group.mean[0])} → ${loss(group.mean.at(-1))}${mostly}`;
}
