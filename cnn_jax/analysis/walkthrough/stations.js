// What moves at the stations of the lecture. Each finds its place by data-play, and its numbers in the
// page; without this script the page is whole, and still.

const lecture = JSON.parse(document.getElementById("lecture").textContent);
const STILL = matchMedia("(prefers-reduced-motion: reduce)").matches;

function slider(text, { min, max, step = "any", value, said = short }, changed) {
  const input = node("input", { type: "range", min, max, step, value }), output = node("output");
  const tell = () => { output.textContent = said(Number(input.value)); };
  input.addEventListener("input", () => { tell(); changed(); });
  tell();
  const set = value => { input.value = value; tell(); changed(); };
  return { element: node("label", { class: "slide" }, `${text} `, input, " ", output), value: () => Number(input.value), set };
}

// Steps by hand, or one after the other until it is paused; at once where motion is not wanted.
function stepper(step, reset, many = 1) {
  let running = false;
  const frame = () => {
    if (!running) return;
    for (let i = 0; i < many; i++) step();
    requestAnimationFrame(frame);
  };
  const run = button(STILL ? "50 steps" : "Run", () => {
    if (STILL) { for (let i = 0; i < 50 * many; i++) step(); return; }
    running = !running;
    run.textContent = running ? "Pause" : "Run";
    frame();
  });
  return [button("Step", () => step()), run, button("Start anew", reset)];
}

// A window that slides over numbers: what lies under it is marked, and what comes out is written out.
function sliding(root, values, { size, stride, compute, controls, name }) {
  const said = node("p", { role: "status", class: "sum" }), place = { row: 0, column: 0 };
  const cells = values.map(row => row.map(value => node("td", {}, short(value))));
  const table = (rows, label, kind) => node("table", { class: `matrix ${kind}`, "aria-label": label },
    ...rows.map(row => node("tr", {}, ...row)));
  const output = node("div");
  const under = () => Array.from({ length: size }, (_, i) => Array.from({ length: size },
    (_, j) => values[place.row * stride() + i][place.column * stride() + j]));
  const show = (row, column) => {
    Object.assign(place, { row, column });
    cells.forEach((line, y) => line.forEach((cell, x) => cell.classList.toggle("under",
      y >= row * stride() && y < row * stride() + size && x >= column * stride() && x < column * stride() + size)));
    const [value, text] = compute(under());
    said.textContent = `row ${row + 1}, column ${column + 1}: ${text} = ${short(value)}`;
  };
  const update = () => {
    const count = length => Math.floor((length - size) / stride()) + 1;
    const rows = Array.from({ length: count(values.length) }, (_, row) => Array.from({ length: count(values[0].length) }, (_, column) => {
      Object.assign(place, { row, column });
      const [value] = compute(under()), key = button(short(value), () => show(row, column));
      for (const kind of ["pointerenter", "focus"]) key.addEventListener(kind, () => show(row, column));
      return node("td", {}, key);
    }));
    output.replaceChildren(table(rows, name, "output"));
    show(0, 0);
  };
  root.append(node("div", { class: "row" }, table(cells, "input", "input"), ...controls(update), output), said);
  update();
}

const average = values => values.reduce((a, b) => a + b, 0) / values.length;

// A plane of weights, shaded by the loss, and the paths that descents take on it.
function descent(root, { range: [xs, ys], start, loss, runs }) {
  const canvas = node("canvas", { width: 96, height: 72, class: "plane", role: "img", "aria-label": "the loss over two weights, darker where it is higher" });
  const shown = plot(xs, ys, "paths of the descents over the two weights"), said = node("p", { role: "status" });
  const heights = [];
  for (let row = 0; row < 72; row++) for (let column = 0; column < 96; column++) {
    heights.push(Math.log(0.02 + loss([xs[0] + (column + 0.5) / 96 * (xs[1] - xs[0]), ys[1] - (row + 0.5) / 72 * (ys[1] - ys[0])])));
  }
  const [low, high] = [Math.min(...heights), Math.max(...heights)];
  const context = canvas.getContext("2d"), image = context.createImageData(96, 72);
  heights.forEach((height, i) => {
    const shade = 245 - 130 * Math.round(12 * (height - low) / (high - low)) / 12;
    image.data.set([shade, shade, shade, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  const paths = runs.map(run => ({ ...run, line: shown.line([], run.kind), dot: shown.dot(run.kind), visited: [start], time: 0 }));
  const tell = () => {
    for (const path of paths) { path.line.move(path.visited); path.dot.move(...path.visited.at(-1)); }
    said.textContent = paths.map(path => `${path.name}: ${path.time} steps, loss ${short(loss(path.visited.at(-1)))}`).join("; ");
  };
  const step = () => {
    for (const path of paths) {
      const weights = path.visited.at(-1), slopes = path.gradient(weights, path.time++);
      const moved = weights.map((w, i) => w - path.rate() * slopes[i]);
      path.visited = [...path.visited.slice(-600), moved.map(w => Math.min(Math.max(w, -1e6), 1e6))];
    }
    tell();
  };
  const reset = () => { for (const path of paths) Object.assign(path, { visited: [start], time: 0 }); tell(); };
  root.append(node("div", { class: "planes" }, canvas, shown.svg), node("div", { class: "tools" }, ...runs.flatMap(run => run.controls(reset)), ...stepper(step, reset)), said);
  reset();
}

// Numbers from [0, 1) that are the same in every visit.
function dice(seed) {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

const PLANES = {
  ring: draw => { const [x, y] = [draw() * 2 - 1, draw() * 2 - 1]; return [[x, y], Number(Math.hypot(x, y) < 0.6)]; },
  "two of four quarters": draw => { const [x, y] = [draw() * 2 - 1, draw() * 2 - 1]; return [[x, y], Number(x * y > 0)]; },
  spiral: draw => {
    const label = Number(draw() < 0.5), far = draw(), turn = 4 * far + Math.PI * label;
    return [[far * Math.cos(turn), far * Math.sin(turn)], label];
  },
};

const stations = {
  convolution(root, { image, filter }) {
    const inputs = filter.map(row => row.map(value => node("input", { type: "number", value, step: "any", "aria-label": "weight of the filter" })));
    sliding(root, image, {
      size: filter.length, stride: () => 1, name: "feature map; each place shows its sum",
      compute: window => {
        const pairs = window.flatMap((row, i) => row.map((value, j) => [value, Number(inputs[i][j].value)]));
        return [pairs.reduce((sum, [a, b]) => sum + a * b, 0), pairs.map(([a, b]) => `${short(a)}·${short(b)}`).join(" + ")];
      },
      controls: update => {
        inputs.flat().forEach(input => input.addEventListener("input", update));
        return [node("table", { class: "matrix filter", "aria-label": "filter, which can be edited" },
          ...inputs.map(row => node("tr", {}, ...row.map(input => node("td", {}, input)))))];
      },
    });
  },

  activation(root, { names }) {
    const box = node("div"), said = node("p", { role: "status" });
    const kind = choice("activation", names, () => draw()), x = slider("net input", { min: -4, max: 4, value: 1 }, () => move());
    let dots = [];
    const slope = (name, at) => activations[name][1](at, 0.25), value = (name, at) => activations[name][0](at, 0.25);
    const draw = () => {
      const shown = plot([-4, 4], [-1.6, 4], `${kind.value()} and its derivative`);
      const points = Array.from({ length: 321 }, (_, i) => (i - 160) / 40);
      shown.line(points.map(at => [at, value(kind.value(), at)]), "first");
      shown.line(points.map(at => [at, slope(kind.value(), at)]), "second");
      if (kind.value() === "step") shown.line(points.map(at => [at, surrogate(at)]), "third");
      dots = [shown.dot("first"), shown.dot("second")];
      box.replaceChildren(shown.svg);
      move();
    };
    const move = () => {
      const name = kind.value(), at = x.value(), [y, d] = [value(name, at), slope(name, at)];
      dots[0].move(at, y);
      dots[1].move(at, d);
      said.textContent = `${name}(${short(at)}) = ${short(y)}, derivative (dashed) ${short(d)}`
        + (name === "step" ? `; the surrogate that is learned with (dotted) ${short(surrogate(at))}` : "");
    };
    root.append(node("div", { class: "tools" }, kind.element, x.element), box, said);
    draw();
  },

  pooling(root, { map, window }) {
    let kind, stride;
    sliding(root, map, {
      size: window, stride: () => Number(stride.value()), name: "pooled map; each place shows what it summarizes",
      compute: under => {
        const values = under.flat();
        return kind.value() === "max" ? [Math.max(...values), `max(${values.map(short).join(", ")})`]
          : [average(values), `(${values.map(short).join(" + ")}) / ${values.length}`];
      },
      controls: update => {
        kind = choice("pooling", ["max", "average"], update);
        stride = choice("step", [String(window), "1"], update);
        return [node("div", { class: "tools" }, kind.element, stride.element)];
      },
    });
  },

  outputs(root, { names, scores }) {
    const lists = ["sigmoid", "softmax"].map(name => node("ol", { class: "bars", "aria-label": name }));
    const sums = lists.map(() => node("p", { class: "note" }));
    const update = () => {
      const values = sliders.map(each => each.value());
      [values.map(sigmoid), softmax(values)].forEach((chances, i) => {
        showBars(lists[i], names.map((name, j) => ({ name, share: chances[j], least: i ? undefined : 0.5 })));
        sums[i].textContent = `sum ${chances.reduce((a, b) => a + b, 0).toFixed(4)}`;
      });
    };
    const sliders = scores.map((value, i) => slider(names[i], { min: -5, max: 5, step: 0.1, value }, () => update()));
    root.append(node("div", { class: "tools" }, ...sliders.map(each => each.element)), node("div", { class: "halves" },
      ...lists.map((list, i) => node("div", {}, node("h4", {}, ["sigmoid: each by itself", "softmax: one whole"][i]), list, sums[i]))));
    update();
  },

  loss(root, { p, curves }) {
    const list = node("ol", { class: "bars losses", "aria-label": "losses" });
    const update = () => {
      const at = chance.value(), next = Math.max(p.findIndex(each => each >= at), 1);
      const share = (at - p[next - 1]) / (p[next] - p[next - 1]);
      list.replaceChildren(...Object.entries(curves).map(([name, values]) => {
        const value = values[next - 1] + share * (values[next] - values[next - 1]);
        const bar = node("span", { class: "bar" });
        bar.style.width = `${Math.min(100, 20 * value)}%`;
        return node("li", {}, node("span", { class: "guess" }, name), node("span", { class: "track" }, bar), node("span", { class: "number" }, value.toFixed(3)));
      }));
    };
    const chance = slider("probability given to the truth", { min: p[0], max: p.at(-1), value: 0.2 }, () => update());
    root.append(node("div", { class: "tools" }, chance.element), list);
    update();
  },

  descent(root, { curvatures: [a, b], start, range, rates }) {
    const rate = slider("learning rate", { min: -3, max: Math.log10(0.25), value: Math.log10(rates.good), said: v => short(10 ** v) }, () => {});
    descent(root, {
      range, start, loss: ([x, y]) => (a * x * x + b * y * y) / 2,
      runs: [{
        name: "gradient descent", kind: "first", rate: () => 10 ** rate.value(), gradient: ([x, y]) => [a * x, b * y],
        controls: reset => [rate.element, ...Object.entries(rates).map(([name, value]) =>
          button(name, () => { rate.set(Math.log10(value)); reset(); }))],
      }],
    });
  },

  sgd(root, { points, labels, start, range, rates }) {
    const slopes = ([u, v], chosen) => chosen.reduce(([a, b], i) => {
      const [x, y] = points[i], error = sigmoid(u * x + v * y) - labels[i];
      return [a + error * x / chosen.length, b + error * y / chosen.length];
    }, [0, 0]);
    const all = points.map((_, i) => i), draw = dice(1);
    const loss = ([u, v]) => average(points.map(([x, y], i) => softplus(u * x + v * y) - labels[i] * (u * x + v * y)));
    const made = Object.entries(rates).map(([name, value]) => slider(`rate of ${name}`, { min: -2, max: 1, value: Math.log10(value), said: v => short(10 ** v) }, () => {}));
    const gradients = [weights => slopes(weights, all), weights => slopes(weights, [Math.floor(draw() * points.length)])];
    descent(root, {
      range, start, loss,
      runs: Object.keys(rates).map((name, i) => ({ name, kind: ["first", "second"][i], rate: () => 10 ** made[i].value(), gradient: gradients[i], controls: () => [made[i].element] })),
    });
  },

  plane(root) {
    const canvas = node("canvas", { width: 60, height: 60, class: "plane", role: "img", "aria-label": "the plane, blue and vermilion where the network says so" });
    const dots = node("canvas", { width: 300, height: 300, role: "img", "aria-label": "the points, filled by their class" });
    const said = node("p", { role: "status" }), curve = plot([0, 1], [0, 1], "the loss, step by step"), line = curve.line([], "first");
    let points, weights, losses, draw;
    const reset = () => {
      draw = dice(3);
      points = Array.from({ length: 160 }, () => PLANES[data.value()](draw));
      const normal = scale => scale * Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
      weights = Array.from({ length: hidden.value() }, () => ({ w: [normal(1.5), normal(1.5)], b: normal(0.5), out: normal(0.7) }));
      weights.bias = 0;
      losses = [];
      show();
    };
    const forward = ([x, y]) => {
      const [f, d] = activations[kind.value()], nets = weights.map(({ w, b }) => w[0] * x + w[1] * y + b);
      const values = nets.map(net => f(net, 0.25));
      return { values, slopes: nets.map(net => d(net, 0.25)), logit: weights.reduce((sum, { out }, i) => sum + out * values[i], weights.bias) };
    };
    // One step of gradient descent over all points: backpropagation, written out.
    const step = () => {
      const sums = weights.map(() => [0, 0, 0, 0]);
      let bias = 0, loss = 0;
      for (const [[x, y], label] of points) {
        const { values, slopes, logit } = forward([x, y]), error = (sigmoid(logit) - label) / points.length;
        loss += (softplus(logit) - label * logit) / points.length;
        bias += error;
        weights.forEach(({ out }, i) => {
          const back = error * out * slopes[i];
          [back * x, back * y, back, error * values[i]].forEach((d, j) => { sums[i][j] += d; });
        });
      }
      const rate = 10 ** speed.value();
      weights.bias -= rate * bias;
      weights.forEach((neuron, i) => {
        neuron.w = neuron.w.map((w, j) => w - rate * sums[i][j]);
        neuron.b -= rate * sums[i][2];
        neuron.out -= rate * sums[i][3];
      });
      losses.push(loss);
      show();
    };
    const show = () => {
      drawMaps(canvas, [60, 60], 1, place => signedColor(1.4 * sigmoid(forward([(place % 60 + 0.5) / 30 - 1, 1 - (Math.floor(place / 60) + 0.5) / 30]).logit) - 0.7));
      const context = dots.getContext("2d");
      context.clearRect(0, 0, 300, 300);
      for (const [[x, y], label] of points) {
        context.beginPath();
        context.arc(150 + 150 * x, 150 - 150 * y, 4, 0, 7);
        [context.fillStyle, context.strokeStyle] = label ? ["#0072b2", "#fff"] : ["#fff", "#b34700"];
        context.fill();
        context.stroke();
      }
      const right = average(points.map(([at, label]) => Number((forward(at).logit > 0) === Boolean(label))));
      line.move(losses.map((loss, i) => [i / Math.max(losses.length - 1, 1), loss]));
      said.textContent = `${losses.length} steps, loss ${losses.length ? losses.at(-1).toFixed(3) : "not yet"}, ${(100 * right).toFixed(0)}% of the points right`;
    };
    const data = choice("points", Object.keys(PLANES), reset), kind = choice("activation", ["tanh", "relu", "sigmoid", "leaky_relu", "identity"], reset);
    const hidden = slider("hidden neurons", { min: 1, max: 16, step: 1, value: 8 }, reset);
    const speed = slider("learning rate", { min: -2, max: 1, value: 0.3, said: v => short(10 ** v) }, () => {});
    root.append(node("div", { class: "tools" }, data.element, kind.element, hidden.element, speed.element, ...stepper(step, reset, 4)),
      node("div", { class: "halves" }, node("div", { class: "planes square" }, canvas, dots), node("figure", {}, curve.svg, node("figcaption", {}, "the loss from 0 to 1, step by step"))), said);
    reset();
  },

  augmentation(root, { strengths }) {
    const card = root.closest("figure"), pictures = [...card.querySelectorAll("img")], name = card.querySelector("code");
    const all = [...strengths, { text: name.textContent, pictures: pictures.map(picture => picture.src) }];
    const strength = slider("strength", { min: 0, max: all.length - 1, step: 1, value: all.length - 1, said: i => all[i].text }, () => {
      const chosen = all[strength.value()];
      name.textContent = chosen.text;
      pictures.forEach((picture, i) => { picture.setAttribute("src", chosen.pictures[i]); });
    });
    root.append(strength.element);
  },
};

for (const root of document.querySelectorAll("[data-play]")) {
  const [station, part] = root.dataset.play.split(":");
  root.hidden = false;
  stations[station](root, part ? lecture[station][part] : lecture[station]);
}
