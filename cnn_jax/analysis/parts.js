// What pages that move are put together from: elements, choices and plots. Text goes in as text only.

const short = value => Math.abs(value) < 5e-4 || !Number.isFinite(value) ? String(Number.isFinite(value) ? 0 : value) : String(Number(value.toPrecision(3)));

function node(kind, attributes = {}, ...children) {
  const made = /^(svg|path|circle|line|text|title)$/.test(kind)
    ? document.createElementNS("http://www.w3.org/2000/svg", kind) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function button(text, click) {
  const made = node("button", { type: "button" }, text);
  made.addEventListener("click", click);
  return made;
}

function choice(text, options, changed) {
  const select = node("select", {}, ...options.map(each => node("option", { value: each }, each)));
  select.addEventListener("change", changed);
  return { element: node("label", {}, `${text} `, select), value: () => select.value };
}

// A plot of curves: line(points, class), and dots that move.
function plot([x0, x1], [y0, y1], label, [width, height] = [320, 200]) {
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": label });
  const at = (x, y) => [(x - x0) / (x1 - x0) * width, height - (Math.min(Math.max(y, y0), y1) - y0) / (y1 - y0) * height];
  const path = points => points.map(([x, y], i) => `${i ? "L" : "M"}${at(x, y).map(v => v.toFixed(1)).join(" ")}`).join("");
  const line = (points, kind) => {
    const drawn = node("path", { d: path(points), class: kind });
    svg.append(drawn);
    return { move: points => drawn.setAttribute("d", path(points)) };
  };
  const dot = kind => {
    const drawn = node("circle", { r: 5, class: kind });
    svg.append(drawn);
    return { mark: drawn, move: (x, y) => { [drawn.cx.baseVal.value, drawn.cy.baseVal.value] = at(x, y); } };
  };
  if (y0 < 0 && y1 > 0) line([[x0, 0], [x1, 0]], "axis");
  if (x0 < 0 && x1 > 0) line([[0, y0], [0, y1]], "axis");
  return { svg, line, dot };
}
