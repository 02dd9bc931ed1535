// The image viewer: three panes (original, perturbed, amplified difference) under one zoom and pan.
// Every pane has an exact canvas at the image's own resolution; what is seen is drawn from it without smoothing.

const PANES = ["original", "perturbed", "difference"];
const MODES = ["side", "swipe", "blink"];
const LEVELS = 255;
const GAIN_MIN = 1;
const GAIN_MAX = 1000;
const GAIN_STEP = 10 ** 0.1;
const ZOOM_STEP = 1.25;
const MAX_SCALE = 64; // screen pixels per image pixel
const PAN_STEP = 0.1; // of the visible width
const DEFAULTS = { mode: "side", gain: null, swaps: 1.5, split: 0.5, zoom: 1, centre: [0.5, 0.5] };

const viewers = new WeakMap();

/** Streamlit calls this at mount and again whenever new data arrive. */
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".viewer");
  if (!viewers.has(root)) viewers.set(root, new Viewer(root));
  const viewer = viewers.get(root);
  viewer.show(unpack(data));
  const turn = ++viewer.turn;
  // A call that was overtaken by a newer one must not take the viewer down.
  return () => {
    if (viewer.turn === turn) {
      viewer.close();
      viewers.delete(root);
    }
  };
}

// ---------------------------------------------------------------------------------------------------------- data

/** Undo `_packed` of the Python side. */
function unpack(message) {
  const bytes = message.byteOffset % 4 ? message.slice() : message;
  const { buffer, byteOffset } = bytes;
  const headerLength = new DataView(buffer, byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + headerLength)));
  const count = header.shape.reduce((a, b) => a * b);
  let offset = byteOffset + 4 + headerLength;
  const clean = new Float32Array(buffer, offset, count);
  const adversarial = new Float32Array(buffer, (offset += 4 * count), count);
  const colours = new Uint8Array(buffer, (offset += 4 * count), 3 * (2 * LEVELS + 1));
  return { header, clean, adversarial, colours };
}

/** Round half to even, as numpy and torch do, so that both sides agree on every pixel. */
function rint(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2) ? floor + 1 : floor;
}

const opaque = (r, g, b) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** Fill a canvas of width x height, one packed pixel a time, and mark it as fresh. */
function paint(canvas, width, height, pixel) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = pixel(i);
  context.putImageData(image, 0, 0);
}

/** The colour of pixel i of a planar float image, rounded to 8 bits. */
function eightBit(planes, size, channels) {
  const level = (i) => rint(Math.fround(planes[i] * 255));
  return channels === 1
    ? (i) => { const v = level(i); return opaque(v, v, v); }
    : (i) => opaque(level(i), level(size + i), level(2 * size + i));
}

/** The signed difference of the channel that changed most. */
function strongestChannel(clean, adversarial, size, channels) {
  const change = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    for (let at = i; at < channels * size; at += size) {
      const d = Math.fround(adversarial[at] - clean[at]);
      if (Math.abs(d) > Math.abs(change[i])) change[i] = d;
    }
  }
  return change;
}

// ---------------------------------------------------------------------------------------------------------- text

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const threeDigits = (value) => Number(value.toPrecision(3));
const minus = (text) => text.replace("-", "\u2212");
const signed = (value, digits = 2) => {
  const fine = value !== 0 && Math.abs(value) < 0.5 / 10 ** digits;
  const text = fine ? value.toPrecision(1) : value.toFixed(digits);
  return minus(value > 0 ? `+${text}` : text);
};
/** n of n/255: whole where the pixel lies on the 8-bit grid, two decimals where it does not. */
const level = (value) => {
  const n = value * 255;
  return Math.abs(n - Math.round(n)) < 0.005 ? String(Math.round(n)) : n.toFixed(2);
};

// ------------------------------------------------------------------------------------------------- stored settings

const store = {
  read(key) {
    try {
      return { ...DEFAULTS, ...JSON.parse(sessionStorage.getItem(`perturbscope-viewer:${key}`)) };
    } catch {
      return { ...DEFAULTS };
    }
  },
  write(key, settings) {
    try {
      sessionStorage.setItem(`perturbscope-viewer:${key}`, JSON.stringify(settings));
    } catch {
      // Storage may be forbidden; the settings then last as long as the viewer.
    }
  },
};

// ---------------------------------------------------------------------------------------------------------- panes

const PANE_HTML = `
  <figcaption>
    <div><h4></h4><p></p></div>
    <button type="button" class="download">
      <svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2v8M4.5 7 8 10.5 11.5 7M2.5 13.5h11"/></svg>
    </button>
  </figcaption>
  <div class="frame">
    <div class="stage">
      <canvas class="view" role="img"></canvas>
      <canvas class="exact" hidden></canvas>
      <i class="hair across"></i><i class="hair down"></i><i class="hair cell"></i>
      <span class="badge"></span><span class="tag"></span><span class="hint" aria-hidden="true"></span>
    </div>
    <div class="empty"></div>
  </div>`;

const DIVIDER_HTML = `
  <div class="divider" role="slider" tabindex="0" aria-label="Divider between original and perturbed"
    aria-valuemin="0" aria-valuemax="100" title="Drag, or arrow keys: original on the left, perturbed on the right">
    <span><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6 4 2 8l4 4M10 4l4 4-4 4"/></svg></span>
  </div>`;

class Pane {
  constructor(name) {
    this.name = name;
    this.element = document.createElement("figure");
    this.element.className = `pane ${name}`;
    this.element.innerHTML = PANE_HTML;
    const find = (selector) => this.element.querySelector(selector);
    this.frame = find(".frame");
    this.stage = find(".stage");
    this.view = find(".view");
    this.exact = find(".exact");
    this.tag = find(".tag");
    this.hint = find(".hint");
    this.empty = find(".empty");
    this.download = find(".download");
    this.hairs = [".across", ".down", ".cell"].map(find);
    this.view.dataset.testid = `canvas-${name}`;
    this.exact.dataset.testid = `exact-${name}`;
    this.area = { width: 0, height: 0, ratio: 1 };
    if (name === "perturbed") {
      this.frame.insertAdjacentHTML("beforeend", DIVIDER_HTML);
      this.divider = find(".divider");
    }
  }

  label({ title, caption }, badge) {
    const write = (selector, text) => { this.element.querySelector(selector).textContent = text; };
    write("h4", title);
    write("p", caption);
    this.element.querySelector("p").title = caption;
    write(".badge", badge ?? "");
    this.view.setAttribute("aria-label", [title, caption, badge].filter(Boolean).join(", "));
    this.download.title = `Save this picture as ${title.toLowerCase()} PNG, ${this.exact.width} x ${this.exact.height}`;
    this.download.setAttribute("aria-label", this.download.title);
    if (this.name !== "difference") this.tag.textContent = title;
  }

  /** Make the visible canvas as fine as the screen. */
  measure() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.stage;
    this.area = { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio), ratio };
    if (this.view.width !== this.area.width || this.view.height !== this.area.height) {
      Object.assign(this.view, { width: this.area.width, height: this.area.height });
      this.view.style.width = `${this.area.width / ratio}px`;
      this.view.style.height = `${this.area.height / ratio}px`;
    }
  }

  get fitScale() {
    return Math.min(this.area.width / this.exact.width, this.area.height / this.exact.height) || 1;
  }

  /** Where the image lies on the visible canvas: screen pixels per image pixel, and its corner. */
  placement({ zoom, centre }) {
    const free = this.fitScale * zoom;
    const whole = Math.round(free);
    const scale = Math.abs(free - whole) < 1e-6 * whole ? whole : free;
    const corner = (length, extent, at) => {
      const drawn = extent * scale;
      return Math.round(drawn <= length ? (length - drawn) / 2 : clamp(length / 2 - at * drawn, length - drawn, 0));
    };
    return {
      scale,
      left: corner(this.area.width, this.exact.width, centre[0]),
      top: corner(this.area.height, this.exact.height, centre[1]),
    };
  }

  draw(settings) {
    const { scale, left, top } = this.placement(settings);
    const context = this.view.getContext("2d");
    // Shrunk pictures are averaged; the difference never is, for opposite signs would cancel.
    context.imageSmoothingEnabled = scale < 1 && this.name !== "difference";
    context.imageSmoothingQuality = "high";
    context.clearRect(0, 0, this.view.width, this.view.height);
    context.drawImage(this.exact, left, top, this.exact.width * scale, this.exact.height * scale);
  }

  /** Image coordinates (continuous) under a pointer. */
  locate(event, settings) {
    const box = this.view.getBoundingClientRect();
    const { scale, left, top } = this.placement(settings);
    return [
      ((event.clientX - box.left) * this.area.ratio - left) / scale,
      ((event.clientY - box.top) * this.area.ratio - top) / scale,
    ];
  }

  cross(pixel, settings) {
    const { scale, left, top } = this.placement(settings);
    const [across, down, cell] = this.hairs;
    this.stage.classList.toggle("aimed", Boolean(pixel));
    if (!pixel) return;
    const [x, y] = pixel.map((at, axis) => ((at + 0.5) * scale + [left, top][axis]) / this.area.ratio);
    const side = Math.max(scale / this.area.ratio, 5);
    across.style.transform = `translateY(${y}px)`;
    down.style.transform = `translateX(${x}px)`;
    cell.style.transform = `translate(${x - side / 2}px, ${y - side / 2}px)`;
    cell.style.width = cell.style.height = `${side}px`;
  }
}

// ---------------------------------------------------------------------------------------------------------- viewer

class Viewer {
  constructor(root) {
    this.root = root;
    this.turn = 0;
    this.find = (selector) => root.querySelector(selector);
    this.panes = PANES.map((name) => new Pane(name));
    this.find(".panes").replaceChildren(...this.panes.map((pane) => pane.element));
    this.settings = { ...DEFAULTS };
    this.pixel = null;
    this.shown = "original";
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.gone = new AbortController();
    this.resized = new ResizeObserver(() => this.draw());
    this.panes.forEach((pane) => this.resized.observe(pane.stage));
    this.bindPointer();
    this.bindToolbar();
    this.bindDivider();
    this.on(root, "keydown", (event) => this.press(event));
    this.on(document, "visibilitychange", () => this.beat());
    this.on(document, "fullscreenchange", () => this.refresh());
  }

  on(target, type, listener, options = {}) {
    target.addEventListener(type, listener, { signal: this.gone.signal, ...options });
  }

  close() {
    this.gone.abort();
    this.resized.disconnect();
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
  }

  show({ header, clean, adversarial, colours }) {
    const [channels, height, width] = header.shape;
    const size = width * height;
    if (this.key !== header.key) {
      this.key = header.key;
      this.settings = store.read(header.key);
    }
    Object.assign(this, { header, clean, adversarial, width, height, size, channels });
    this.change = strongestChannel(clean, adversarial, size, channels);
    this.palette = Uint32Array.from({ length: 2 * LEVELS + 1 }, (_, i) => opaque(...colours.subarray(3 * i, 3 * i + 3)));
    this.painted = null;
    const [original, perturbed] = this.panes;
    paint(original.exact, width, height, eightBit(clean, size, channels));
    paint(perturbed.exact, width, height, eightBit(adversarial, size, channels));
    this.paintDifference();
    this.root.toggleAttribute("data-waiting", header.waiting !== null);
    this.panes.forEach((pane) => { pane.empty.textContent = header.waiting ?? ""; });
    this.panes.forEach((pane, i) => pane.label(header.panels[i], header.badge));
    this.root.style.setProperty("--ratio", clamp(width / height, 0.75, 1.6));
    const [negative, positive] = [colours.subarray(0, 3), colours.subarray(-3)];
    this.root.style.setProperty("--negative", `rgb(${negative.join()})`);
    this.root.style.setProperty("--positive", `rgb(${positive.join()})`);
    if (this.pixel && (this.pixel[0] >= width || this.pixel[1] >= height)) this.pixel = null;
    this.refresh();
  }

  get gain() {
    return this.settings.gain ?? this.header.autoGain;
  }

  paintDifference() {
    const { gain, change, palette } = this;
    if (this.painted === gain) return;
    this.painted = gain;
    paint(this.panes[2].exact, this.width, this.height,
      (i) => palette[LEVELS + Math.floor(clamp(change[i] * gain, -1, 1) * LEVELS + 0.5)]);
  }

  /** Change settings, remember them, and draw once in the next frame. */
  set(changes) {
    Object.assign(this.settings, changes);
    store.write(this.key, this.settings);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.refresh());
  }

  draw() {
    if (!this.header) return;
    this.panes.forEach((pane) => {
      pane.measure();
      pane.draw(this.settings);
      pane.cross(this.pixel, this.settings);
    });
    this.drawZoom();
  }

  refresh() {
    this.paintDifference();
    this.drawControls();
    this.draw();
    this.drawScale();
    this.drawReadout();
    this.beat();
  }

  // --- what the controls and texts say

  drawControls() {
    const { gain, swaps, split } = this.settings;
    const mode = this.header.waiting === null ? this.settings.mode : DEFAULTS.mode; // an empty frame covers nothing
    Object.assign(this.root.dataset, { mode, shown: this.shown, gain: this.gain });
    this.root.style.setProperty("--split", `${100 * split}%`);
    this.panes[1].divider.setAttribute("aria-valuenow", Math.round(100 * split));
    this.root.querySelectorAll("button[data-mode]").forEach((button) => {
      button.setAttribute("aria-pressed", button.dataset.mode === mode);
    });
    this.find(".play").textContent = this.playing ? "Pause" : "Play";
    this.find(".speed").value = swaps;
    this.find(".speed-value").textContent = `${swaps} / s`;
    this.find(".gain").value = Math.round(100 * Math.log10(this.gain));
    this.find(".gain-value").textContent = `\u00d7${this.gain}`;
    this.find(".auto").setAttribute("aria-pressed", gain === null);
    this.find(".fullscreen").setAttribute("aria-pressed", this.isFullscreen);
  }

  drawZoom() {
    const { scale } = this.panes[2].placement(this.settings);
    this.find(".zoom-value").textContent = `${Math.round(100 * scale)} %`;
    this.root.dataset.zoom = this.settings.zoom.toPrecision(4);
    this.root.toggleAttribute("data-zoomed", this.settings.zoom > 1);
  }

  drawScale() {
    const full = 255 / this.gain;
    const text = threeDigits(full);
    this.panes[2].tag.textContent = `\u00d7${this.gain}  (full colour = ${text}/255)${this.beyond()}`;
    const digits = [100, 10, 1].filter((bound) => full < bound).length; // five labels have to fit below a picture
    const ticks = [-1, -0.5, 0, 0.5, 1].map((part) => (part ? signed(part * full, digits) : "0"));
    this.find(".ticks").replaceChildren(...ticks.map((tick) => {
      const mark = document.createElement("span");
      mark.textContent = `${tick.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "")}/255`;
      return mark;
    }));
    this.find(".scale").setAttribute("aria-label",
      `Colour scale: blue is darker by ${text}/255 or more, black unchanged, orange brighter by ${text}/255 or more`);
  }

  /** How many pixels the scale does not reach, as `amplified` of the Python side says it, on a line of its own. */
  beyond() {
    const { change, gain, size, header } = this;
    const count = change.reduce((sum, d) => sum + (Math.abs(d) * gain > header.beyond), 0);
    if (!count) return "";
    const share = (100 * count) / size;
    const pixels = share >= 0.05 ? `${share.toFixed(1)} % of the pixels are` : count === 1 ? "1 pixel is" : `${count} pixels are`;
    return `\n${pixels} beyond the scale`;
  }

  drawReadout() {
    const readout = this.find(".readout");
    if (!this.pixel) {
      readout.textContent = "Point at a picture to read its pixels. Click it, then scroll to zoom, drag to move.";
      return;
    }
    const [x, y] = this.pixel;
    const indices = Array.from({ length: this.channels }, (_, c) => c * this.size + y * this.width + x);
    const levels = (values) => `${indices.map((i) => level(values[i])).join(" ")}/255`;
    const difference = indices.map((i) => signed(Math.fround(this.adversarial[i] - this.clean[i]) * 255)).join(" ");
    const parts = [
      ["x, y", `${x}, ${y}`],
      ["original", levels(this.clean) + this.stored(this.clean, indices)],
      ["perturbed", levels(this.adversarial) + this.stored(this.adversarial, indices)],
      ["difference", `${difference}/255${this.storedChange(indices)}`],
    ];
    readout.replaceChildren(...parts.map(([name, value]) => {
      const part = document.createElement("span");
      part.dataset.name = name;
      part.innerHTML = "<b></b> <span></span>";
      part.firstChild.textContent = name;
      part.lastChild.textContent = value;
      return part;
    }));
  }

  stored(values, indices) {
    const { units } = this.header;
    if (!units) return "";
    return ` (${indices.map((i) => minus((values[i] * units.scale + units.offset).toFixed(1))).join(" ")} ${units.name})`;
  }

  storedChange(indices) {
    const { units } = this.header;
    if (!units) return "";
    const change = indices.map((i) => signed((this.adversarial[i] - this.clean[i]) * units.scale));
    return ` (${change.join(" ")} ${units.name})`;
  }

  // --- zoom and pan

  /** Zoom by a factor; the image point under (x, y) of the pane's canvas, in screen pixels, stays where it is. */
  zoomBy(factor, pane = this.panes[2], x = pane.area.width / 2, y = pane.area.height / 2) {
    const { zoom: before, centre } = this.settings;
    const smallest = Math.min(1, 1 / pane.fitScale);
    const zoom = clamp(before * factor, smallest, Math.max(1, (MAX_SCALE * pane.area.ratio) / pane.fitScale));
    const shift = (1 / before - 1 / zoom) / pane.fitScale;
    const [cx, cy] = this.kept(pane, before, centre);
    const moved = [
      cx + ((x - pane.area.width / 2) * shift) / this.width,
      cy + ((y - pane.area.height / 2) * shift) / this.height,
    ];
    this.set({ zoom, centre: this.kept(pane, zoom, moved) });
  }

  /** A centre that shows no more emptiness than it must. */
  kept(pane, zoom, centre) {
    const scale = pane.fitScale * zoom;
    const half = [pane.area.width / this.width, pane.area.height / this.height].map((part) => part / scale / 2);
    return centre.map((at, axis) => (half[axis] >= 0.5 ? 0.5 : clamp(at, half[axis], 1 - half[axis])));
  }

  /** Move the picture by screen pixels of a pane. */
  panBy(dx, dy, pane = this.panes[2]) {
    const { zoom, centre } = this.settings;
    const scale = pane.fitScale * zoom;
    this.set({ centre: this.kept(pane, zoom, [centre[0] - dx / scale / this.width, centre[1] - dy / scale / this.height]) });
  }

  fit() {
    this.set({ zoom: 1, centre: [0.5, 0.5] });
  }

  actualSize() {
    this.zoomBy(1 / (this.panes[2].fitScale * this.settings.zoom));
  }

  // --- modes

  setMode(mode) {
    if (mode === "blink" && this.settings.mode !== "blink") this.shown = "original";
    this.set({ mode });
  }

  toggleBlink() {
    if (this.settings.mode === "blink") this.playing = !this.playing;
    this.setMode("blink");
  }

  swap() {
    this.shown = this.shown === "original" ? "perturbed" : "original";
    this.root.dataset.shown = this.shown;
  }

  /** Start, keep or stop the blink timer, as mode, play button and tab visibility ask. */
  beat() {
    const pace = this.settings.mode === "blink" && this.playing && !document.hidden ? 1000 / this.settings.swaps : null;
    if (pace === this.pace) return;
    this.pace = pace;
    clearInterval(this.timer);
    if (pace) this.timer = setInterval(() => this.swap(), pace);
  }

  setGain(gain) {
    this.set({ gain: threeDigits(clamp(gain, GAIN_MIN, GAIN_MAX)) });
  }

  get isFullscreen() {
    return this.root.getRootNode().fullscreenElement === this.root;
  }

  toggleFullscreen() {
    return this.isFullscreen ? document.exitFullscreen() : this.root.requestFullscreen();
  }

  // --- input

  bindToolbar() {
    const click = (selector, action) => this.on(this.find(selector), "click", action);
    this.root.querySelectorAll("button[data-mode]").forEach((button) => {
      this.on(button, "click", () => this.setMode(button.dataset.mode));
    });
    click(".play", () => this.toggleBlink());
    click(".auto", () => this.set({ gain: null }));
    click(".zoom-in", () => this.zoomBy(ZOOM_STEP));
    click(".zoom-out", () => this.zoomBy(1 / ZOOM_STEP));
    click(".fit", () => this.fit());
    click(".actual", () => this.actualSize());
    click(".fullscreen", () => this.toggleFullscreen());
    this.find(".fullscreen").hidden = !document.fullscreenEnabled;
    this.on(this.find(".gain"), "input", (event) => this.setGain(10 ** (event.target.value / 100)));
    this.on(this.find(".speed"), "input", (event) => this.set({ swaps: Number(event.target.value) }));
    this.panes.forEach((pane) => this.on(pane.download, "click", () => this.save(pane)));
  }

  save(pane) {
    const gain = pane.name === "difference" ? `-x${this.gain}` : "";
    pane.exact.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${pane.name}${gain}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }, "image/png");
  }

  bindPointer() {
    for (const pane of this.panes) {
      const { stage } = pane;
      let last = null;
      this.on(stage, "pointerdown", (event) => {
        if (event.button) return;
        this.find(".panes").focus({ preventScroll: true });
        stage.setPointerCapture(event.pointerId);
        last = event;
      });
      this.on(stage, "pointermove", (event) => {
        if (last) {
          const { ratio } = pane.area;
          this.panBy((event.clientX - last.clientX) * ratio, (event.clientY - last.clientY) * ratio, pane);
          last = event;
        }
        this.aim(pane.locate(event, this.settings));
      });
      this.on(stage, "lostpointercapture", () => { last = null; });
      this.on(stage, "pointerleave", () => this.aim(null));
      this.on(stage, "dblclick", () => this.fit());
      this.on(stage, "wheel", (event) => this.roll(event, pane), { passive: false });
    }
  }

  aim(at) {
    const pixel = at?.map(Math.floor);
    const inside = pixel && pixel[0] >= 0 && pixel[1] >= 0 && pixel[0] < this.width && pixel[1] < this.height;
    this.pixel = inside ? pixel : null;
    this.panes.forEach((pane) => pane.cross(this.pixel, this.settings));
    this.drawReadout();
  }

  /** The wheel zooms once the viewer was clicked (or with Ctrl); otherwise the page scrolls on and a hint says so. */
  roll(event, pane) {
    if (!event.ctrlKey && !this.root.matches(":focus-within")) {
      this.advise(pane, "Click the picture, then scroll to zoom");
      return;
    }
    const out = event.deltaY > 0;
    if (out && this.settings.zoom <= Math.min(1, 1 / pane.fitScale) && !event.ctrlKey) return;
    event.preventDefault();
    const box = pane.view.getBoundingClientRect();
    const { ratio } = pane.area;
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1;
    const factor = ZOOM_STEP ** clamp((-event.deltaY * lines) / 100, -2, 2);
    this.zoomBy(factor, pane, (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
    this.aim(pane.locate(event, this.settings));
  }

  advise(pane, text) {
    pane.hint.textContent = text;
    pane.hint.classList.add("visible");
    clearTimeout(this.advice);
    this.advice = setTimeout(() => this.panes.forEach(({ hint }) => hint.classList.remove("visible")), 1400);
  }

  bindDivider() {
    const { divider, frame } = this.panes[1];
    const move = (split) => this.set({ split: clamp(split, 0, 1) });
    this.on(divider, "pointerdown", (event) => divider.setPointerCapture(event.pointerId));
    this.on(divider, "pointermove", (event) => {
      if (!divider.hasPointerCapture(event.pointerId)) return;
      const box = frame.getBoundingClientRect();
      move((event.clientX - box.left) / box.width);
    });
    this.on(divider, "keydown", (event) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      move(this.settings.split + by);
    });
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onControl = event.target.matches("button, input");
    const { width, height } = this.panes[2].area;
    const pan = (dx, dy) => () => this.panBy(dx * PAN_STEP * width, dy * PAN_STEP * height);
    const anywhere = {
      1: () => this.setMode(MODES[0]),
      2: () => this.setMode(MODES[1]),
      3: () => this.setMode(MODES[2]),
      b: () => this.toggleBlink(),
      "[": () => this.setGain(this.gain / GAIN_STEP),
      "]": () => this.setGain(this.gain * GAIN_STEP),
      a: () => this.set({ gain: null }),
      f: () => this.toggleFullscreen(),
      "+": () => this.zoomBy(ZOOM_STEP),
      "=": () => this.zoomBy(ZOOM_STEP),
      "-": () => this.zoomBy(1 / ZOOM_STEP),
      0: () => this.fit(),
      escape: () => this.root.getRootNode().activeElement?.blur(),
    };
    const onPictures = {
      ArrowLeft: pan(1, 0),
      ArrowRight: pan(-1, 0),
      ArrowUp: pan(0, 1),
      ArrowDown: pan(0, -1),
      " ": () => this.settings.mode === "blink" && this.swap(),
    };
    const action = anywhere[event.key.toLowerCase()] ?? (onControl ? undefined : onPictures[event.key]);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }
}
