// Plots answer the pointer, the keyboard and their legends. Everything is in the page: nothing is loaded.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  document.body.append(tip);

  const place = (x, y) => {
    tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = Math.max(4, y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 10 : y + 18) + "px";
  };

  for (const figure of document.querySelectorAll("figure")) {
    const svg = figure.querySelector(".plot svg");
    const ring = document.createElementNS(SVG, "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", "7");
    ring.style.display = "none";
    svg.append(ring);
    svg.setAttribute("tabindex", "0");
    const marks = [...svg.querySelectorAll("[data-tip]")].map((e) => ({
      x: +e.dataset.x, y: +e.dataset.y, text: e.dataset.tip, group: e.closest("[data-s]"),
    }));
    const visible = () => marks.filter((m) => m.group.style.display !== "none");
    let current = null;

    const hide = () => {
      tip.hidden = true;
      ring.style.display = "none";
      current = null;
    };
    const show = (mark, x, y) => {
      current = mark;
      ring.setAttribute("cx", mark.x);
      ring.setAttribute("cy", mark.y);
      ring.style.display = "";
      tip.textContent = mark.text;
      tip.hidden = false;
      place(x, y);
    };
    const onScreen = (mark) => new DOMPoint(mark.x, mark.y).matrixTransform(svg.getScreenCTM());

    const pointed = (event) => {
      const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null, least = 40 * 40;
      for (const mark of visible()) {
        const d = (mark.x - p.x) ** 2 + (mark.y - p.y) ** 2;
        if (d < least) [best, least] = [mark, d];
      }
      if (best) show(best, event.clientX, event.clientY); else hide();
    };
    svg.addEventListener("pointermove", pointed);
    svg.addEventListener("pointerdown", pointed);
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const all = visible();
      if (event.key === "Escape") hide();
      if (!by || !all.length) return;
      event.preventDefault();
      const at = all.indexOf(current);
      const next = all[at < 0 ? 0 : (at + by + all.length) % all.length];
      const p = onScreen(next);
      show(next, p.x, p.y);
    });

    for (const button of figure.querySelectorAll("button[data-s]")) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", on);
        svg.querySelector(`g[data-s="${button.dataset.s}"]`).style.display = on ? "" : "none";
        hide();
      });
    }
  }

  // What scrolls sideways can be reached by the keyboard, and nothing else is a stop on the way.
  const reach = () => {
    for (const part of document.querySelectorAll(".scroll")) {
      const scrolls = part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
      if (scrolls) part.setAttribute("tabindex", "0"); else part.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", reach);
  reach();

  // On paper nothing can be unfolded.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.evidence")) details.open = true;
  });
})();
