// What the network makes of the sheet, as it is drawn: guesses, evidence, feature maps.

const MOST_GUESSES = 5, MOST_LABELS = 12, MOST_MAPS = 16, MOST_LAYERS = 12;
// In milliseconds: how long one piece of work may hold up the pointer, when the pointer rests, how long
// a page warms up, and what is left to the browser after a reading, and after which one it is more.
const SLICE = 16, REST = 100, WARM = 600, MOMENT = 8, LONG = 50;

const BLUE = [0, 114, 178], VERMILION = [213, 94, 0];

function make(kind, text = "", attributes = {}) {
  const made = document.createElement(kind);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// Signed values from white to blue or vermilion, as the pictures of explain.
function signedColor(share) {
  const full = share > 0 ? BLUE : VERMILION, strength = Math.min(Math.abs(share), 1);
  return full.map(c => Math.round(255 + (c - 255) * strength));
}

// Draws maps [h, w, c] of colors side by side; color(value index) gives RGB.
function drawMaps(canvas, [height, width], count, color) {
  const columns = Math.min(count, 8), rows = Math.ceil(count / columns), gap = count > 1 ? 1 : 0;
  [canvas.width, canvas.height] = [columns * (width + gap) - gap, rows * (height + gap) - gap];
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
  for (let map = 0; map < count; map++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const row = Math.floor(map / columns) * (height + gap) + y, column = map % columns * (width + gap) + x;
    image.data.set([...color(y * width + x, map), 255], 4 * (row * canvas.width + column));
  }
  context.putImageData(image, 0, 0);
}

const pause = time => new Promise(resume => setTimeout(resume, time));

const largest = values => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;

function drawHeat(canvas, [height, width], heat) {
  const scale = largest(heat);
  drawMaps(canvas, [height, width], 1, place => signedColor(heat[place] / scale));
}

// The first guesses, or every label with its threshold: names and shares, best first.
function ranked(network, probabilities) {
  const all = network.classes.map((name, i) => ({ name, share: probabilities[i], least: network.thresholds?.[i] }));
  if (network.thresholds) return all.slice(0, MOST_LABELS);
  return all.sort((a, b) => b.share - a.share).slice(0, MOST_GUESSES);
}

// Bold is what reaches its threshold, or else the most probable.
function showBars(list, guesses) {
  const most = Math.max(...guesses.map(({ share }) => share));
  list.replaceChildren(...guesses.map(({ name, share, least }) => {
    const row = make("li", "", { class: share >= (least ?? most) ? "first" : "" });
    const track = make("span", "", { class: "track" }), bar = make("span", "", { class: "bar" });
    bar.style.width = `${100 * share}%`;
    track.append(bar);
    if (least !== undefined) {
      const mark = make("span", "", { class: "threshold", title: `threshold ${(100 * least).toFixed(1)}%` });
      mark.style.left = `${100 * least}%`;
      track.append(mark);
    }
    row.append(make("span", name, { class: "guess", title: name }), track, make("span", `${(100 * share).toFixed(1)}%`, { class: "number" }));
    return row;
  }));
}

// The layers whose maps are shown: all of a shallow network, of a deep one those after a block.
function shownLayers(layers) {
  const maps = layers.filter(([, { shape }]) => shape.length === 3);
  if (maps.length <= MOST_LAYERS) return maps;
  return maps.filter(([name], place) => !place || !name.includes(".") && /^(pool|block|conv)/.test(name)).slice(0, MOST_LAYERS);
}

// How much the score of an output falls where a patch hides the image, pixel by pixel, in slices.
async function occlusion(network, pixels, output, base, going) {
  const [height, width, channels] = network.shape, side = Math.max(height, width);
  const patch = Math.max(3, Math.round(side / 5)), step = Math.max(1, Math.round(side / 14));
  const blank = network.blank, heat = new Float32Array(height * width), times = new Float32Array(height * width);
  let since = performance.now();
  for (let top = 1 - step; top < height; top += step) for (let left = 1 - step; left < width; left += step) {
    if (performance.now() - since > SLICE) {
      if (!await going()) return null;
      since = performance.now();
    }
    const hidden = Uint8Array.from(pixels), under = [];
    for (let y = Math.max(top, 0); y < Math.min(top + patch, height); y++) {
      for (let x = Math.max(left, 0); x < Math.min(left + patch, width); x++) {
        under.push(y * width + x);
        for (let c = 0; c < channels; c++) hidden[(y * width + x) * channels + c] = blank[c];
      }
    }
    const fall = base - network.forward(hidden)[0].data[output];
    for (const place of under) { heat[place] += fall; times[place]++; }
  }
  return heat.map((sum, place) => sum / times[place]);
}

function saliency(network, back, output) {
  const one = tensor([network.classes.length]);
  one.data[output] = 1;
  const slopes = back(one).data, channels = network.shape[2];
  return Float32Array.from({ length: slopes.length / channels }, (_, place) => {
    let total = 0;
    for (let c = 0; c < channels; c++) total += slopes[place * channels + c];
    return total;
  });
}

function whatWasDone({ inverted, centered, scaled }) {
  const done = [
    inverted && "light and dark exchanged", centered && "cut out, scaled and centered as the training images are",
    scaled && "scaled to their size",
  ].filter(Boolean);
  return done.join("; ") || "as it is";
}

// Reads a bar where nobody has drawn yet, so that the browser has compiled what reads before it is
// waited for.
async function warmUp(network, described, pad) {
  const canvas = make("canvas"), end = performance.now() + WARM;
  while (performance.now() < end) {
    const picture = pad.picture(), { data } = picture;
    data.subarray(0.4 * data.length, 0.6 * data.length).fill(255 - data[0]);
    const [logits, back] = network.forward(prepare(picture, described).image.data);
    showBars(make("ol"), ranked(network, network.probabilities(logits.data)));
    await pause();
    drawHeat(canvas, network.shape, saliency(network, back, 0));
    await pause();
  }
}

function startReading(described) {
  const network = loadNetwork(described), part = id => document.getElementById(id), { frame } = described.style;
  const [factor, shift] = [array(described.factor).data, array(described.shift).data];
  network.blank = frame ? [frame.level] : Array.from(factor, (f, c) => Math.round(-shift[c] / f));
  for (const id of ["seen", "saliency", "occlusion"]) [part(id).height, part(id).width] = network.shape;
  const canvases = {};
  let turn = 0, wanted = false, due = 0;

  const showMaps = async (seen, going) => {
    for (const [name, { shape: [height, width, maps], data }] of shownLayers(seen)) {
      if (!canvases[name]) {
        const count = Math.min(maps, MOST_MAPS), of = maps > count ? `${count} of ${maps}` : `${maps}`;
        const text = `${name}: ${of} maps of ${height} × ${width}`, figure = make("figure");
        canvases[name] = make("canvas", "", { role: "img", "aria-label": text });
        figure.append(make("figcaption", text), canvases[name]);
        part("layers").append(figure);
      }
      const scale = largest(data);
      drawMaps(canvases[name], [height, width], Math.min(maps, MOST_MAPS), (place, map) => signedColor(data[place * maps + map] / scale));
      if (!await going()) return;
    }
  };
  const read = async () => {
    const start = performance.now(), mine = turn, seen = [];
    const going = async time => { await pause(time); return mine === turn; };
    const prepared = prepare(pad.picture(), described), { image } = prepared;
    const [logits, back] = network.forward(image.data, (name, value) => seen.push([name, value]));
    const chances = network.probabilities(logits.data.map(logit => logit / described.temperature));
    const guesses = ranked(network, chances);
    showBars(part("ranks"), guesses);
    const best = part("about").value === "" ? chances.indexOf(Math.max(...chances)) : Number(part("about").value);
    drawMaps(part("seen"), network.shape, 1, place => network.shape[2] === 3
      ? image.data.subarray(3 * place, 3 * place + 3) : [0, 1, 2].map(() => image.data[place]));
    part("done").textContent = whatWasDone(prepared);
    // A moment, after a long one as long, the pointer and the paper have the browser for themselves.
    const end = performance.now(), cost = end - start;
    due = end + (cost > LONG ? cost : Math.min(cost, MOMENT));
    // What is not needed to follow the pointer is done once it rests.
    if (!await going(REST)) return;
    part("scored").textContent = described.classes[best];
    drawHeat(part("saliency"), network.shape, saliency(network, back, best));
    part("said").textContent = guesses.filter(({ share, least }, i) => least === undefined ? i < 2 : share >= least)
      .map(({ name, share }) => `${name} ${(100 * share).toFixed(1)}%`).join(", ") || "no label reaches its threshold";
    if (!await going()) return;
    if (part("layers").parentElement.open) await showMaps(seen, going);
    if (mine !== turn) return;
    const heat = await occlusion(network, image.data, best, logits.data[best], going);
    if (!heat) return;
    drawHeat(part("occlusion"), network.shape, heat);
    part("live").dataset.read = String(turn);
  };
  // Timers would wait until the pointer rests.
  const soon = () => {
    if (performance.now() < due) { requestAnimationFrame(soon); return; }
    wanted = false;
    if (!part("live").matches(".empty")) read();
  };
  const changed = empty => {
    part("live").classList.toggle("empty", empty);
    delete part("live").dataset.read;
    turn++;
    if (empty) {
      part("ranks").replaceChildren();
      part("said").textContent = "";
      return;
    }
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(soon);
  };
  const tools = Object.fromEntries(["thickness", "color", "erase", "undo", "clear", "pen"].map(id => [id, part(id)]));
  const pad = makePad(part("pad"), described, { ...tools, file: part("picture"), area: part("live") }, changed);
  described.classes.forEach((name, i) => part("about").append(make("option", name, { value: i })));
  part("about").addEventListener("change", () => changed(false));
  part("layers").parentElement.addEventListener("toggle", () => { if (!part("live").matches(".empty")) changed(false); });
  for (const image of document.querySelectorAll("img[data-edit]")) {
    const edit = make("button", "Edit", { type: "button", class: "edit", "aria-label": `Edit ${image.alt}` });
    edit.addEventListener("click", () => {
      pad.put(image, image.naturalWidth, image.naturalHeight);
      part("live").scrollIntoView();
      part("pad").focus({ preventScroll: true });
    });
    image.closest("figure").querySelector("figcaption").append(" ", edit);
  }
  part("live").hidden = false;
  warmUp(network, described, pad);
}
