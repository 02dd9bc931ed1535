// A page of thumbnails cut from one sprite, whose tiles stand in rows. Arrow keys move between them; clicks are answered at
// once here, and Python learns of them as triggers.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".mosaic");
  const { sprite, across, down, tiles, chosen, badge, page, pages, range } = data;
  const grid = root.querySelector(".tiles");
  const buttons = tiles.map(({ number, caption, said, wrong }, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "tile";
    button.dataset.number = number;
    const answer = said ? `, the model says ${said}` : "";
    button.title = `${badge ? `${badge} ` : ""}picture ${number}: ${caption}${answer}`;
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-pressed", number === chosen);
    const picture = document.createElement("i");
    const column = place % across;
    const row = Math.floor(place / across);
    picture.style.backgroundImage = `url(${sprite})`;
    picture.style.backgroundSize = `${across * 100}% ${down * 100}%`;
    picture.style.backgroundPosition =
      `${across > 1 ? (100 * column) / (across - 1) : 0}% ${down > 1 ? (100 * row) / (down - 1) : 0}%`;
    const label = document.createElement("b");
    label.textContent = caption;
    button.append(picture, label);
    if (said) {
      const answer = document.createElement("em");
      answer.textContent = `${wrong ? "✗ " : "✓ "}${said}`;
      answer.classList.toggle("wrong", wrong);
      button.append(answer);
    }
    button.onclick = () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
      setTriggerValue("picked", number);
    };
    return button;
  });
  // Whoever walks with the keyboard stays on the tile that was chosen, though it is another button now.
  const held = grid.contains(grid.getRootNode().activeElement) ? grid.getRootNode().activeElement.dataset.number : null;
  grid.replaceChildren(...buttons);
  if (held !== null) buttons.find((button) => button.dataset.number === held)?.focus({ preventScroll: true });
  grid.onkeydown = (event) => {
    const here = buttons.indexOf(event.target.closest(".tile"));
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (step === undefined || here < 0) return;
    event.preventDefault();
    buttons[Math.min(Math.max(here + step, 0), buttons.length - 1)].focus();
  };
  root.querySelector(".range").textContent = range;
  const places = { first: 1, back: page - 1, on: page + 1, last: pages };
  root.querySelectorAll(".step").forEach((button) => {
    const to = places[button.dataset.to];
    button.disabled = to === page || to < 1 || to > pages;
    button.onclick = () => setTriggerValue("paged", to);
  });
}
