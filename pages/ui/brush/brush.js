// A mask drawn on a grid of cells over a picture. Strokes are shown at once here; Python learns of each when it ends.

const MARK = "rgba(230, 159, 0, 0.42)"; // Okabe and Ito's orange: seen on black, on grey and on white
const RIM = "rgb(255, 190, 60)";
const FINE = 4; // canvas pixels a cell, for the cursor and the rim
const MOST_UNDONE = 50;

const brushes = new WeakMap();

/** Streamlit calls this at mount and again whenever new data arrive. */
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".brush");
  if (!brushes.has(root)) brushes.set(root, new Brush(root));
  const brush = brushes.get(root);
  brush.tell = (cells) => setTriggerValue("drawn", cells);
  brush.take(data);
}

const bitsOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

function unpacked(text, count) {
  const bits = bitsOf(text);
  return Uint8Array.from({ length: count }, (_, i) => (bits[i >> 3] >> (7 - (i & 7))) & 1);
}

function packed(cells) {
  const bits = new Uint8Array(Math.ceil(cells.length / 8));
  cells.forEach((cell, i) => { bits[i >> 3] |= cell << (7 - (i & 7)); });
  return btoa(String.fromCharCode(...bits));
}

class Brush {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.size = root.querySelector("input");
    this.tool = "draw";
    this.before = [];
    this.stroke = null; // the cells as they were when the stroke began, and where it began
    this.at = null; // the cell under the brush
    root.querySelectorAll("[data-tool]").forEach((button) => {
      button.onclick = () => this.choose(button.dataset.tool);
    });
    root.querySelector(".undo").onclick = () => this.undo();
    root.querySelector(".clear").onclick = () => this.change(() => this.cells.fill(0));
    root.querySelector(".invert").onclick = () => this.change(() => this.cells.forEach((c, i) => { this.cells[i] = 1 - c; }));
    this.size.oninput = () => this.paint();
    this.canvas.onpointerdown = (event) => this.begin(event);
    this.canvas.onpointermove = (event) => this.move(event);
    this.canvas.onpointerup = (event) => { this.move(event); this.end(); };
    this.canvas.onpointercancel = () => this.end();
    this.canvas.onpointerleave = () => { if (!this.stroke) this.aim(null); };
    this.canvas.onfocus = () => { this.at ??= [this.side >> 1, this.side >> 1]; this.paint(); };
    root.onkeydown = (event) => this.press(event);
  }

  take({ picture, side, version, cells }) {
    const image = this.root.querySelector("img");
    if (image.src !== picture) image.src = picture;
    if (this.version === version && this.side === side) return;
    this.version = version;
    this.side = side;
    this.cells = unpacked(cells, side * side);
    this.before = [];
    this.stroke = null;
    this.canvas.width = this.canvas.height = side * FINE;
    this.paint();
  }

  choose(tool) {
    this.tool = tool;
    this.root.querySelectorAll("[data-tool]").forEach((button) =>
      button.setAttribute("aria-pressed", button.dataset.tool === tool));
    this.paint();
  }

  /** The cell under the pointer; beyond the edge, the nearest. */
  cell(event) {
    const box = this.canvas.getBoundingClientRect();
    const place = (at, from, length) =>
      Math.min(this.side - 1, Math.max(0, Math.floor(((at - from) / length) * this.side)));
    return [place(event.clientX, box.left, box.width), place(event.clientY, box.top, box.height)];
  }

  begin(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.start(this.cell(event));
  }

  start(cell) {
    this.stroke = { cells: this.cells.slice(), from: cell };
    this.at = cell;
    this.reach(cell);
  }

  move(event) {
    const cell = this.cell(event);
    if (this.stroke) this.reach(cell);
    else this.aim(cell);
  }

  aim(cell) {
    this.at = cell;
    this.paint();
  }

  /** Lead the stroke on to a cell. */
  reach(cell) {
    if (this.tool === "box") {
      this.cells.set(this.stroke.cells);
      this.fill(...this.corners(this.stroke.from, cell), 1);
    } else {
      const [x, y] = this.at;
      const steps = Math.max(Math.abs(cell[0] - x), Math.abs(cell[1] - y), 1);
      for (let i = 0; i <= steps; i++) {
        this.dab(Math.round(x + ((cell[0] - x) * i) / steps), Math.round(y + ((cell[1] - y) * i) / steps));
      }
    }
    this.aim(cell);
  }

  corners([x1, y1], [x2, y2]) {
    return [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
  }

  fill(left, top, right, bottom, value) {
    for (let y = top; y <= bottom; y++) this.cells.fill(value, y * this.side + left, y * this.side + right + 1);
  }

  /** A round dab of the brush. */
  dab(x, y) {
    const radius = Number(this.size.value) / 2;
    const value = this.tool === "erase" ? 0 : 1;
    this.each(x, y, radius, (i) => { this.cells[i] = value; });
  }

  each(x, y, radius, act) {
    const far = Math.floor(radius);
    for (let v = Math.max(0, y - far); v <= Math.min(this.side - 1, y + far); v++) {
      for (let u = Math.max(0, x - far); u <= Math.min(this.side - 1, x + far); u++) {
        if ((u - x) ** 2 + (v - y) ** 2 <= radius ** 2) act(v * this.side + u);
      }
    }
  }

  end() {
    const before = this.stroke?.cells;
    this.stroke = null;
    if (before) this.done(before);
  }

  change(act) {
    const before = this.cells.slice();
    act();
    this.done(before);
  }

  done(before) {
    if (before.every((cell, i) => cell === this.cells[i])) return;
    this.before.push(before);
    if (this.before.length > MOST_UNDONE) this.before.shift();
    this.say();
  }

  undo() {
    const before = this.before.pop();
    if (!before) return;
    this.cells = before;
    this.say();
  }

  say() {
    this.paint();
    this.tell(packed(this.cells));
  }

  press(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      event.stopPropagation();
      this.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const resize = (by) => () => { this.size.value = Number(this.size.value) + by; this.paint(); };
    const anywhere = { d: () => this.choose("draw"), e: () => this.choose("erase"), r: () => this.choose("box"),
                       "[": resize(-2), "]": resize(2) };
    const go = (x, y) => () => this.step(x, y);
    const onPicture = { ArrowLeft: go(-1, 0), ArrowRight: go(1, 0), ArrowUp: go(0, -1), ArrowDown: go(0, 1),
                        " ": () => this.stamp(event) };
    const inside = event.target === this.canvas;
    const action = anywhere[event.key.toLowerCase()] ?? (inside ? onPicture[event.key] : undefined);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  step(x, y) {
    const bound = (value) => Math.min(this.side - 1, Math.max(0, value));
    const cell = [bound(this.at[0] + x), bound(this.at[1] + y)];
    if (this.stroke) this.reach(cell);
    else this.aim(cell);
  }

  /** Space: a dab where the brush is; of the rectangle, one corner and then the other. */
  stamp(event) {
    if (event.repeat) return;
    if (this.stroke) { this.end(); return; }
    this.start(this.at);
    if (this.tool !== "box") this.end();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const { side, cells } = this;
    context.clearRect(0, 0, side * FINE, side * FINE);
    context.fillStyle = MARK;
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) if (cells[y * side + x]) context.fillRect(x * FINE, y * FINE, FINE, FINE);
    }
    context.fillStyle = RIM;
    const marked = (x, y) => x >= 0 && y >= 0 && x < side && y < side && cells[y * side + x];
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        if (!cells[y * side + x]) continue;
        if (!marked(x - 1, y)) context.fillRect(x * FINE, y * FINE, 1, FINE);
        if (!marked(x + 1, y)) context.fillRect((x + 1) * FINE - 1, y * FINE, 1, FINE);
        if (!marked(x, y - 1)) context.fillRect(x * FINE, y * FINE, FINE, 1);
        if (!marked(x, y + 1)) context.fillRect(x * FINE, (y + 1) * FINE - 1, FINE, 1);
      }
    }
    this.paintCursor(context);
    const count = cells.reduce((a, b) => a + b, 0);
    const share = (100 * count) / cells.length;
    this.root.querySelector(".share").textContent =
      count ? `${share < 10 ? share.toFixed(1) : Math.round(share)} % may change` : "Nothing is marked yet";
    this.root.querySelector(".undo").disabled = !this.before.length;
    this.root.querySelector(".clear").disabled = !count;
  }

  paintCursor(context) {
    if (!this.at) return;
    const radius = this.tool === "box" ? 0.5 : Number(this.size.value) / 2;
    context.beginPath();
    context.arc((this.at[0] + 0.5) * FINE, (this.at[1] + 0.5) * FINE, radius * FINE, 0, 2 * Math.PI);
    context.strokeStyle = "black";
    context.lineWidth = 2;
    context.stroke();
    context.strokeStyle = "white";
    context.lineWidth = 1;
    context.stroke();
  }
}
