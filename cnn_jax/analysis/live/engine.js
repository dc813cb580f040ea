// The trained network, in the page: what its layers compute, and their gradients.
//
// A tensor is {shape, data}: [height, width, channels] or [values], row after row, in a
// Float32Array. A layer is a function (description, tensor) => [output, back], where back takes the
// gradient of some number by the output to that by the input. Nothing here touches the page.

const tensor = (shape, data) => ({ shape, data: data ?? new Float32Array(shape.reduce((a, b) => a * b, 1)) });

const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, fraction = (bits & 1023) / 1024;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

// An array as Python wrote it: {shape, float16} or {shape, float32}, little-endian base64.
function array({ shape, float16, float32 }) {
  if (float32 !== undefined) return tensor(shape, new Float32Array(bytes(float32).buffer));
  return tensor(shape, Float32Array.from(new Uint16Array(bytes(float16).buffer), half));
}

// Abramowitz and Stegun 1964, formula 7.1.26, right to 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

const sigmoid = x => 1 / (1 + Math.exp(-x));
const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const [SELU_SCALE, SELU_ALPHA] = [1.0507009873554805, 1.6732632423543772];

// Each with its derivative. At a kink it is what jax.grad takes: 0 for ReLU at 0, 1 for leaky ReLU.
const activations = {
  identity: [x => x, () => 1],
  step: [x => x >= 0 ? 1 : 0, () => 0],
  sigmoid: [sigmoid, x => sigmoid(x) * (1 - sigmoid(x))],
  tanh: [Math.tanh, x => 1 - Math.tanh(x) ** 2],
  relu: [x => Math.max(x, 0), x => x > 0 ? 1 : 0],
  prelu: [(x, slope) => x >= 0 ? x : slope * x, (x, slope) => x >= 0 ? 1 : slope],
  leaky_relu: [x => x >= 0 ? x : 0.01 * x, x => x >= 0 ? 1 : 0.01],
  elu: [x => x > 0 ? x : Math.expm1(x), x => x > 0 ? 1 : Math.exp(x)],
  selu: [x => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
    x => SELU_SCALE * (x > 0 ? 1 : SELU_ALPHA * Math.exp(x))],
  gelu: [x => x * (0.5 + 0.5 * erf(x * Math.SQRT1_2)),
    x => 0.5 + 0.5 * erf(x * Math.SQRT1_2) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI)],
  silu: [x => x * sigmoid(x), x => sigmoid(x) * (1 + x * (1 - sigmoid(x)))],
  softplus: [softplus, sigmoid],
  mish: [x => x * Math.tanh(softplus(x)),
    x => Math.tanh(softplus(x)) + x * sigmoid(x) * (1 - Math.tanh(softplus(x)) ** 2)],
  hard_swish: [x => x * Math.min(Math.max(x + 3, 0), 6) / 6,
    x => (Math.min(Math.max(x + 3, 0), 6) + x * (Math.abs(x) < 3 ? 1 : Math.abs(x) === 3 ? 0.5 : 0)) / 6],
};
// What is differentiated in place of the step, whose derivative is 0.
const surrogate = x => 1 / (1 + Math.abs(x)) ** 2;

// One axis of a window that slides: how many places it has, and where the first one begins.
function places(size, span, stride, padding) {
  if (padding === "SAME") {
    const count = Math.ceil(size / stride);
    return [count, -(Math.max((count - 1) * stride + span - size, 0) >> 1)];
  }
  const [low, high] = padding === "VALID" ? [0, 0] : padding;
  return [Math.floor((size + low + high - span) / stride) + 1, -low];
}

// Calls visit(input pixel, output pixel, tap) for all taps of a window that lie on the image.
function slide([height, width], [kh, kw], { stride, padding, dilation = 1 }, visit) {
  const [sy, sx] = [stride].flat().length > 1 ? stride : [stride, stride];
  const [py, px] = typeof padding === "string" ? [padding, padding] : padding;
  const [rows, top] = places(height, (kh - 1) * dilation + 1, sy, py);
  const [columns, left] = places(width, (kw - 1) * dilation + 1, sx, px);
  const visitAll = each => {
    for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
      for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) {
        const y = top + row * sy + i * dilation, x = left + column * sx + j * dilation;
        if (y >= 0 && y < height && x >= 0 && x < width) each(y * width + x, row * columns + column, i * kw + j);
      }
    }
  };
  return [rows, columns, visitAll];
}

function convolution(layer, x) {
  const { kernel, bias, groups = 1 } = layer, [, , inputs, filters] = kernel.shape;
  const channels = x.shape[2], share = filters / groups, weights = kernel.data, given = x.data;
  const [rows, columns, visitAll] = slide(x.shape, kernel.shape, layer);
  const y = tensor([rows, columns, filters]), sums = y.data;
  if (bias) for (let i = 0; i < sums.length; i++) sums[i] = bias.data[i % filters];
  // A channel is seen by the filters of its group only.
  const first = Int32Array.from({ length: channels }, (_, channel) => Math.floor(channel / inputs) * share);
  const start = first.map((filter, channel) => channel % inputs * filters + filter);
  visitAll((pixel, place, tap) => {
    const tapped = tap * inputs * filters, from = pixel * channels, to = place * filters;
    for (let channel = 0; channel < channels; channel++) {
      const value = given[from + channel];
      if (value === 0) continue;
      const at = to + first[channel], weight = tapped + start[channel];
      for (let i = 0; i < share; i++) sums[at + i] += value * weights[weight + i];
    }
  });
  const back = dy => {
    const dx = tensor(x.shape), slopes = dy.data;
    visitAll((pixel, place, tap) => {
      const tapped = tap * inputs * filters, from = pixel * channels, to = place * filters;
      for (let channel = 0; channel < channels; channel++) {
        const at = to + first[channel], weight = tapped + start[channel];
        let sum = 0;
        for (let i = 0; i < share; i++) sum += slopes[at + i] * weights[weight + i];
        dx.data[from + channel] += sum;
      }
    });
    return dx;
  };
  return [y, back];
}

function pooling({ window, stride = window, padding = "VALID", largest }, x) {
  const channels = x.shape[2], [rows, columns, visitAll] = slide(x.shape, window, { stride, padding });
  const y = tensor([rows, columns, channels]), shared = 1 / (window[0] * window[1]);
  const chosen = new Int32Array(y.data.length).fill(-1);
  visitAll((pixel, place) => {
    for (let channel = 0; channel < channels; channel++) {
      const from = pixel * channels + channel, to = place * channels + channel, value = x.data[from];
      if (!largest) y.data[to] += value * shared;
      else if (chosen[to] < 0 || value > y.data[to]) [y.data[to], chosen[to]] = [value, from];
    }
  });
  const back = dy => {
    const dx = tensor(x.shape);
    if (largest) chosen.forEach((from, to) => { if (from >= 0) dx.data[from] += dy.data[to]; });
    else visitAll((pixel, place) => {
      for (let channel = 0; channel < channels; channel++) {
        dx.data[pixel * channels + channel] += dy.data[place * channels + channel] * shared;
      }
    });
    return dx;
  };
  return [y, back];
}

function globalAverage(_, x) {
  const [y, back] = pooling({ window: x.shape, largest: false }, x);
  return [tensor([x.shape[2]], y.data), back];
}

// Every value by itself: value and derivative are functions of it and of its place.
function elementwise(x, value, derivative) {
  return [tensor(x.shape, x.data.map(value)), dy => tensor(x.shape, dy.data.map((d, i) => d * derivative(x.data[i], i)))];
}

function activation({ function: name, slope }, x) {
  const [value, derivative] = activations[name];
  const taken = name === "step" ? surrogate : derivative;
  return elementwise(x, v => value(v, slope), v => taken(v, slope));
}

// Batch normalization with its running statistics: a factor and a shift for each channel.
function affine({ factor, shift }, x) {
  const channels = factor.data.length;
  return elementwise(x, (v, i) => v * factor.data[i % channels] + shift.data[i % channels],
    (_, i) => factor.data[i % channels]);
}

function groupNorm({ groups, epsilon, scale, bias }, x) {
  const channels = x.shape[2], size = channels / groups, count = x.data.length / groups;
  const group = i => Math.floor(i % channels / size);
  const sums = values => values.reduce((sum, v, i) => { sum[group(i)] += v / count; return sum; }, new Float64Array(groups));
  const mean = sums(x.data), variance = sums(x.data.map((v, i) => (v - mean[group(i)]) ** 2));
  const factor = variance.map(v => 1 / Math.sqrt(v + epsilon));
  const normed = x.data.map((v, i) => (v - mean[group(i)]) * factor[group(i)]);
  const gain = i => scale ? scale.data[i % channels] : 1;
  const back = dy => {
    const given = dy.data.map((d, i) => d * gain(i));
    const along = sums(given), across = sums(given.map((d, i) => d * normed[i]));
    return tensor(x.shape, given.map((d, i) => factor[group(i)] * (d - along[group(i)] - normed[i] * across[group(i)])));
  };
  return [tensor(x.shape, normed.map((v, i) => v * gain(i) + bias.data[i % channels])), back];
}

function dense({ kernel, bias }, x) {
  const [inputs, outputs] = kernel.shape, weights = kernel.data;
  const y = tensor([outputs], bias ? bias.data.slice() : undefined);
  const sums = y.data;
  for (let i = 0; i < inputs; i++) {
    const value = x.data[i], row = i * outputs;
    if (value !== 0) for (let j = 0; j < outputs; j++) sums[j] += value * weights[row + j];
  }
  const back = dy => {
    const dx = tensor([inputs]), slopes = dy.data;
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let j = 0; j < outputs; j++) sum += slopes[j] * weights[i * outputs + j];
      dx.data[i] = sum;
    }
    return dx;
  };
  return [y, back];
}

const flatten = (_, x) => [tensor([x.data.length], x.data), dy => tensor(x.shape, dy.data)];
const scaling = ({ factor }, x) => elementwise(x, v => v * factor, () => factor);

// The shortcut without parameters: every second pixel, and empty channels behind those there are.
function subsample({ stride, missing }, x) {
  const [height, width, channels] = x.shape, columns = Math.ceil(width / stride);
  const y = tensor([Math.ceil(height / stride), columns, channels + missing]);
  const each = visit => {
    for (let i = 0; i < y.data.length; i++) {
      const channel = i % (channels + missing), place = (i - channel) / (channels + missing);
      const column = place % columns, row = (place - column) / columns;
      if (channel < channels) visit(i, (row * width + column) * stride * channels + channel);
    }
  };
  each((to, from) => { y.data[to] = x.data[from]; });
  return [y, dy => {
    const dx = tensor(x.shape);
    each((to, from) => { dx.data[from] = dy.data[to]; });
    return dx;
  }];
}

function sum({ branches }, x, tap) {
  const ends = branches.map(branch => run(branch, x, tap));
  const add = (a, b) => tensor(a.shape, a.data.map((v, i) => v + b.data[i]));
  return [ends.map(([y]) => y).reduce(add), dy => ends.map(([, back]) => back(dy)).reduce(add)];
}

const layers = {
  convolution, pooling, globalAverage, activation, affine, groupNorm, dense, flatten, scaling, subsample, sum,
};

// All layers, one after the other; tap sees the name and the output of each.
function run(described, x, tap = () => {}) {
  const backs = [];
  for (const layer of described) {
    const [y, back] = layers[layer.kind](layer, x, tap);
    if (layer.name) tap(layer.name, y);
    backs.push(back);
    x = y;
  }
  return [x, dy => backs.reduceRight((gradient, back) => back(gradient), dy)];
}

function softmax(scores) {
  const largest = Math.max(...scores), powers = Array.from(scores, score => Math.exp(score - largest));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map(power => power / total);
}

// The network that Python described, its arrays read. `forward` takes bytes [h, w, c] to logits.
function loadNetwork(described) {
  const read = layer => Object.fromEntries(Object.entries(layer).map(([key, value]) => [
    key, key === "branches" ? value.map(branch => branch.map(read)) : value?.shape ? array(value) : value,
  ]));
  const first = { kind: "affine", factor: array(described.factor), shift: array(described.shift) };
  const all = [first, ...described.layers.map(read)];
  return {
    ...described,
    forward: (pixels, tap) => run(all, tensor(described.shape, Float32Array.from(pixels)), tap),
    probabilities: logits => described.output === "softmax" ? softmax(logits) : Array.from(logits, sigmoid),
  };
}
