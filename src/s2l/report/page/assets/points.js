// Rows as points on two maps, coloured alike.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b2a200", "#8a6bd1"];
const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const OTHER = "#8a93a0";

function viridis(part) {
  const at = Math.min(0.9999, Math.max(0, part)) * (VIRIDIS.length - 1);
  const i = Math.floor(at);
  return `rgb(${VIRIDIS[i].map((c, k) => Math.round(c + (VIRIDIS[i + 1][k] - c) * (at - i))).join(" ")})`;
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))] ?? 0;
}

const lossRange = [quantile(plane.loss, 0.02), quantile(plane.loss, 0.98)];
const onLoss = linear(lossRange[0], lossRange[1], 0, 1);
const largestSources = plane.sources.slice(0, PALETTE.length);
const COLOURS = {
  chosen: () => null,
  group: (i) => PALETTE[plane.group[i] % PALETTE.length],
  source: (i) => PALETTE[plane.source[i]] ?? OTHER,
  loss: (i) => viridis(onLoss(plane.loss[i])),
};

function legendOf(colour) {
  const dot = (fill, text) => {
    const mark = h("span", { class: "dot" });
    mark.style.background = fill;
    return h("span", { class: "legend" }, mark, named(text));
  };
  if (colour === "chosen") return [dot("var(--chosen)", "chosen"), dot("var(--pool)", "not chosen")];
  if (colour === "group") return [`Colours repeat every ${PALETTE.length} ${word}s; chosen rows have a rim.`];
  if (colour === "loss") {
    return [0, 0.25, 0.5, 0.75, 1].map((part) => dot(viridis(part), loss(lossRange[0] + part * (lossRange[1] - lossRange[0]))));
  }
  const rest = plane.sources.length > PALETTE.length || plane.source.includes(-1) ? [dot(OTHER, "other sources")] : [];
  return [...largestSources.map((name, i) => dot(PALETTE[i], name)), ...rest];
}

function toldOf(i) {
  const group = byNumber.get(plane.group[i]);
  const name = group ? title(group) : `${word} ${plane.group[i]}`;
  return `${plane.files[plane.file[i]]}:${plane.line[i]}\n${name}, ${plane.chosen[i] ? "chosen" : "not chosen"}\n` +
    `${plane.sources[plane.source[i]] ?? "a smaller source"}\nloss at the end ${loss(plane.loss[i])}, right tokens ${percent(plane.correctness[i])}`;
}

function scatter(box, xs, ys, xLabel, yLabel, label) {
  const colour = find("map-colour");
  const show = find("map-show");
  const order = xs.map((_, i) => i).sort((a, b) => plane.chosen[a] - plane.chosen[b]);
  const extent = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = (high - low || 1) * 0.03;
    return [low - room, high + room];
  };

  function draw(width) {
    const height = Math.round(Math.min(460, Math.max(300, width * 0.78)));
    const [x0, x1] = extent(xs);
    const [y0, y1] = extent(ys);
    const [yTicks, bottom] = [ticks(y0, y1, 6), 42];
    const left = Math.max(46, 24 + 7 * Math.max(...yTicks.map((tick) => compact(tick).length)));
    const x = linear(x0, x1, left + 4, width - 12);
    const y = linear(y0, y1, height - bottom, 8);
    const chart = frame({ width, height, left, bottom, x, y, xTicks: ticks(x0, x1, 6), yTicks, xLabel, yLabel, label });
    const points = s("g", { class: `by-${colour.value}${picked.number === null ? "" : " dim"}` });
    const above = order.filter((i) => plane.group[i] === picked.number);
    for (const i of [...order.filter((i) => plane.group[i] !== picked.number), ...above]) {
      if (show.value !== "all" && (show.value === "chosen") !== Boolean(plane.chosen[i])) continue;
      const mine = plane.group[i] === picked.number ? " picked" : "";
      points.append(s("circle", { class: `point ${plane.chosen[i] ? "chosen" : "other"}${mine}`, cx: x(xs[i]).toFixed(1), cy: y(ys[i]).toFixed(1), r: plane.chosen[i] ? 2.8 : 2.2, fill: COLOURS[colour.value](i), "data-row": i }));
    }
    chart.append(points);
    box.replaceChildren(chart);
  }

  const row = (event) => event.target.getAttribute?.("data-row");
  box.addEventListener("pointerover", (event) => row(event) !== null && row(event) !== undefined ? showTip(event, toldOf(row(event))) : hideTip());
  box.addEventListener("pointerleave", hideTip);
  box.addEventListener("click", (event) => {
    const i = row(event);
    if (i && byNumber.has(plane.group[i])) pick(plane.group[i]);
  });
  return drawn(box, draw);
}

function maps() {
  const trained = `${plane.x.length} rows`;
  const again = [
    scatter(find("map-plane"), plane.x, plane.y, "first direction", "second direction", `Map of loss trajectories, ${trained}`),
    scatter(find("map-cartography"), plane.variability, plane.confidence, "variability", "confidence", `Data map, ${trained}: confidence against variability`),
  ];
  const redraw = () => again.forEach((draw) => draw());
  const colour = find("map-colour");
  const legend = () => find("map-legend").replaceChildren(...legendOf(colour.value));
  colour.addEventListener("change", () => { legend(); redraw(); });
  find("map-show").addEventListener("change", redraw);
  picked.listeners.push(redraw);
  legend();
}
