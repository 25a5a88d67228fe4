// Distributions of the pool as areas, of the subset as lines; tables that sort.
function distributions() {
  find("distributions").replaceChildren(...changes.distributions.map((distribution) => {
    const box = h("div", { class: "plot" });
    const medians = `median ${compact(distribution.median)}${distribution.chosen ? `, subset ${compact(distribution.chosen_median)}` : ""}`;
    const figure = h("figure", {}, h("h4", {}, distribution.name), box, h("figcaption", {}, `${distribution.unit}; ${medians}`));
    drawn(box, (width) => box.replaceChildren(histogram(distribution, width, medians)));
    return figure;
  }));
}

function histogram({ name, edges, all, chosen }, width, medians) {
  const [height, left, bottom] = [150, 40, 24];
  const top = Math.max(...all, ...(chosen ?? [0]));
  const x = linear(edges[0], edges.at(-1), left, width - 10);
  const y = linear(0, top, height - bottom, 6);
  const yTicks = ticks(0, top, 3);
  const chart = frame({ width, height, left, bottom, x, y, xTicks: ticks(edges[0], edges.at(-1), width < 300 ? 4 : 5), yTicks: [], label: `${name}: ${medians}` });
  yTicks.forEach((tick) => chart.append(s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${+(100 * tick).toFixed(1)}%`)));
  const outline = (shares) => `M${x(edges[0])} ${y(0)}` + shares.map((share, i) => `V${y(share).toFixed(1)}H${x(edges[i + 1]).toFixed(1)}`).join("") + `V${y(0)}`;
  chart.append(s("path", { class: "area", d: outline(all) }));
  if (chosen) chart.append(s("path", { class: "line chosen", d: outline(chosen) }));
  return chart;
}

function sortable(table) {
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace(/[,%×]/g, ""));
    return row.cells[column].classList.contains("number") ? (Number.isNaN(number) ? -Infinity : number) : text;
  };
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if (cell.classList.contains("wide")) return;
    const button = h("button", { type: "button" }, ...cell.childNodes);
    cell.replaceChildren(button);
    button.addEventListener("click", () => {
      const downwards = cell.getAttribute("aria-sort") !== "descending";
      [...table.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [one, other] = [value(a, column), value(b, column)];
        const order = typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
        return downwards ? -order : order;
      });
      table.tBodies[0].append(...rows);
    });
  });
}
