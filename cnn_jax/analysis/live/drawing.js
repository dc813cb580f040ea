// A sheet to draw on: with a pointer, or by keys. It is as fine as is comfortable to draw on, or has
// the pixels of the picture that was put on it.

const HISTORY = 50;
const KEYS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

const gray = value => `rgb(${value}, ${value}, ${value})`;

// What transparent parts of RGBA bytes are laid on: white, or black where nothing would be seen on it.
function groundOf(data) {
  let varies = false;
  for (let i = 0; i < data.length; i += 4) {
    const alpha = data[i + 3] / 255;
    varies = varies || data[i + 3] !== data[3];
    if (alpha * Math.min(data[i], data[i + 1], data[i + 2]) + 255 * (1 - alpha) < 254.5) return 255;
  }
  return varies ? 0 : 255;
}

// The bytes of a canvas as an opaque picture, in gray or RGB as Pillow turns one into the other.
function pictureOf(canvas, channels) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = new Uint8Array(canvas.width * canvas.height * channels), ground = groundOf(data);
  for (let i = 0; i < canvas.width * canvas.height; i++) {
    let r = data[4 * i], g = data[4 * i + 1], b = data[4 * i + 2];
    const alpha = data[4 * i + 3] / 255;
    if (alpha < 1) [r, g, b] = [r, g, b].map(c => Math.round(c * alpha + ground * (1 - alpha)));
    if (channels === 1) found[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
    else {
      found[3 * i] = r;
      found[3 * i + 1] = g;
      found[3 * i + 2] = b;
    }
  }
  return { shape: [canvas.height, canvas.width, channels], data: found };
}

// Calls changed(whether anything is on the sheet) after every change.
function makePad(canvas, { shape: [height, width, channels], style }, tools, changed) {
  const factor = Math.max(1, Math.round(280 / Math.max(height, width)));
  const level = Math.round(style.frame ? style.frame.level : (style.darkest + style.lightest) / 2);
  const ink = style.frame ? Math.round(style.frame.peak) : level < 128 ? 255 : 0;
  const shown = canvas.getContext("2d");
  const paper = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pen = { x: 0.5, y: 0.5, down: false, last: null };
  let past = [], empty = true;

  const lay = (rows, columns) => {
    [paper.canvas.width, paper.canvas.height] = [columns, rows];
    paper.fillStyle = gray(level);
    paper.fillRect(0, 0, columns, rows);
  };
  const show = () => {
    shown.imageSmoothingEnabled = false;
    shown.drawImage(paper.canvas, 0, 0, canvas.width, canvas.height);
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
      shown.fillStyle = "#d55e00";
      shown.fillRect(pen.x * canvas.width - 1, pen.y * canvas.height - 8, 2, 16);
      shown.fillRect(pen.x * canvas.width - 8, pen.y * canvas.height - 1, 16, 2);
    }
  };
  const tell = () => { show(); changed(empty); };
  const remember = () => {
    const { width, height } = paper.canvas;
    past = [...past.slice(1 - HISTORY), { image: paper.getImageData(0, 0, width, height), empty }];
  };
  const draw = (x, y) => {
    const from = pen.last ?? [x, y], { width, height } = paper.canvas;
    paper.lineWidth = Math.max(1, tools.thickness.value / 100 * Math.max(width, height));
    paper.strokeStyle = tools.erase.ariaPressed === "true" ? gray(level) : tools.color ? tools.color.value : gray(ink);
    paper.lineCap = "round";
    paper.beginPath();
    paper.moveTo(from[0] * width, from[1] * height);
    paper.lineTo(x * width, y * height);
    paper.stroke();
    pen.last = [x, y];
    empty = false;
  };

  const at = event => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  canvas.addEventListener("pointerdown", event => {
    if (event.button) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true, focusVisible: false });
    canvas.setPointerCapture(event.pointerId);
    remember();
    pen.last = null;
    draw(...at(event));
    tell();
  });
  canvas.addEventListener("pointermove", event => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const events = event.getCoalescedEvents();
    for (const each of events.length ? events : [event]) draw(...at(each));
    tell();
  });
  canvas.addEventListener("keydown", event => {
    const move = KEYS[event.key];
    if (move) {
      const step = event.shiftKey ? 4 : 1;
      pen.x = Math.min(Math.max(pen.x + move[0] * step / width, 0), 1);
      pen.y = Math.min(Math.max(pen.y + move[1] * step / height, 0), 1);
      if (pen.down) draw(pen.x, pen.y);
    } else if (event.key === " ") {
      pen.down = !pen.down;
      pen.last = null;
      if (pen.down) { remember(); draw(pen.x, pen.y); }
      tools.pen.textContent = pen.down ? "The pen is down." : "The pen is up.";
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    else return;
    event.preventDefault();
    if (pen.down) tell();
    else show();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, show);

  const undo = () => {
    const before = past.pop();
    if (!before) return;
    lay(before.image.height, before.image.width);
    paper.putImageData(before.image, 0, 0);
    empty = before.empty;
    tell();
  };
  const clear = () => {
    remember();
    lay(height * factor, width * factor);
    empty = true;
    tell();
  };
  // An image element or a bitmap becomes the sheet, with the pixels that it has.
  const put = (source, columns = source.width, rows = source.height) => {
    remember();
    [paper.canvas.width, paper.canvas.height] = [columns, rows];
    paper.drawImage(source, 0, 0);
    empty = false;
    tell();
  };
  const open = async file => {
    try {
      put(await createImageBitmap(file, { colorSpaceConversion: "none" }));
    } catch {
      tools.pen.textContent = "That file is not a picture that this browser reads.";
    }
  };
  tools.undo.addEventListener("click", undo);
  tools.clear.addEventListener("click", clear);
  tools.erase.addEventListener("click", () => { tools.erase.ariaPressed = String(tools.erase.ariaPressed !== "true"); });
  tools.file.addEventListener("change", () => { if (tools.file.files.length) open(tools.file.files[0]); });
  tools.area.addEventListener("dragover", event => event.preventDefault());
  tools.area.addEventListener("drop", event => {
    event.preventDefault();
    if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", event => {
    const file = [...event.clipboardData.files].find(each => each.type.startsWith("image/"));
    if (file) open(file);
  });
  lay(height * factor, width * factor);
  show();
  return { put, clear, picture: () => pictureOf(paper.canvas, channels) };
}
