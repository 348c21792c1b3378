(() => {
  "use strict";
  const form = document.querySelector(".filters");
  if (!form) return;
  form.hidden = false;
  const rows = [...document.querySelectorAll("[data-outcome]")];
  const said = form.querySelector("output");
  const table = rows.filter((row) => row.tagName === "TR");
  const counted = table.length ? table : rows;
  const apply = () => {
    const wanted = {};
    for (const one of form.querySelectorAll("select")) wanted[one.name] = one.value;
    const text = form.querySelector("input").value.toLowerCase();
    for (const row of rows) {
      const fits = Object.keys(wanted).every((key) => !wanted[key] || row.dataset[key] === wanted[key]);
      const named = !text || row.dataset.name.toLowerCase().includes(text);
      row.classList.toggle("gone-by-filter", !(fits && named));
    }
    const left = counted.filter((row) => !row.classList.contains("gone-by-filter")).length;
    said.textContent = `${left} of ${counted.length} cases shown`;
  };
  for (const kind of ["input", "change"]) form.addEventListener(kind, apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details")) one.open = true;
  });
  apply();
})();
