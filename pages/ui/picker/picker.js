// A page of thumbnails cut from one sprite. Clicks are answered at once here; Python learns of them as triggers.

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".picker");
  const { sprite, captions, first, total, chosen, badge } = data;
  const grid = root.querySelector(".grid");
  const thumbs = captions.map((caption, place) => {
    const number = first + place;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "thumb";
    button.dataset.number = number;
    button.title = `${badge ? `${badge} ` : ""}picture ${number}: ${caption}`;
    button.setAttribute("aria-pressed", number === chosen);
    button.setAttribute("aria-label", button.title);
    const picture = document.createElement("i");
    picture.style.backgroundImage = `url(${sprite})`;
    picture.style.backgroundSize = `${captions.length * 100}% 100%`;
    picture.style.backgroundPosition = captions.length > 1 ? `${(100 * place) / (captions.length - 1)}% 0` : "0 0";
    const label = document.createElement("b");
    label.textContent = caption;
    button.append(picture, label);
    button.onclick = () => {
      thumbs.forEach((other) => other.setAttribute("aria-pressed", other === button));
      setTriggerValue("picked", number);
    };
    return button;
  });
  grid.replaceChildren(...thumbs);
  const last = first + captions.length;
  root.querySelector(".range").textContent = `${first + 1}–${last} of ${total.toLocaleString("en")}`;
  root.querySelectorAll(".step").forEach((button) => {
    const by = Number(button.dataset.by);
    button.disabled = by < 0 ? first === 0 : last >= total;
    button.onclick = () => setTriggerValue("paged", by);
  });
  root.querySelector(".surprise").onclick = () => setTriggerValue("picked", -1);
}
