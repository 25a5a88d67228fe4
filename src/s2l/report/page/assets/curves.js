// Mean losses of groups over the checkpoints: one plot of all, and a small one for each.
const steps = curves.steps;

function bigPlot() {
  const box = find("curves-plot");
  const log = find("logarithmic");
  const readout = find("curves-readout");
  const hint = `Point at a line, or take the arrow keys. A click picks a ${word} here, on the map and in the examples.`;
  let lines = new Map();
  let near = null;

  function scaleY(height) {
    const shown = picked.number === null ? null : byNumber.get(picked.number);
    const tops = [...curves.groups.map((g) => Math.max(...g.mean)), ...(shown ? shown.high : [])];
    const top = Math.max(...tops, 0.001) * 1.03;
    if (!log.checked) return { y: linear(0, top, height - 42, 10), yTicks: ticks(0, top, 5) };
    const low = Math.max(0.001, Math.min(...curves.groups.map((g) => Math.min(...g.mean))));
    return { y: logarithmic(low, Math.max(top, low * 2), height - 42, 10), yTicks: powers(low, Math.max(top, low * 2)) };
  }

  function draw(width) {
    const height = width < 560 ? 280 : 380;
    const left = 48;
    const x = linear(steps[0], steps.at(-1), left + 6, width - 14);
    const { y, yTicks } = scaleY(height);
    const chart = frame({
      width, height, left, bottom: 42, x, y, yTicks,
      xTicks: steps.length > 1 ? ticks(steps[0], steps.at(-1), width < 560 ? 4 : 8) : steps,
      xLabel: "training step of the proxy", yLabel: "mean loss, nats per token",
      label: `Mean loss of ${curves.groups.length} groups over ${steps.length} checkpoints, from ${loss(curves.all.mean[0])} to ${loss(curves.all.mean.at(-1))} for all rows`,
    });
    const xs = steps.map(x);
    const shown = picked.number === null ? null : byNumber.get(picked.number);
    if (shown) chart.append(s("path", { class: "band", d: around(xs, shown.low.map(y), shown.high.map(y)) }));
    lines = new Map(curves.groups.map((group) => [group.number, stroke(xs, group.mean.map(y), "line")]));
    chart.append(...lines.values(), stroke(xs, curves.all.mean.map(y), "line all"));
    if (curves.chosen) chart.append(stroke(xs, curves.chosen.mean.map(y), "line chosen"));
    if (shown) chart.append(stroke(xs, shown.mean.map(y), "line selected"));
    box.replaceChildren(chart);
    chart.addEventListener("pointermove", (event) => point(nearest(event, chart, width, height, x, y)));
    chart.addEventListener("pointerleave", () => point(null));
    chart.addEventListener("click", () => near !== null && pick(near));
  }

  // A mean of one checkpoint is a dot: a line of no length with round ends.
  function stroke(xs, ys, kind) {
    const one = xs.length === 1 ? { "stroke-linecap": "round", d: `M${xs[0]} ${ys[0]}h.01` } : { d: path(xs, ys) };
    return s("path", { class: kind, ...one });
  }

  function nearest(event, chart, width, height, x, y) {
    const rect = chart.getBoundingClientRect();
    const at = { x: ((event.clientX - rect.left) * width) / rect.width, y: ((event.clientY - rect.top) * height) / rect.height };
    let after = steps.findIndex((step) => x(step) >= at.x);
    if (after < 0) after = steps.length - 1;
    const before = Math.max(0, after - 1);
    const span = x(steps[after]) - x(steps[before]) || 1;
    const part = Math.min(1, Math.max(0, (at.x - x(steps[before])) / span));
    let best = null;
    let distance = Infinity;
    for (const group of curves.groups) {
      const away = Math.abs(y(group.mean[before]) * (1 - part) + y(group.mean[after]) * part - at.y);
      if (away < distance) [best, distance] = [group.number, away];
    }
    return best;
  }

  function point(number) {
    if (near !== null) lines.get(near)?.classList.remove("near");
    near = number;
    if (near !== null) lines.get(near)?.classList.add("near");
    tell();
  }

  function tell() {
    const number = near ?? picked.number;
    readout.replaceChildren(number === null ? hint : named(described(byNumber.get(number))));
  }

  box.classList.toggle("many", curves.groups.length > 200);
  if (curves.groups.length > 1) {
    filled(box, { tabindex: 0, role: "slider", "aria-orientation": "vertical", "aria-label": `picked ${word}`, "aria-valuemin": 0, "aria-valuemax": curves.groups.length - 1, "aria-valuenow": 0, "aria-valuetext": "none" }, []);
    box.addEventListener("keydown", (event) => {
      const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape" && picked.number !== null) pick(picked.number);
      if (!way) return;
      event.preventDefault();
      const now = curves.groups.findIndex((group) => group.number === picked.number);
      const next = Math.min(curves.groups.length - 1, Math.max(0, now < 0 ? 0 : now + way));
      if (next !== now) pick(curves.groups[next].number);
    });
  }
  const again = drawn(box, draw);
  picked.listeners.push((number) => {
    near = null;
    again();
    tell();
    if (number === null || box.getAttribute("role") !== "slider") return;
    box.setAttribute("aria-valuenow", curves.groups.findIndex((group) => group.number === number));
    box.setAttribute("aria-valuetext", described(byNumber.get(number)));
  });
  log.addEventListener("change", again);
  tell();
}

const FIRST_CARDS = 24;
const ORDERS = {
  number: (group) => group.number,
  rows: (group) => group.rows,
  share: shareChosen,
  first: (group) => group.mean[0],
  last: (group) => group.mean.at(-1),
  fall: (group) => group.mean[0] - group.mean.at(-1),
  spread: (group) => group.high.at(-1) - group.low.at(-1),
};

function cards() {
  const [search, sort, reverse] = ["cards-search", "cards-sort", "cards-reverse"].map(find);
  const more = find("cards-more");
  const made = new Map();
  let all = false;

  function card(group) {
    if (!made.has(group.number)) made.set(group.number, smallPlot(group));
    const button = made.get(group.number);
    button.setAttribute("aria-pressed", group.number === picked.number);
    return button;
  }

  function arrange() {
    const asked = search.value.trim().toLowerCase();
    const hits = curves.groups.filter((group) => /^\d+$/.test(asked) ? group.name === asked : `${group.name} ${group.source}`.toLowerCase().includes(asked));
    const by = ORDERS[sort.value];
    hits.sort((a, b) => (reverse.checked ? by(b) - by(a) : by(a) - by(b)) || a.number - b.number);
    const shown = all ? hits : hits.slice(0, FIRST_CARDS);
    find("cards").replaceChildren(...shown.map(card));
    find("cards-count").textContent = `${count(shown.length)} of ${count(curves.groups.length)}`;
    more.hidden = shown.length === hits.length;
    more.textContent = `Show all ${count(hits.length)}`;
  }

  search.addEventListener("input", arrange);
  sort.addEventListener("change", arrange);
  reverse.addEventListener("change", arrange);
  more.addEventListener("click", () => { all = true; arrange(); });
  picked.listeners.push(() => made.forEach((button, number) => button.setAttribute("aria-pressed", number === picked.number)));
  arrange();
}

function smallPlot(group) {
  const x = linear(steps[0], steps.at(-1), 2, 148);
  const y = linear(Math.min(...group.low, ...curves.all.mean), Math.max(...group.high, ...curves.all.mean), 55, 3);
  const xs = steps.map(x);
  const chart = s("svg", { viewBox: "0 0 150 60", "aria-hidden": true },
    s("path", { class: "axis", d: "M0 59H150" }),
    s("path", { class: "band", d: around(xs, group.low.map(y), group.high.map(y)) }),
    s("path", { class: "line all", d: path(xs, curves.all.mean.map(y)) }),
    s("path", { class: "line", d: path(xs, group.mean.map(y)) }));
  const chosen = curves.chosen ? `${count(group.chosen)} chosen (${percent(shareChosen(group))})` : "none chosen yet";
  const button = h("button", { type: "button", class: "card", "aria-label": described(group), title: described(group) },
    h("b", {}, named(title(group))), chart,
    h("span", {}, `${count(group.rows)} rows, ${loss(group.mean[0])} → ${loss(group.mean.at(-1))}`),
    h("span", {}, chosen),
    word === "source" ? null : h("span", {}, named(group.source)));
  button.addEventListener("click", () => pick(group.number));
  return button;
}
