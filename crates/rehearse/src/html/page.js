"use strict";
// Shows the values under the pointer; the page is whole without it.
for (const figure of document.querySelectorAll(".plot")) {
  const source = figure.querySelector("script");
  if (!source) continue;
  const plot = JSON.parse(source.textContent);
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const box = document.createElement("div");
  box.className = "values";
  box.hidden = true;
  figure.append(box);
  const clock = (seconds) => {
    const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
    return parts.map((part) => String(part).padStart(2, "0")).join(":");
  };
  const leave = () => {
    box.hidden = true;
    cursor.style.visibility = "hidden";
  };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const share = (event.clientX - area.left) / area.width;
    if (share < plot.left || share > plot.right) return leave();
    const time = ((share - plot.left) / (plot.right - plot.left)) * plot.lasting;
    const nth = Math.floor(time / plot.step);
    const lines = plot.curves.map((curve) => `${curve.name}: ${curve.values[nth] ?? "-"}`);
    box.textContent = [clock(time), ...lines].join("\n");
    box.hidden = false;
    cursor.style.visibility = "visible";
    cursor.setAttribute("x1", share * plot.width);
    cursor.setAttribute("x2", share * plot.width);
    const outer = figure.getBoundingClientRect();
    const left = event.clientX - outer.left;
    const over = left + box.offsetWidth + 24 > outer.width;
    box.style.left = `${over ? left - box.offsetWidth - 12 : left + 12}px`;
    box.style.top = `${area.top - outer.top + 34}px`;
  });
}
