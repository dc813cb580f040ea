// The rows of a sweep, to filter, to set side by side, and as a scatter. Their numbers are in the page.

const sweep = JSON.parse(document.getElementById("rows").textContent);
const percent = value => `${(100 * value).toFixed(2)}%`;
const mean = values => values.reduce((a, b) => a + b, 0) / values.length;
const COLORS = ["first", "second"];

// What lies on no other point's worse side: at most so much along x, and more accurate.
function frontier(points) {
  let best = -Infinity;
  return [...points].sort((a, b) => a.x - b.x || b.y - a.y).filter(({ y }) => y > best && (best = y, true));
}

function span(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)], room = (high - low) * 0.06 || Math.abs(high) * 0.06 || 1;
  return [low - room, high + room];
}

// Counts of parameters may differ in their last digits only.
const exact = value => Math.abs(value) < 1000 ? short(value) : Math.round(value).toLocaleString("en");

function scatter(box, rows, along) {
  const points = rows.filter(row => row.mean !== null && row[along] !== null).map(row => ({ row, x: row[along], y: row.mean }));
  if (!points.length) return box.replaceChildren(node("p", {}, "No row has both numbers."));
  // A row that learned nothing would press all others together: it lies on the lower edge.
  const sorted = points.map(p => p.y).sort((a, b) => b - a), best = sorted[0];
  const least = Math.max(sorted.at(-1), best - 6 * (best - sorted[sorted.length >> 1]) || 0);
  const below = points.filter(({ y }) => y < least).map(({ row }) => row.label);
  const [xs, ys] = [span(points.map(p => p.x)), span([least, best])];
  const shown = plot(xs, ys, `mean test accuracy against ${sweep.along[along]}`, [480, 300]);
  const said = node("p", { role: "status", class: "note" }, "The line is the frontier: nothing to its left is more accurate. Point at a row, or reach it by Tab, for its name.");
  shown.line(frontier(points).map(({ x, y }) => [x, y]), "third");
  for (const { row, x, y } of points) {
    const dot = shown.dot("first"), text = `${row.label}: ${percent(y)}, ${sweep.along[along]} ${exact(x)}`;
    dot.move(x, y);
    dot.mark.append(node("title", {}, text));
    dot.mark.setAttribute("tabindex", "0");
    dot.mark.setAttribute("role", "img");
    dot.mark.setAttribute("aria-label", text);
    for (const kind of ["pointerenter", "focus"]) dot.mark.addEventListener(kind, () => { said.textContent = text; });
  }
  shown.svg.setAttribute("role", "group");
  box.replaceChildren(node("p", { class: "note" }, `mean test accuracy, from ${percent(ys[0])} to ${percent(ys[1])}${below.length ? `; below: ${below.join(", ")}` : ""}`), shown.svg,
    node("p", { class: "note ends" }, node("span", {}, exact(xs[0])), node("span", {}, sweep.along[along]), node("span", {}, exact(xs[1]))), said);
}

// Two rows: their paired differences by seed, and their curves over each other.
function compareRows(box, [one, two]) {
  const seeds = Object.keys(one.accuracies).filter(seed => seed in two.accuracies);
  const differences = seeds.map(seed => one.accuracies[seed] - two.accuracies[seed]);
  const points = value => `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(2)}`;
  const cell = text => node("td", { class: "number" }, text);
  const table = node("table", {}, node("thead", {}, node("tr", {}, ...["seed", one.label, two.label, "difference, points"].map(text => node("th", { class: "number" }, text)))),
    node("tbody", {}, ...seeds.map((seed, i) => node("tr", {}, cell(seed), cell(percent(one.accuracies[seed])), cell(percent(two.accuracies[seed])), cell(points(differences[i])))),
      node("tr", {}, cell("mean"), cell(""), cell(""), cell(differences.length ? points(mean(differences)) : "no common seed"))));
  const parts = [node("h3", {}, `${one.label} less ${two.label}`), node("div", { class: "scroll" }, table),
    node("p", { class: "note" }, "Picked by hand and not corrected for having picked: the verdicts are in the table above.")];
  const all = [one, two].flatMap(row => row.curve.map(([, y]) => y));
  if (all.length) {
    const last = Math.max(...[one, two].flatMap(row => row.curve.map(([x]) => x))), ys = span(all);
    const shown = plot([1, Math.max(last, 2)], ys, `${sweep.curve} by epoch of both rows`, [480, 260]);
    [one, two].forEach((row, i) => shown.line(row.curve, COLORS[i]));
    parts.push(node("figure", {}, shown.svg, node("figcaption", {},
      `${sweep.curve} by epoch to ${last}, from ${percent(ys[0])} to ${percent(ys[1])}; plain: ${one.label}, dashed: ${two.label}`)));
  }
  box.replaceChildren(...parts);
}

function startRows() {
  const table = document.getElementById("results"), root = document.getElementById("explore");
  const lines = [...table.tBodies[0].rows], rowOf = line => sweep.rows[line.dataset.row];
  const filter = node("input", { type: "search" }), count = node("span", { role: "status", class: "note" });
  const picked = [], beside = node("div"), cloud = node("div");
  const along = node("select", {}, ...Object.entries(sweep.along).map(([key, text]) => node("option", { value: key }, text)));
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const line of lines) {
      const text = line.textContent.toLowerCase();
      line.hidden = !words.every(word => text.includes(word));
    }
    const left = lines.filter(line => !line.hidden);
    count.textContent = `${left.length} of ${lines.length} rows`;
    scatter(cloud, left.map(rowOf), along.value);
  };
  const pick = () => {
    for (const [line, box] of picks) line.classList.toggle("picked", box.checked);
    if (picked.length === 2) compareRows(beside, picked);
    else beside.replaceChildren();
  };
  const picks = lines.map(line => {
    const row = rowOf(line), box = node("input", { type: "checkbox", "aria-label": `compare ${row.label}` });
    box.addEventListener("change", () => {
      if (box.checked) picked.push(row);
      else picked.splice(picked.indexOf(row), 1);
      if (picked.length > 2) {
        const gone = picked.shift();
        picks.find(([other]) => rowOf(other) === gone)[1].checked = false;
      }
      pick();
    });
    line.cells[0].prepend(box, " ");
    return [line, box];
  });
  filter.addEventListener("input", show);
  along.addEventListener("change", show);
  // First what differs between rows.
  const differs = key => new Set(Object.values(sweep.rows).map(row => row[key])).size > 1;
  along.value = Object.keys(sweep.along).find(differs) ?? "parameters";
  root.append(node("div", { class: "tools" }, node("label", {}, "Only rows with ", filter), count), beside,
    node("h3", {}, "What accuracy costs"), node("div", { class: "tools" }, node("label", {}, "Along ", along)), cloud);
  root.hidden = false;
  show();
}

startRows();
