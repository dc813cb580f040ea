// From any picture to what the network was trained on, as `predict` does it (analysis/pictures.py):
// the same steps on bytes. A picture is {shape: [height, width, channels], data}.

const CONTRAST = 24;

function median(values) {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

// A new array of a kind, value by value: many times as quick as its own `from` with a function.
function each(Kind, data, made) {
  const found = new Kind(data.length);
  for (let i = 0; i < data.length; i++) found[i] = made(data[i]);
  return found;
}

const greatest = data => {
  let most = 0;
  for (let i = 0; i < data.length; i++) if (data[i] > most) most = data[i];
  return most;
};

// As Python and NumPy round: halves to the even neighbor.
function rounded(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}

const limit = (x, low, high) => Math.min(Math.max(x, low), high);

// Values of the outermost pixels; of one channel, or of all.
function border({ shape: [height, width, channels], data }, channel) {
  const found = [];
  const take = (row, column) => {
    for (let c = 0; c < channels; c++) {
      if (channel === undefined || c === channel) found.push(data[(row * width + column) * channels + c]);
    }
  };
  for (let column = 0; column < width; column++) { take(0, column); take(height - 1, column); }
  for (let row = 1; row < height - 1; row++) { take(row, 0); take(row, width - 1); }
  return found;
}

function crop({ shape: [, width, channels], data }, top, left, rows, columns) {
  const part = new data.constructor(rows * columns * channels);
  for (let row = 0; row < rows; row++) {
    const from = ((top + row) * width + left) * channels;
    part.set(data.subarray(from, from + columns * channels), row * columns * channels);
  }
  return { shape: [rows, columns, channels], data: part };
}

// The weights of Pillow's bilinear filter along one axis, whose support grows as a picture shrinks.
function triangle(from, to) {
  const scale = from / to, support = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale, first = Math.max(Math.trunc(center - support + 0.5), 0);
    const last = Math.min(Math.trunc(center + support + 0.5), from);
    const weights = Array.from({ length: last - first },
      (_, i) => Math.max(1 - Math.abs((first + i - center + 0.5) / support), 0));
    const total = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map(weight => Math.trunc(weight / total * 2 ** 22 + 0.5))];
  });
}

// Bytes scaled as Pillow does, in whole numbers: first along the rows, then along the columns. Pillow
// 13 begins with the columns where that is quicker, and so differs by one in some bytes.
function scale(picture, height, width) {
  const along = ({ shape: [rows, columns, channels], data }, to) => {
    // Turns the picture too: rows become columns.
    const found = new Uint8Array(rows * to * channels);
    triangle(columns, to).forEach(([first, weights], place) => {
      for (let row = 0; row < rows; row++) for (let channel = 0; channel < channels; channel++) {
        let sum = 2 ** 21;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * data[(row * columns + first + i) * channels + channel];
        found[(place * rows + row) * channels + channel] = limit(Math.floor(sum / 2 ** 22), 0, 255);
      }
    });
    return { shape: [to, rows, channels], data: found };
  };
  return along(along(picture, width), height);
}

// How many of the bytes have each value.
function countsOf(data) {
  const counts = new Float64Array(256);
  for (let i = 0; i < data.length; i++) counts[data[i]]++;
  return counts;
}

// The threshold that best parts values in two, each there so many times: Otsu 1979.
function otsu(values, times) {
  const counts = new Float64Array(256);
  values.forEach((value, i) => { counts[rounded(value)] += times[i]; });
  let all = 0, moments = 0, below = 0, sum = 0, best = 0, found = 0;
  counts.forEach((count, value) => { all += count; moments += count * value; });
  counts.forEach((count, value) => {
    below += count;
    sum += count * value;
    const above = all - below;
    if (!below || !above) return;
    const between = below * above * (sum / below - (moments - sum) / above) ** 2;
    if (between > best) [best, found] = [between, value];
  });
  return found;
}

function medianAbove(threshold, values, times) {
  const above = [...values.keys()].filter(i => times[i] && values[i] > threshold).sort((a, b) => values[a] - values[b]);
  const total = above.reduce((sum, i) => sum + times[i], 0);
  const at = place => values[above.find(i => (place -= times[i]) < 0)];
  return (at(total - 1 >> 1) + at(total >> 1)) / 2;
}

// The rows and columns between which bytes are of values that count; null where none is.
function boxOf({ shape: [, width], data }, counts) {
  let top = Infinity, bottom = 0, left = Infinity, right = 0;
  for (let place = 0; place < data.length; place++) {
    if (!counts[data[place]]) continue;
    const column = place % width, row = (place - column) / width;
    if (row < top) top = row;
    if (row >= bottom) bottom = row + 1;
    if (column < left) left = column;
    if (column >= right) right = column + 1;
  }
  return bottom ? [top, bottom, left, right] : null;
}

// What is drawn in a gray picture, in the frame that the training images share; null for nothing.
function placed(picture, frame, height, width) {
  const ground = median(border(picture)), sign = frame.level < 128 ? 1 : -1, times = countsOf(picture.data);
  // All that is done to a pixel depends on its byte alone.
  const above = Float64Array.from({ length: 256 }, (_, byte) => Math.max(sign * (byte - ground), 0));
  if (greatest(above.map((value, byte) => times[byte] && value)) < CONTRAST) return null;
  const threshold = otsu(above, times), low = threshold / 2;
  const range = Math.max(medianAbove(threshold, above, times) - low, 1);
  const ink = above.map(value => limit((value - low) / range, 0, 1));
  const box = boxOf(picture, ink.map(value => value > 0.5));
  if (!box) return null;
  const [top, bottom, left, right] = box, rows = bottom - top, columns = right - left;
  const levels = Uint8Array.from(ink, value => 255 * value);
  const whole = { shape: picture.shape, data: each(Uint8Array, picture.data, byte => levels[byte]) };
  const factor = Math.min(frame.size / Math.max(rows, columns), height / rows, width / columns);
  const small = scale(crop(whole, top, left, rows, columns),
    Math.max(1, rounded(rows * factor)), Math.max(1, rounded(columns * factor)));
  const [h, w] = small.shape, most = Math.max(greatest(small.data), 1);
  const share = each(Float64Array, small.data, value => value / most);
  const center = frame.by_mass ? centerOfMass(share, w) : [(h - 1) / 2, (w - 1) / 2];
  const firstRow = limit(rounded(frame.row - center[0]), 0, height - h);
  const firstColumn = limit(rounded(frame.column - center[1]), 0, width - w);
  const image = new Float64Array(height * width).fill(frame.level);
  share.forEach((value, place) => {
    const column = place % w, row = (place - column) / w;
    image[(firstRow + row) * width + firstColumn + column] += value * (frame.peak - frame.level);
  });
  return { shape: [height, width, 1], data: each(Uint8Array, image, rounded) };
}

function centerOfMass(ink, width) {
  let total = 0, row = 0, column = 0;
  ink.forEach((value, place) => {
    total += value;
    row += value * Math.floor(place / width);
    column += value * (place % width);
  });
  return [row / total, column / total];
}

// The largest centered part of the network's aspect ratio, scaled.
function cover(picture, height, width) {
  if (picture.shape[0] === height && picture.shape[1] === width) return picture;
  const factor = Math.min(picture.shape[0] / height, picture.shape[1] / width);
  const [rows, columns] = [height, width].map(side => Math.max(1, rounded(side * factor)));
  const [top, left] = [(picture.shape[0] - rows) >> 1, (picture.shape[1] - columns) >> 1];
  return scale(crop(picture, top, left, rows, columns), height, width);
}

// The whole picture in a square, the rest of it filled with the median color of its border.
function pad(picture, side) {
  const [height, width, channels] = picture.shape, longest = Math.max(height, width);
  const [rows, columns] = [height, width].map(each => Math.max(1, rounded(each * side / longest)));
  const small = scale(picture, rows, columns), [top, left] = [(side - rows) >> 1, (side - columns) >> 1];
  const fill = Array.from({ length: channels }, (_, c) => Math.trunc(median(cornersTwice(picture, c))));
  const square = Uint8Array.from({ length: side * side * channels }, (_, i) => fill[i % channels]);
  for (let row = 0; row < rows; row++) {
    const part = small.data.subarray(row * columns * channels, (row + 1) * columns * channels);
    square.set(part, ((top + row) * side + left) * channels);
  }
  return { shape: [side, side, channels], data: square };
}

function cornersTwice(picture, channel) {
  const [height, width, channels] = picture.shape;
  const corners = [0, width - 1, ...(height > 1 ? [(height - 1) * width, height * width - 1] : [])];
  return [...border(picture, channel), ...corners.map(place => picture.data[place * channels + channel])];
}

// The picture as the network takes it, and what was done to it, as `predict` reports it.
function prepare(picture, { shape: [height, width, channels], style, resize, sides }) {
  const level = median(border(picture));
  const outside = value => Math.max(style.darkest - value, value - style.lightest, 0);
  const inverted = channels === 1 && outside(255 - level) < outside(level);
  if (inverted) picture = { shape: picture.shape, data: picture.data.map(value => 255 - value) };
  const same = picture.shape[0] === height && picture.shape[1] === width;
  const [short, long] = [Math.min(...picture.shape.slice(0, 2)), Math.max(...picture.shape.slice(0, 2))];
  const asTrained = same || (sides[0] !== null && sides[0] <= short && long <= sides[1]);
  if (style.frame && (inverted || !asTrained)) {
    const image = placed(picture, style.frame, height, width);
    if (image) return { image, inverted, centered: true, scaled: false };
  }
  let image;
  if (same || resize === "crop" || height !== width) image = cover(picture, height, width);
  else if (resize === "pad" && picture.shape[0] !== picture.shape[1]) image = pad(picture, height);
  else image = scale(picture, height, width);
  return { image, inverted, centered: false, scaled: !same };
}
