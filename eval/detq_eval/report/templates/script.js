"use strict";
// Everything can be read without this: it adds hover texts at once, filters, and copying.
(() => {
  const tip = document.getElementById("tip");
  for (const title of document.querySelectorAll("svg title")) {
    const owner = title.parentElement;
    owner.dataset.tip = title.textContent;
    owner.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  const show = (event) => {
    const owner = event.target.closest && event.target.closest("[data-tip]");
    tip.hidden = !owner;
    if (!owner) return;
    tip.textContent = owner.dataset.tip;
    const right = document.documentElement.clientWidth - tip.offsetWidth - 12;
    tip.style.left = Math.max(12, Math.min(event.clientX + 14, right)) + "px";
    const above = event.clientY - tip.offsetHeight - 14;
    tip.style.top = (above > 8 ? above : event.clientY + 18) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const search = document.getElementById("class-search");
  if (search) {
    const rows = [...document.querySelectorAll("#classes tbody tr")];
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      for (const row of rows) {
        row.classList.toggle("hidden", !row.dataset.name.toLowerCase().includes(wanted));
      }
    });
  }

  const gallery = document.getElementById("pictures");
  if (gallery) {
    const pictures = [...gallery.querySelectorAll(".picture")];
    const only = document.getElementById("only-class");
    const apart = document.getElementById("only-apart");
    const count = document.getElementById("shown");
    const apply = () => {
      gallery.classList.toggle("apart", apart.checked);
      let shown = 0;
      for (const picture of pictures) {
        const groups = [...picture.querySelectorAll("g[data-class]")];
        for (const group of groups) {
          group.classList.toggle("hidden", only.value !== "" && group.dataset.class !== only.value);
        }
        const seen = groups.some((group) => !group.classList.contains("hidden")
          && (!apart.checked || group.classList.contains("alone")));
        picture.classList.toggle("hidden", !seen);
        shown += seen;
      }
      if (only.value !== "" || apart.checked) {
        for (const more of gallery.querySelectorAll("details")) more.open = true;
      }
      count.textContent = shown + " of " + pictures.length + " shown";
    };
    only.addEventListener("change", apply);
    apart.addEventListener("change", apply);
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select and copy by hand";
      }
    });
  }
})();
