// Rows to read, their response tokens coloured by loss.
const HEAT = [0.1, 0.25, 0.5, 1, 2, 4, 7];
const KINDS = [["central", "Nearest to the centre"], ["distant", "Farthest from the centre"], ["chosen", "One of the chosen"], ["others", "One of the others"]];
const LISTS = {
  hardest: ["The hardest", "Highest mean loss over the checkpoints."],
  forgotten: ["The most forgotten", "Response tokens that were right at one checkpoint and wrong at the next, most often."],
  suspects: ["Suspected label errors", "High loss to the end: the highest at the last checkpoint for their source. To be read, not to be believed."],
  repeats: ["Exact repeats", "The same content more than once, the most frequent first."],
};
const heat = (value) => HEAT.findIndex((edge) => value < edge) >= 0 ? HEAT.findIndex((edge) => value < edge) : HEAT.length;

function spark(losses) {
  const x = linear(0, Math.max(1, losses.length - 1), 2, 70);
  const y = linear(0, Math.max(...losses, 0.001), 20, 2);
  return s("svg", { viewBox: "0 0 72 22", role: "img", "aria-label": `loss ${losses.map(loss).join(", ")}` },
    s("path", { class: "axis", d: "M0 21H72" }), s("path", { class: "line", d: path(losses.map((_, i) => x(i)), losses.map(y)) }));
}

function rowCard(i, label) {
  const row = examples.rows[i];
  const text = h("div", { class: "text", dir: "auto", tabindex: 0, role: "region", "aria-label": `text of ${row.place}` });
  for (const piece of row.pieces) {
    if (typeof piece === "string") text.append(h("span", { class: "prompt" }, piece));
    else text.append(h("span", examples.scored ? { class: `t l${heat(piece[1])}`, title: `${piece[1].toFixed(2)} nats` } : {}, piece[0]));
  }
  const group = byNumber.get(row.group);
  const notes = [
    row.left_out ? `${count(row.left_out)} characters are left out here` : null,
    row.truncated ? "the proxy read only its beginning (--max-length)" : null,
  ].filter(Boolean).join("; ");
  return h("article", { class: row.chosen ? "row kept" : "row" },
    h("header", {}, h("b", {}, row.chosen ? "chosen" : "not chosen"), named(row.place), named(row.source),
      word === "source" || !group || curves.total === 1 ? null : h("span", {}, title(group)),
      h("span", {}, `${count(row.tokens)} tokens, loss ${loss(row.losses[0])} → ${loss(row.losses.at(-1))}`), spark(row.losses)),
    label ? h("p", { class: "note" }, named(label)) : null,
    text,
    notes ? h("p", { class: "note" }, `${notes}.`) : null,
    h("p", { class: "note" }, h("code", {}, row.id)));
}

function groupExamples() {
  const chooser = find("examples-group");
  const numbers = Object.keys(examples.groups).map(Number).sort((a, b) => a - b);
  chooser.append(...numbers.map((number) => {
    const group = byNumber.get(number);
    return h("option", { value: number }, group ? `${group.name} (${count(group.rows)} rows)` : String(number));
  }));
  const note = find("examples-note");
  const some = numbers.length < curves.total ? `rows of ${numbers.length} of ${count(curves.total)} ${word}s are in this page` : "";

  function show(number) {
    chooser.value = number;
    note.textContent = some;
    const kinds = examples.groups[number];
    const all = KINDS.flatMap(([kind, name]) => kinds[kind].map((i) => rowCard(i, name)));
    find("examples-rows").replaceChildren(h("div", { class: "rows" }, ...all));
  }
  const step = (by) => {
    const next = numbers[Math.min(numbers.length - 1, Math.max(0, numbers.indexOf(+chooser.value) + by))];
    if (next !== picked.number) pick(next);
  };
  chooser.addEventListener("change", () => +chooser.value !== picked.number && pick(+chooser.value));
  find("examples-before").addEventListener("click", () => step(-1));
  find("examples-after").addEventListener("click", () => step(1));
  picked.listeners.push((number) => {
    if (number in examples.groups) show(number);
    else if (number !== null) note.textContent = `${some}: none of ${title(byNumber.get(number))}`;
  });
  show(numbers.at(-1));
}

function lists() {
  find("examples-lists").replaceChildren(...examples.lists.map(({ key, rows, labels }) => {
    const [name, why] = LISTS[key];
    const content = rows.length
      ? h("div", { class: "rows" }, ...rows.map((i, k) => rowCard(i, labels[k])))
      : h("p", { class: "quiet" }, "There are none.");
    return h("details", {}, h("summary", {}, `${name} (${rows.length})`), h("p", { class: "quiet" }, why), content);
  }));
  const edges = [0, ...HEAT];
  find("heat-key")?.append("nats", ...edges.map((edge, i) => h("span", { class: `heat l${i}` }, i === edges.length - 1 ? `${edge} and more` : `${edge}–${edges[i + 1]}`)));
}
