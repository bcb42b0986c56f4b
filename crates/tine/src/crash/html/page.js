
"use strict";
(() => {
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const all = selector => [...document.querySelectorAll(selector)];
  // What is looked through: a process with its threads, rows of other tables, messages, frames.
  const things = all("tbody tr, .messages span, .frames > li, .stack > summary, main li:not(.frames li)");
  const was = new Map();

  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(word => word);
    let hits = 0;
    for (const thing of things) {
      const text = thing.textContent.toLowerCase();
      const hit = words.length > 0 && words.every(word => text.includes(word));
      thing.classList.toggle("hit", hit);
      // Frames keep their neighbours, without which they say little.
      const keeps = thing.matches(".frames > li, .stack > summary");
      thing.classList.toggle("miss", words.length > 0 && !hit && !keeps);
      if (hit) hits += 1;
    }
    // A process is shown with the thread that was found, and threads with their process.
    for (const body of all(".processes tbody")) {
      const [process, ...threads] = body.rows;
      if (threads.some(thread => thread.classList.contains("hit"))) process.classList.remove("miss");
      if (process.classList.contains("hit")) threads.forEach(thread => thread.classList.remove("miss"));
    }
    for (const stack of all(".stack")) {
      stack.classList.toggle("miss", words.length > 0 && !stack.querySelector(".hit"));
    }
    // Sections with something found unfold, and fold again afterwards.
    for (const section of all(".section")) {
      if (words.length > 0) {
        if (!was.has(section)) was.set(section, section.open);
        section.open = section.querySelector(".hit") !== null;
      } else if (was.has(section)) {
        section.open = was.get(section);
        was.delete(section);
      }
    }
    found.textContent = words.length > 0 ? hits + " found" : "";
  };

  const fold = open => all("main details").forEach(details => { details.open = open; });
  search.addEventListener("input", find);
  document.getElementById("fold").addEventListener("click", () => fold(false));
  document.getElementById("unfold").addEventListener("click", () => fold(true));
  // A link to a folded section unfolds it.
  for (const link of all("nav .links a")) {
    link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
  }
  // What was printed last is what counts.
  for (const messages of all(".messages")) messages.scrollTop = messages.scrollHeight;
  document.addEventListener("keydown", event => {
    if (event.key === "/" && document.activeElement !== search) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && search.value) {
      search.value = "";
      find();
    }
  });
})();
